package queue

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// The fast flush log, as flush(8) keeps it: for each domain that FlushDomains
// names, the messages with pending recipients there. It is in memory only, made
// from what the spool says at the start, and costs some 60 bytes for each message
// and domain.

// flushLog is guarded by Manager.mu.
type flushLog struct {
	sites map[string]*siteLog // by domain, in lower case
	// early are the domains that were asked for before everything in the spool was
	// known.
	early map[string]bool
}

// siteLog is the messages for one domain.
type siteLog struct {
	ids   map[string]struct{}
	limit int           // of ids, at which those that are gone are swept out
	last  time.Duration // when it was flushed, by Manager.now
	done  bool          // it was flushed at all
}

// flushRest is how long a site is left alone after a FastFlush: what waits for it
// has just been tried. So a client that asks again and again makes no traffic.
const flushRest = time.Minute

// earlyLimit bounds flushLog.early.
const earlyLimit = 1000

// flushBatch is how many messages are made due before others have their turn.
const flushBatch = 1000

// siteLeast is the least siteLog.limit.
const siteLeast = 64

// add notes messages for a domain; gone says which are not in the queue any more.
func (f *flushLog) add(domain, id string, knows func(string) bool) {
	s := f.sites[domain]
	if s == nil {
		s = &siteLog{ids: make(map[string]struct{}), limit: siteLeast}
		if f.sites == nil {
			f.sites = make(map[string]*siteLog)
		}
		f.sites[domain] = s
	}
	s.ids[strings.Clone(id)] = struct{}{}
	if len(s.ids) > s.limit {
		maps.DeleteFunc(s.ids, func(id string, _ struct{}) bool { return !knows(id) })
		s.limit = max(2*len(s.ids), siteLeast)
	}
}

func (f *flushLog) drop(domain, id string) {
	s := f.sites[domain]
	if s == nil {
		return
	}
	if delete(s.ids, id); len(s.ids) == 0 {
		delete(f.sites, domain)
	}
}

// logged returns those of domains that FlushDomains has. Of what the table cannot
// tell, it is better to know the messages.
func (m *Manager) logged(domains []string) (some []string) {
	if m.FlushDomains == nil {
		return nil
	}
	for _, domain := range domains {
		ok, err := m.flushable(m.recordCtx, domain)
		if ok || err != nil {
			some = append(some, domain)
		}
	}
	return some
}

// askedEarly reports whether one of the domains has been asked for since the
// start. Under mu.
func (m *Manager) askedEarly(domains []string) bool {
	return slices.ContainsFunc(domains, func(domain string) bool { return m.flush.early[domain] })
}

// sites returns the domains of the run's recipients that are logged: those with
// pending recipients, and the others. It is for the end of the run.
func (r *run) sites() (pending, done []string) {
	if r.m.FlushDomains == nil {
		return nil, nil
	}
	if !r.last {
		pending = Domains(r.stored.Envelope.Recipients, r.stored.Marks)
	}
	all := Domains(r.stored.Envelope.Recipients, make([]Mark, len(r.stored.Marks)))
	done = slices.DeleteFunc(all, func(d string) bool { return slices.Contains(pending, d) })
	return r.m.logged(pending), done
}

// noteSites brings the log up to date when a run has ended. Under mu.
func (m *Manager) noteSites(id string, pending, done []string) {
	for _, domain := range pending {
		m.flush.add(domain, id, m.knows)
	}
	for _, domain := range done {
		m.flush.drop(domain, id)
	}
}

// FastFlush is for ETRN (RFC 1985): it makes due what waits for recipients in a
// domain, "example.org", by the log and without a look at other messages. It
// does nothing when that was done less than a minute ago. The error is the reply,
// a *smtp.SMTPError: 459 for a domain that FlushDomains does not have, and 458
// when that cannot be said.
func (m *Manager) FastFlush(ctx context.Context, site string) error {
	m.setup()
	site = flushName(site)
	switch ok, err := m.flushable(ctx, site); {
	case err != nil:
		m.log().Error("flushing", "site", site, "error", err)
		return &smtp.SMTPError{Code: 458, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Unable to queue messages"}
	case !ok:
		return &smtp.SMTPError{Code: 459, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "<" + site + ">: service unavailable"}
	}
	m.mu.Lock()
	s := m.flush.sites[site]
	rests := s != nil && s.done && m.now()-s.last < flushRest
	if s != nil && !rests {
		s.last, s.done = m.now(), true
	}
	if !m.wasRead() && len(m.flush.early) < earlyLimit {
		if m.flush.early == nil {
			m.flush.early = make(map[string]bool)
		}
		m.flush.early[site] = true
	}
	m.mu.Unlock()
	if !rests {
		m.flushLogged(site)
	}
	return nil
}

func flushName(site string) string { return strings.ToLower(strings.TrimSuffix(site, ".")) }

func (m *Manager) flushable(ctx context.Context, site string) (bool, error) {
	if m.FlushDomains == nil || site == "" {
		return false, nil
	}
	_, ok, err := m.FlushDomains.Lookup(ctx, site)
	return ok, err
}

// flushLogged makes due what the log has of a domain.
func (m *Manager) flushLogged(site string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.flush.sites[site]
	if s == nil {
		return
	}
	m.revive(func(d *destination) bool { return d.site() == site })
	for n, id := range slices.Collect(maps.Keys(s.ids)) {
		if n%flushBatch == flushBatch-1 {
			m.kick()
			m.mu.Unlock()
			m.mu.Lock()
		}
		if !m.waiting.hasten(id) && !m.knows(id) {
			m.flush.drop(site, id)
		}
	}
	m.kick()
}

// FlushSite makes due what waits for recipients in a domain ("example.org"), or
// below it when it begins with a dot (".example.org"). It looks at the list of
// all messages, unless FlushDomains has the domain.
func (m *Manager) FlushSite(ctx context.Context, site string) error {
	m.setup()
	site = flushName(site)
	if ok, err := m.flushable(ctx, site); ok && err == nil && m.wasRead() {
		m.flushLogged(site)
		return nil
	}
	m.mu.Lock()
	m.revive(func(d *destination) bool { return inSite(d.site(), site) })
	m.mu.Unlock()
	for e, err := range m.list(ctx) {
		if _, corrupt := asCorrupt(err); corrupt {
			continue
		}
		if err != nil {
			return fmt.Errorf("queue: flushing %s: %w", site, err)
		}
		if e.Hold == "" && e.Pending > 0 && slices.ContainsFunc(e.Domains, func(d string) bool { return inSite(d, site) }) {
			m.hastenOne(e.ID, 0) // also what Serve has not found yet
		}
	}
	return nil
}

func inSite(domain, site string) bool {
	return domain == site || strings.HasPrefix(site, ".") && strings.HasSuffix(domain, site)
}

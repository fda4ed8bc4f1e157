package queue

import (
	"context"
	"iter"
	"time"

	"github.com/mtakit/mtakit"
)

// readSpool finds what the spool has from before. It goes on until it has seen
// everything: mail must not wait for a restart because a disk had a bad moment.
func (m *Manager) readSpool() {
	for {
		err := m.readEntries()
		switch {
		case m.deliverCtx.Err() != nil || m.draining():
			return
		case err == nil:
			close(m.read)
			return
		}
		m.log().Error("reading the spool", "error", err)
		if !m.sleep(m.minBackoff()) {
			return
		}
	}
}

// sleep waits, and reports whether the manager is still serving.
func (m *Manager) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-m.stop:
		return false
	}
}

func (m *Manager) readEntries() error {
	for e, err := range m.list(m.deliverCtx) {
		if _, ok := asCorrupt(err); ok {
			continue
		}
		if err != nil {
			return err
		}
		if m.draining() {
			return nil
		}
		m.recovered(e)
	}
	return nil
}

// recovered schedules a message that was found in the spool.
func (m *Manager) recovered(found Entry) {
	sites := m.logged(found.Domains)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.foundKey(&found) || m.knows(found.ID) || found.Hold != "" {
		return
	}
	tried := found.Attempts > 1 || found.Attempts == 1 && found.Queue == "deferred"
	w := waiter{id: found.ID, due: m.in(m.resume(found)), incoming: !tried}
	if m.flushed || m.askedEarly(sites) {
		w.due = 0
	}
	if found.Queue == "deferred" {
		// When it was tried last is not recorded: it has its rest from now on. What was
		// cut off in an attempt may be what ended the program, and sleeps for no site.
		w.site, w.since = m.waiting.siteNamed(found.Site), m.now()
	}
	m.park(w)
	m.noteSites(found.ID, sites, nil)
}

// wasRead reports whether all that was in the spool at the start is known.
func (m *Manager) wasRead() bool {
	select {
	case <-m.read:
		return true
	default:
		return false
	}
}

// knows reports whether a message waits, is active, or is being changed. Under
// mu.
func (m *Manager) knows(id string) bool { return m.entries[id] != nil || m.waiting.has(id) }

// park makes a message wait that is not known. Under mu.
func (m *Manager) park(w waiter) {
	first := w.due < m.waiting.due()
	m.waiting.add(w)
	if first {
		m.kick()
	}
}

// resume returns how long a message that was found waits. One whose first
// attempt was cut off is tried at once; of the others the recorded time holds,
// as far as a clock that was set back lets it make sense.
func (m *Manager) resume(found Entry) time.Duration {
	if found.Next.IsZero() || found.Expire || found.Requeue || found.Attempts == 1 && found.Queue != "deferred" {
		return 0
	}
	wait := max(time.Until(found.Next), 0)
	if found.Attempts > 0 {
		wait = min(wait, m.longestBackoff())
	}
	return wait
}

// look is Spool.Open, and tells of a message that is damaged: whoever looks next
// finds none.
func (m *Manager) look(ctx context.Context, id string) (*Stored, error) {
	s, err := m.Spool.Open(ctx, id)
	if corrupt, ok := asCorrupt(err); ok {
		m.corrupt(corrupt)
	}
	return s, err
}

// list is Spool.Entries, and tells of damaged messages like look.
func (m *Manager) list(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for e, err := range m.Spool.Entries(ctx) {
			if corrupt, ok := asCorrupt(err); ok {
				m.corrupt(corrupt)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func (m *Manager) corrupt(err *CorruptError) {
	m.log().Error("message is corrupt", "id", err.ID, "path", err.Path, "reason", err.Reason)
	m.observe(mtakit.Event{Kind: mtakit.EventCorrupt, ID: err.ID, Err: err, Reason: err.Reason})
	m.tell(m.recordCtx, NotifyData, "queue: message "+err.ID+" is damaged", err.Error()+"\n")
}

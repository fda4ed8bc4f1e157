package queue_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/memspool"
)

// The earth of TestSixDays has these sites, by number modulo 50.
const earthSites = 500

type temper byte

const (
	goodSite   temper = iota
	slowSite          // takes minutes for each delivery
	deadSite          // refuses every connection
	silentSite        // says nothing until we give up
	sickSite          // is down for hours, again and again
	choosySite        // 421 for more than three connections at a time
	greySite          // tells every recipient to come back in ten minutes
	fullSite          // has full mailboxes, some of them for ever
)

func temperOf(site int) temper {
	switch n := site % 50; {
	case n < 2:
		return deadSite
	case n < 3:
		return silentSite
	case n < 8:
		return sickSite
	case n < 12:
		return slowSite
	case n < 16:
		return choosySite
	case n < 24:
		return greySite
	case n < 26:
		return fullSite
	}
	return goodSite
}

// earth is the agent, the observer and the spool of TestSixDays, and checks
// what it sees.
type earth struct {
	queue.Spool
	m     *queue.Manager
	begin time.Time

	mu         sync.Mutex
	rand       *rand.Rand
	busy       map[string]int       // deliveries, by site
	total      int                  // deliveries
	success    map[string]time.Time // of a delivery in which the site did its part, by site
	firstSeen  map[string]time.Time // by recipient
	arrival    map[string]time.Time // by recipient
	reached    map[string]int       // by recipient
	bounced    map[string]int       // by recipient
	told       map[string]int       // by recipient, in notifications of failure
	messages   map[string]*fate     // by ID
	woken      int                  // messages that came before their time
	attempts   int
	wrong      []string
	mostBusy   int // over all
	mostSite   int
	latest     time.Duration // of an attempt after its time
	lateExpiry time.Duration
}

// fate is what was recorded of a message last.
type fate struct {
	attempts int
	arrival  time.Time
	lifetime time.Duration
	next     time.Time // recorded at the end of the last run
	ended    time.Time // the last run
	site     string    // that all that is left waits for; "" means more
	warned   bool
	sites    []string // by recipient
}

const (
	earthConcurrency = 120
	earthTransport   = 110
	earthMin         = 5 * time.Minute
	bounceLifetime   = 24 * time.Hour
	earthLifetime    = 120 * time.Hour
	warningAfter     = 4 * time.Hour
)

func (w *earth) fault(format string, args ...any) {
	if len(w.wrong) < 20 {
		w.wrong = append(w.wrong, time.Since(w.begin).String()+": "+fmt.Sprintf(format, args...))
	}
}

// Commit notes what the manager records. It is told before the spool is, so
// that nobody can be faster.
func (w *earth) Commit(ctx context.Context, accept []queue.Accept, changes []queue.Change) ([]string, error) {
	w.mu.Lock()
	for _, c := range changes {
		w.change(&c)
	}
	w.mu.Unlock()
	ids, err := w.Spool.Commit(ctx, accept, changes)
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, id := range ids {
		f := w.fate(id)
		f.attempts, f.arrival, f.lifetime = accept[i].Attempts, accept[i].Envelope.Arrival, earthLifetime
		for _, r := range accept[i].Envelope.Recipients {
			_, site, _ := strings.Cut(r.Address, "@")
			f.sites = append(f.sites, site)
		}
		if accept[i].Envelope.Sender == "" {
			f.lifetime = bounceLifetime
		}
	}
	return ids, err
}

func (w *earth) fate(id string) *fate {
	f := w.messages[id]
	if f == nil {
		f = new(fate)
		w.messages[id] = f
	}
	return f
}

func (w *earth) change(c *queue.Change) {
	f, now := w.fate(c.ID), time.Now()
	if c.Attempts > 0 {
		w.attempted(c, f, now)
	}
	if c.Warned {
		if f.warned || now.Sub(f.arrival) < warningAfter {
			w.fault("%s: warned again, or after %v", c.ID, now.Sub(f.arrival))
		}
		f.warned = true
	}
	if c.Defer {
		if now.Sub(f.arrival) >= f.lifetime {
			w.fault("%s lives on after %v", c.ID, now.Sub(f.arrival))
		}
		f.next, f.ended, f.site = c.Next, now, f.waitsFor(c.Results)
	}
	if c.Remove {
		delete(w.messages, c.ID)
	}
}

// attempted checks that a message comes at its time, or because its site has
// recovered.
func (w *earth) attempted(c *queue.Change, f *fate, now time.Time) {
	w.attempts++
	if c.Attempts != f.attempts+1 {
		w.fault("%s: attempt %d after %d", c.ID, c.Attempts, f.attempts)
	}
	f.attempts = c.Attempts
	if f.next.IsZero() {
		return
	}
	if early := f.next.Sub(now); early > time.Millisecond {
		w.woken++
		switch {
		case f.site == "":
			w.fault("%s came %v early, and waits for no site", c.ID, early)
		case now.Sub(f.ended) < earthMin:
			w.fault("%s came back after %v", c.ID, now.Sub(f.ended))
		case w.success[f.site].Before(f.ended):
			w.fault("%s came %v early, and %s has not recovered", c.ID, early, f.site)
		}
		return
	}
	w.latest = max(w.latest, now.Sub(f.next))
}

// waitsFor returns the site that all of these results blame, or "".
func (f *fate) waitsFor(results []queue.Mark) string {
	site := ""
	for i := range results {
		at := f.sites[results[i].Recipient]
		if !results[i].Result.Site || site != "" && at != site {
			return ""
		}
		site = at
	}
	return site
}

// Observe counts what is given up.
func (w *earth) Observe(_ context.Context, e mtakit.Event) {
	if e.Kind != mtakit.EventBounced && e.Kind != mtakit.EventExpired {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Kind == mtakit.EventBounced {
		w.bounced[e.Recipient]++
		return
	}
	f := w.fate(e.ID)
	age := time.Since(f.arrival)
	w.lateExpiry = max(w.lateExpiry, age-f.lifetime)
	if age < f.lifetime {
		w.fault("%s to %s expired after %v", e.ID, e.Recipient, age)
	}
}

// Deliver is all sites of the earth.
func (w *earth) Deliver(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	n := w.enter(d)
	defer w.leave(d)
	site, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(d.NextHop, "site"), ".example"))
	t := temperOf(site)
	if d.NextHop == "home.example" {
		t = goodSite
	}
	takes := 500*time.Millisecond + w.upTo(3*time.Second)
	switch t {
	case slowSite:
		takes = time.Minute + w.upTo(4*time.Minute)
	case silentSite:
		takes = 5 * time.Minute
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return nil
	}
	results := make([]mtakit.Result, len(d.Recipients))
	hours := int(time.Since(w.begin) / (3 * time.Hour))
	isDown := t == deadSite || t == silentSite || t == sickSite && (hours+site)%4 < 2 || t == choosySite && n > 3
	for i := range results {
		results[i] = w.one(d, i, t, isDown)
		if i%2 == 0 && results[i].Outcome != mtakit.Deferred {
			d.Report(i, results[i])
		}
	}
	return results
}

func (w *earth) upTo(d time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Duration(w.rand.Int64N(int64(d)))
}

func (w *earth) enter(d *mtakit.Delivery) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy[d.NextHop]++
	w.total++
	w.mostBusy = max(w.mostBusy, w.total)
	w.mostSite = max(w.mostSite, w.busy[d.NextHop])
	limit := 20
	if strings.HasPrefix(d.NextHop, "site") && len(d.NextHop) == len("site1.example") {
		limit = 3 // see Router
	}
	if w.busy[d.NextHop] > limit || w.total > earthTransport || len(d.Recipients) > 50 {
		w.fault("%d deliveries to %s, %d over all, %d recipients", w.busy[d.NextHop], d.NextHop, w.total, len(d.Recipients))
	}
	return w.busy[d.NextHop]
}

func (w *earth) leave(d *mtakit.Delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy[d.NextHop]--
	w.total--
}

// one is what becomes of a recipient.
func (w *earth) one(d *mtakit.Delivery, i int, t temper, isDown bool) mtakit.Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	to, now := d.Recipients[i].Address, time.Now()
	if isDown {
		return down()
	}
	w.success[d.NextHop] = now
	if w.firstSeen[to].IsZero() {
		w.firstSeen[to] = now
	}
	switch {
	case d.NextHop == "home.example":
		w.notification(d)
		return mtakit.Result{Outcome: mtakit.Delivered}
	case w.reached[to] > 0:
		w.fault("%s has it twice", to)
	case strings.HasPrefix(to, "nobody"):
		return bounced("no such user")
	case t == greySite && now.Sub(w.firstSeen[to]) < 10*time.Minute,
		t == fullSite && (strings.HasPrefix(to, "full") || now.Sub(w.begin) < 48*time.Hour):
		return deferred("not now")
	}
	w.reached[to]++
	return mtakit.Result{Outcome: mtakit.Relayed}
}

// notification counts who is named in a notification of failure.
func (w *earth) notification(d *mtakit.Delivery) {
	if d.Envelope.Sender != "" {
		return
	}
	var b strings.Builder
	_, _ = d.Message.WriteTo(&b)
	text := b.String()
	if !strings.Contains(text, "Action: failed") {
		return
	}
	for line := range strings.Lines(text) {
		if address, ok := strings.CutPrefix(line, "Final-Recipient: rfc822;"); ok {
			w.told[strings.TrimSpace(address)]++
		}
	}
}

// write sends all messages in the first day, most of them to one or a few
// recipients, some to lists.
func (w *earth) write(t *testing.T) {
	for i := range simulated {
		sendEnvelope(t, w.m, w.envelope(i))
		time.Sleep(w.upTo(24 * time.Hour / simulated))
	}
}

// envelope is that of message i. No recipient gets two.
func (w *earth) envelope(i int) *mtakit.Envelope {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &mtakit.Envelope{Sender: fmt.Sprintf("s%d@home.example", i%20)}
	if i%50 == 0 {
		e.Sender = ""
	}
	recipients := 1 + w.rand.IntN(3)
	if i%500 == 499 {
		recipients = 300
	}
	for n := range recipients {
		to := fmt.Sprintf("%s.%d.%d@site%d.example", w.user(), i, n, w.site())
		e.Recipients = append(e.Recipients, mtakit.Recipient{Address: to})
		w.arrival[to] = time.Now()
		if e.Sender == "" {
			w.told[to] = -1 // nobody is
		}
	}
	return e
}

func (w *earth) user() string {
	switch w.rand.IntN(20) {
	case 0:
		return "nobody"
	case 1:
		return "full"
	}
	return "u"
}

func (w *earth) site() int {
	if w.rand.IntN(10) == 0 {
		return 58 // where everybody writes to, and that is slow
	}
	return w.rand.IntN(earthSites)
}

// TestSixDays has every kind of site meet every rule of the schedule. In the end
// each recipient has the mail, or the sender knows that not.
func TestSixDays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &earth{Spool: new(memspool.Spool), begin: time.Now(), rand: rand.New(rand.NewPCG(1, 2)),
			busy: map[string]int{}, success: map[string]time.Time{}, firstSeen: map[string]time.Time{}, arrival: map[string]time.Time{},
			reached: map[string]int{}, bounced: map[string]int{}, told: map[string]int{}, messages: map[string]*fate{}}
		w.m = &queue.Manager{
			Spool: w, Hostname: "mx.example.org", Observer: w,
			Agents: map[string]queue.DeliveryAgent{"smtp": w, "few": w},
			// Sites with one digit have a transport of their own.
			Router: queue.RouterFunc(func(_ context.Context, _ *mtakit.Envelope, r *mtakit.Recipient) (mtakit.Route, error) {
				_, domain, _ := strings.Cut(r.Address, "@")
				if len(domain) == len("site1.example") && domain != "home.example" {
					return mtakit.Route{Transport: "few"}, nil
				}
				return mtakit.Route{Transport: "smtp"}, nil
			}),
			Concurrency: earthConcurrency, BounceLifetime: bounceLifetime,
			Limits:       queue.Limits{Concurrency: earthTransport - 10},
			Transports:   map[string]queue.Limits{"few": {Concurrency: 10, Destination: 3}},
			WarningAfter: warningAfter, WarnSenders: queue.SendersFunc(func(*mtakit.Envelope) bool { return true }),
		}
		serve(t, w.m)
		w.write(t)
		time.Sleep(time.Until(w.begin.Add(144 * time.Hour)))
		synctest.Wait()

		require.Empty(t, w.wrong)
		for e, err := range w.Entries(t.Context()) {
			require.NoError(t, err)
			assert.Fail(t, "still there", "%+v", e)
		}
		lost := 0
		for to := range w.arrival {
			given := w.bounced[to]
			ok := w.reached[to] == 1 && given == 0 && w.told[to] <= 0 ||
				w.reached[to] == 0 && given == 1 && (w.told[to] == 1 || w.told[to] == -1)
			if !ok {
				lost++
				assert.Less(t, lost, 10, "%s: reached %d, given up %d, told %d", to, w.reached[to], given, w.told[to])
			}
		}
		assert.Zero(t, lost)
		assert.Empty(t, w.messages)
		assert.LessOrEqual(t, w.lateExpiry, 20*time.Minute, "MinBackoff after the last attempt, a slow delivery, and the line for it")
		assert.LessOrEqual(t, w.latest, time.Second, "nothing comes late")
		assert.Positive(t, w.woken)
		assert.Equal(t, queue.Status{}, func() queue.Status { s := w.m.Status(); s.Destinations = nil; return s }())
		t.Logf("%d recipients, %d reached, %d further attempts, %d woken, %d at a time, %d to a site, late by %v, expired late by %v",
			len(w.arrival), len(w.reached), w.attempts, w.woken, w.mostBusy, w.mostSite, w.latest, w.lateExpiry)
	})
}

package queue_test

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/filespool"
	"github.com/mtakit/mtakit/queue/memspool"
)

// storm is everything around a manager, and all of it misbehaves: router, agent,
// filters, observer, disk, and operators who do whatever they can. It keeps the
// books of what must hold all the same.
type storm struct {
	queue.Spool
	calm   atomic.Bool // nothing goes wrong any more
	sound  atomic.Bool // the disk does not fail
	killed bool        // the process was: what was not recorded may be done again
	m      *queue.Manager

	mu        sync.Mutex
	rand      *rand.Rand
	last      int
	mail      map[string]*parcel // by token
	busy      map[string]bool    // messages that a Commit changes
	mistakes  []string
	delivered int
}

// parcel is one message as its sender knows it.
type parcel struct {
	to        []string
	never     []bool // NOTIFY=NEVER, by recipient
	key       string
	id        string         // what it was accepted as at first; "" means that it was not
	delivered map[string]int // by recipient
	told      map[string]int // notifications of failure, by recipient
	results   map[string]int // calls of Results, by recipient
	removed   time.Time      // somebody was told that it is removed
	dropped   bool           // the filter has thrown it away
}

func newStorm(seed uint64) *storm {
	return &storm{rand: rand.New(rand.NewPCG(seed, 7)), mail: make(map[string]*parcel), busy: make(map[string]bool)}
}

func (s *storm) n(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rand.IntN(n)
}

// wrong has something go wrong once in n times, in the storm.
func (s *storm) wrong(n int) bool { return s.n(n) == 0 && !s.calm.Load() }

func (s *storm) pause(d time.Duration) { time.Sleep(time.Duration(s.n(int(d)))) }

// mistake is under mu.
func (s *storm) mistake(format string, args ...any) {
	if len(s.mistakes) < 10 {
		s.mistakes = append(s.mistakes, fmt.Sprintf(format, args...))
	}
}

func (s *storm) broken(n int) error {
	if !s.sound.Load() && s.wrong(n) {
		return errDisk
	}
	return nil
}

func (s *storm) Begin(ctx context.Context, size int64) (mtakit.Draft, error) {
	if err := s.broken(30); err != nil {
		return nil, err
	}
	return s.Spool.Begin(ctx, size)
}

func (s *storm) Commit(ctx context.Context, accept []queue.Accept, changes []queue.Change) ([]string, error) {
	s.mark(changes, true)
	defer s.mark(changes, false)
	time.Sleep(3 * time.Millisecond)
	if err := s.broken(15); err != nil {
		for _, a := range accept {
			_ = a.Draft.Discard()
		}
		return nil, err
	}
	return s.Spool.Commit(ctx, accept, changes)
}

// mark checks that no two Commits at a time change the same message.
func (s *storm) mark(changes []queue.Change, busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		if busy && s.busy[c.ID] {
			s.mistake("%s is changed twice at a time", c.ID)
		}
		s.busy[c.ID] = busy
	}
}

func (s *storm) Open(ctx context.Context, id string) (*queue.Stored, error) {
	if err := s.broken(30); err != nil {
		return nil, err
	}
	return s.Spool.Open(ctx, id)
}

func (s *storm) Entries(ctx context.Context) iter.Seq2[queue.Entry, error] {
	return func(yield func(queue.Entry, error) bool) {
		for e, err := range s.Spool.Entries(ctx) {
			if broken := s.broken(60); broken != nil {
				yield(queue.Entry{}, broken)
				return
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// Route sends to two transports, and does not always know where to.
func (s *storm) Route(_ context.Context, e *mtakit.Envelope, r *mtakit.Recipient) (mtakit.Route, error) {
	if s.wrong(20) {
		s.pause(time.Second)
	}
	route := mtakit.Route{Transport: []string{"smtp", "slow"}[len(r.Address)%2]}
	switch {
	case e.Sender == "" || !s.wrong(12):
	case s.n(8) == 0:
		panic("router")
	case s.n(3) == 0:
		return route, errDisk
	case s.n(2) == 0:
		route.Transport = "none"
	default:
		class := 4 + s.n(2)
		route.Reply = &smtp.SMTPError{Code: 100*class + 50, EnhancedCode: smtp.EnhancedCode{class, 1, 1}, Message: "who?"}
	}
	return route, nil
}

// Deliver is every site.
func (s *storm) Deliver(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	begun := time.Now()
	s.began(d, begun)
	if s.wrong(3) {
		select {
		case <-time.After(time.Duration(s.n(int(time.Minute)))):
		case <-ctx.Done():
			return nil
		}
	}
	siteDown := s.wrong(4)
	falls, forgets := d.Envelope.Sender != "" && s.wrong(60), s.wrong(20)
	results := make([]mtakit.Result, len(d.Recipients))
	for i := range d.Recipients {
		switch {
		case siteDown:
			results[i] = down()
		case s.wrong(3):
			results[i] = deferred("not now")
		case d.Envelope.Sender != "" && s.wrong(8):
			results[i] = bounced("no such user")
		case falls || forgets: // and it has not been delivered
			results[i] = deferred("not now")
		default:
			results[i] = mtakit.Result{Outcome: mtakit.Relayed}
			s.deliver(d, i)
		}
		if s.n(2) == 0 || falls || forgets {
			d.Report(i, results[i])
		}
	}
	switch {
	case falls:
		panic("agent")
	case forgets:
		return nil
	}
	return results
}

func (s *storm) began(d *mtakit.Delivery, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.mail[d.Envelope.Attrs["token"]]; p != nil && !p.removed.IsZero() && at.After(p.removed) {
		s.mistake("%s (%s) is tried %v after it was removed", d.Envelope.Attrs["token"], d.ID, at.Sub(p.removed))
	}
}

func (s *storm) deliver(d *mtakit.Delivery, i int) {
	var b strings.Builder
	if d.Envelope.Sender == "" {
		_, _ = d.Message.WriteTo(&b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delivered++
	if p := s.mail[d.Envelope.Attrs["token"]]; p != nil {
		p.delivered[d.Recipients[i].Address]++
		return
	}
	to, p := "", s.mail[token(b.String())]
	for line := range strings.SplitSeq(b.String(), "\r\n") {
		if address, ok := strings.CutPrefix(line, "Final-Recipient: rfc822; "); ok {
			to = address
		}
		if line == "Action: failed" && p != nil {
			p.told[to]++
		}
	}
}

// Verify is asked beside Deliver.
func (s *storm) Verify(context.Context, *mtakit.Delivery) []mtakit.Result {
	if s.wrong(5) {
		panic("verifier")
	}
	return []mtakit.Result{{Outcome: mtakit.Outcome(s.n(3)), Site: true}}
}

// Filter is asked about what is requeued.
func (s *storm) Filter(_ context.Context, env *mtakit.Envelope, _ *mtakit.Message) (v mtakit.Verdict, err error) {
	switch {
	case env.Attrs["token"] == "" || !s.wrong(3):
		return v, nil
	case s.n(4) == 0:
		panic("filter")
	case s.n(3) == 0:
		return v, errDisk
	case s.n(2) == 0:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.mail[env.Attrs["token"]].dropped = true
		return mtakit.Verdict{Action: mtakit.Discard}, nil
	}
	return mtakit.Verdict{Action: mtakit.Reject, Reply: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "not this"}}, nil
}

// Observe is told of everything.
func (s *storm) Observe(context.Context, mtakit.Event) {
	if s.wrong(50) {
		panic("observer")
	}
}

// Lookup is FlushDomains.
func (s *storm) Lookup(_ context.Context, domain string) (string, bool, error) {
	if s.wrong(10) {
		return "", false, errDisk
	}
	return "", domain == "a.example", nil
}

// send submits a message in one way or another.
func (s *storm) send(ctx context.Context) {
	s.mu.Lock()
	s.last++
	name := fmt.Sprint("t", s.last)
	p := &parcel{delivered: make(map[string]int), told: make(map[string]int), results: make(map[string]int)}
	env := &mtakit.Envelope{Sender: "a@example.org", Attrs: map[string]string{"token": name}}
	for n := range 1 + s.rand.IntN(4) {
		r := mtakit.Recipient{Address: fmt.Sprintf("u%d@%c.example", n, 'a'+s.rand.IntN(4))}
		never := s.rand.IntN(8) == 0
		if never {
			r.Options.Notify = []smtp.DSNNotify{smtp.DSNNotifyNever}
		}
		env.Recipients = append(env.Recipients, r)
		p.to, p.never = append(p.to, r.Address), append(p.never, never)
	}
	switch s.rand.IntN(8) {
	case 0:
		env.Hold = "at first"
	case 1:
		env.NotBefore = time.Now().Add(time.Duration(s.rand.IntN(int(6 * time.Hour))))
	}
	how := s.rand.IntN(4)
	s.mail[name] = p
	s.mu.Unlock()
	text := "X-Token: " + name + "\r\n\r\nbody\r\n"
	if how == 0 {
		d, err := s.m.Begin(ctx, 0)
		if err != nil {
			return
		}
		_, _ = d.Write([]byte(text))
		id, err := d.Commit(ctx, env, nil)
		s.accepted(p, id, err)
		return
	}
	sub := queue.Submission{Results: queue.ResultsFunc(func(_ context.Context, r queue.RecipientStatus) {
		s.mu.Lock()
		p.results[r.Recipient.Address]++
		s.mu.Unlock()
		if s.wrong(20) {
			panic("results")
		}
	})}
	if how == 1 {
		sub.Results = nil
	}
	if how < 3 {
		id, err := s.m.Submit(ctx, env, strings.NewReader(text), sub)
		s.accepted(p, id, err)
		return
	}
	sub.Key, p.key = name, name
	var twice sync.WaitGroup
	for range 2 {
		twice.Go(func() {
			id, err := s.m.Submit(ctx, env, strings.NewReader(text), sub)
			s.accepted(p, id, err)
		})
	}
	twice.Wait()
}

func (s *storm) accepted(p *parcel, id string, err error) {
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.id != "" && p.id != id {
		s.mistake("one key, and the messages %s and %s", p.id, id)
	}
	p.id = id
}

// pick returns a message of the queue.
func (s *storm) pick(ctx context.Context) (e queue.Entry, ok bool) {
	n := 0
	for one, err := range s.m.Entries(ctx) {
		if n++; err == nil && one.Pending > 0 && s.n(n) == 0 {
			e, ok = one, true
		}
	}
	return e, ok
}

// operate does one thing that somebody can do with a manager.
func (s *storm) operate(ctx context.Context) {
	switch s.n(12) {
	case 0:
		_ = s.m.Flush(ctx)
		return
	case 1:
		_ = s.m.FlushSite(ctx, []string{"a.example", ".example", "b.example."}[s.n(3)])
		return
	case 2:
		_ = s.m.FastFlush(ctx, "a.example")
		return
	case 3:
		_, _ = s.m.QueueRun(ctx, queue.QueueRun{Sort: []queue.SortOrder{"", queue.SortRandom, queue.SortHost}[s.n(3)],
			MatchStored: func(*queue.Stored) bool { return s.n(2) == 0 }})
		return
	case 4:
		short, cancel := context.WithTimeout(ctx, time.Duration(s.n(int(time.Minute))))
		defer cancel()
		_, _ = s.m.Verify(short, "u@a.example")
		return
	case 5:
		_ = s.m.Status()
		s.m.Report(ctx, mtakit.Client{}, []string{"resource"}, "")
		return
	}
	e, ok := s.pick(ctx)
	if !ok {
		return
	}
	id := e.ID
	stored, err := s.Spool.Open(ctx, id)
	if err != nil {
		return
	}
	name := stored.Envelope.Attrs["token"]
	switch n := s.n(14); {
	case n < 3:
		_ = s.m.Hold(ctx, id, "look")
	case n < 6:
		_ = s.m.Release(ctx, id)
	case n < 7:
		_ = s.m.Retry(ctx, id)
	case name == "":
	case n < 8:
		_ = s.m.Expire(ctx, id)
	case n < 11:
		_ = s.m.Requeue(ctx, id)
	case n < 12:
		s.removed(name, s.m.Remove(ctx, id))
	case n < 13:
		r, err := s.m.Cancel(ctx, id)
		s.removed(name, err)
		if err == nil && !r.Over() {
			s.mu.Lock()
			s.mistake("%s was cancelled and is not over: %v", id, r)
			s.mu.Unlock()
		}
	default:
		_, _ = s.m.Result(ctx, id)
	}
}

func (s *storm) removed(name string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.mail[name]; err == nil {
		p.removed = time.Now()
	}
}

// live runs a manager for some time, and ends it in one way or another.
func (s *storm) live(t *testing.T, during func(m *queue.Manager)) {
	s.sound.Store(false)
	m := &queue.Manager{Spool: s, Router: s, Agents: map[string]queue.DeliveryAgent{"smtp": s, "slow": s}, Filter: s,
		Observer: s, FlushDomains: s, MinBackoff: time.Minute, MaxBackoff: 30 * time.Minute, Lifetime: 24 * time.Hour,
		BounceLifetime: 1000 * time.Hour, WarningAfter: 2 * time.Hour, ActiveLimit: 1 + s.n(20), RecipientLimit: 1 + s.n(60),
		Concurrency: 1 + s.n(8), Retention: 100 * time.Hour, Postmaster: "postmaster@example.org",
		Limits: queue.Limits{Recipients: 1 + s.n(3)}, Transports: map[string]queue.Limits{"slow": {RateDelay: time.Second}},
		NoticeFilter: queue.FilterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Message) (v mtakit.Verdict, err error) {
			switch {
			case s.wrong(10):
				panic("notice filter")
			case s.wrong(10):
				err = errDisk
			}
			return v, err
		})}
	s.m = m
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- m.Serve(ctx) }()
	during(m)
	s.sound.Store(true)
	switch s.n(4) {
	case 0:
		require.NoError(t, m.Shutdown(context.Background()))
	case 1:
		require.NoError(t, m.Close())
	case 2:
		cancel()
	default:
		soon, cancel := context.WithTimeout(context.Background(), time.Duration(s.n(int(10*time.Second))))
		defer cancel()
		_ = m.Shutdown(soon)
	}
	require.NoError(t, <-done)
	require.NoError(t, m.Shutdown(context.Background()))
	require.Zero(t, m.Status().Deliveries)
}

// blow has people send and operate for some hours.
func (s *storm) blow(*queue.Manager) {
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			for range 12 {
				patiently(s.send)
				s.pause(10 * time.Minute)
			}
		})
		group.Go(func() {
			for range 80 {
				patiently(s.operate)
				s.pause(2 * time.Minute)
			}
		})
	}
	group.Wait()
}

// patiently does something, but does not wait for ever for a disk that is gone.
func patiently(do func(ctx context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	do(ctx)
}

// settle lets everything come to its end, with nothing that goes wrong.
func (s *storm) settle(t *testing.T, m *queue.Manager) {
	s.calm.Store(true)
	ctx := t.Context()
	sleep(time.Second)
	for e, err := range m.Entries(ctx) {
		require.NoError(t, err)
		if e.Hold != "" {
			require.NoError(t, m.Release(ctx, e.ID))
		}
	}
	sleep(60 * time.Hour)
	s.checkReceipts(t, m)
	for e := range m.Entries(ctx) {
		if e.Pending > 0 {
			s.mistake("%s is forgotten: %+v", e.ID, e)
		}
	}
	sleep(101 * time.Hour)
	for e := range m.Entries(ctx) {
		s.mistake("%s stays: %+v", e.ID, e)
	}
	st := m.Status()
	require.Equal(t, queue.Status{}, queue.Status{Active: st.Active, Waiting: st.Waiting, Deliveries: st.Deliveries, Recipients: st.Recipients})
}

// checkReceipts compares receipts with the books.
func (s *storm) checkReceipts(t *testing.T, m *queue.Manager) {
	for name, p := range s.mail {
		id, err := m.Find(t.Context(), cmp.Or(p.key, "none"))
		if err != nil {
			continue
		}
		r, err := m.Result(t.Context(), id)
		require.NoError(t, err, "%s %s", name, id)
		for _, status := range r.Recipients {
			to := status.Recipient.Address
			got := map[mtakit.EventKind]int{mtakit.EventDelivered: p.delivered[to], mtakit.EventBounced: p.told[to], mtakit.EventExpired: p.told[to],
				mtakit.EventRemoved: 1}[status.Kind]
			if got == 0 && p.removed.IsZero() && !(p.never[0] || p.never[len(p.never)-1] || len(p.never) > 2) {
				s.mistake("%s to %s: receipt says %s %+v, %+v", name, to, status.Kind, status.Result, p)
			}
		}
	}
}

func (s *storm) check(t *testing.T, seed uint64) {
	accepted := 0
	for name, p := range s.mail {
		if p.id != "" {
			accepted++
		}
		for i, to := range p.to {
			n, told := p.delivered[to], p.told[to]
			switch {
			case p.id == "" && n+told > 0 && !s.killed:
				s.mistake("%s to %s was not accepted, and delivered", name, to)
			case p.id == "":
			case n+told > 1 && !s.killed:
				s.mistake("%s to %s: %d deliveries, %d notifications", name, to, n, told)
			case n+told == 0 && p.removed.IsZero() && !p.dropped && !p.never[i]:
				s.mistake("%s (%s) to %s is lost", name, p.id, to)
			}
			if p.results[to] > 1 {
				s.mistake("%s to %s: %d results", name, to, p.results[to])
			}
		}
	}
	require.Empty(t, s.mistakes, "seed %d", seed)
	require.Positive(t, accepted)
	require.Positive(t, s.delivered)
}

// TestStorm has everything go wrong at once, over several lives of a manager.
func TestStorm(t *testing.T) {
	t.Parallel()
	for seed := range uint64(storms) {
		synctest.Test(t, func(t *testing.T) {
			s := newStorm(seed)
			s.Spool = &memspool.Spool{}
			for range 3 {
				s.live(t, s.blow)
			}
			s.live(t, func(m *queue.Manager) { s.settle(t, m) })
			s.check(t, seed)
		})
	}
}

// TestStormOnDisk is TestStorm on a disk that loses power, too.
func TestStormOnDisk(t *testing.T) {
	t.Parallel()
	for seed := range uint64(storms) {
		synctest.Test(t, func(t *testing.T) {
			s := newStorm(seed)
			s.killed = seed%2 == 1
			disk := crashfs.New()
			for range 3 {
				if s.killed {
					disk.Inject(disk.Ops()+1+s.n(3000), crashfs.Fault{Err: crashfs.ErrCrash})
				}
				disk = s.onDisk(t, disk, s.blow)
			}
			disk = disk.Exit() // without the faults
			s.onDisk(t, disk, func(m *queue.Manager) { s.settle(t, m) })
			s.check(t, seed)
		})
	}
}

func (s *storm) onDisk(t *testing.T, disk *crashfs.Disk, during func(*queue.Manager)) *crashfs.Disk {
	spool, err := filespool.Open("q", filespool.Options{FS: disk, MemoryPerDraft: 512})
	if err != nil {
		require.True(t, disk.Crashed(), "%v", err)
		return disk.Restart(s.rand)
	}
	s.Spool = spool
	s.live(t, during)
	require.NoError(t, spool.Close())
	if disk.Crashed() {
		return disk.Restart(s.rand)
	}
	return disk
}

package queue_test

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// put has a spool know a message from before. Its recipient is ID@example.net.
func (s *spool) put(e queue.Entry) {
	e.Pending, e.Sender = 1, "a@example.org"
	if e.Arrival.IsZero() {
		e.Arrival = time.Now().Add(-time.Hour)
	}
	s.stored[e.ID] = &queue.Stored{
		Entry: e, Message: mtakit.NewMessage([]byte("Subject: old\r\n\r\n")), Marks: make([]queue.Mark, 1),
		Envelope: &mtakit.Envelope{Sender: e.Sender, Arrival: e.Arrival, NotBefore: e.Next,
			Recipients: []mtakit.Recipient{{Address: e.ID + "@example.net"}}},
	}
	if e.Attempts > 0 {
		s.stored[e.ID].Envelope.NotBefore = time.Time{}
	}
}

// TestEachComesDueAtItsTime has 10,000 messages that wait, as after a restart.
func TestEachComesDueAtItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		due := make(map[string]time.Time)
		for i := range 10_000 {
			id := fmt.Sprintf("%016d", i)
			due[id] = time.Now().Add(time.Duration(i*7919%10_000) * 400 * time.Millisecond)
			s.put(queue.Entry{ID: id, Queue: "deferred", Attempts: 3, Next: due[id]})
		}
		a := &agent{}
		m := manager(s, a)
		serve(t, m)
		sleep(time.Hour)
		assert.Equal(t, 999, m.Status().Waiting)
		sleep(time.Hour)
		calls := a.all()
		require.Len(t, calls, 10_000)
		for _, c := range calls {
			require.Equal(t, due[c.id], c.at)
		}
		assert.Zero(t, s.len())
		assert.Empty(t, s.races)
	})
}

// gated is a spool that lists its messages twice, and a new one only when the
// gate is opened.
type gated struct {
	*spool
	gate chan struct{}
}

func (g *gated) Entries(ctx context.Context) iter.Seq2[queue.Entry, error] {
	var old []queue.Entry
	for e := range g.spool.Entries(ctx) {
		old = append(old, e)
	}
	slices.SortFunc(old, func(a, b queue.Entry) int { return a.Next.Compare(b.Next) })
	return func(yield func(queue.Entry, error) bool) {
		for i, e := range old {
			if i == len(old)/2 {
				<-g.gate
			}
			for range 2 {
				if !yield(e, nil) {
					return
				}
			}
		}
		for e, err := range g.spool.Entries(ctx) {
			if !yield(e, err) {
				return
			}
		}
	}
}

func TestWorkWhileTheSpoolIsRead(t *testing.T) {
	t.Parallel()
	for _, flush := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := &gated{newSpool(), make(chan struct{})}
			for i := range 100 {
				s.put(queue.Entry{ID: fmt.Sprintf("old%d", i), Queue: "deferred", Attempts: 2, Next: time.Now().Add(time.Duration(i) * time.Minute)})
			}
			g := &gauge{takes: second}
			g.answer = func(d *mtakit.Delivery, i int) mtakit.Result {
				if d.Recipients[i].Address == "later@example.net" && d.Attempt == 1 {
					return deferred("later")
				}
				return mtakit.Result{Outcome: mtakit.Delivered}
			}
			m := manager(s, g)
			serve(t, m)
			sleep(time.Second)
			send(t, m, "a@example.org", "new@example.net")
			send(t, m, "a@example.org", "later@example.net")
			sleep(2 * time.Second)
			assert.Len(t, g.to("new@example.net"), 1)
			assert.Len(t, g.to("later@example.net"), 1)
			if flush {
				require.NoError(t, m.Flush(t.Context()))
				sleep(time.Minute)
			}
			close(s.gate)
			sleep(5 * time.Minute)
			if flush {
				assert.Zero(t, s.len(), "what was read later is due too")
			} else {
				assert.NotNil(t, s.get("old99"))
			}
			sleep(2 * time.Hour)
			assert.Len(t, g.all(), 103, "each once")
			assert.Len(t, g.to("later@example.net"), 2)
			assert.Zero(t, s.len())
			assert.Empty(t, s.races)
			assert.Zero(t, m.Status().Active)
		})
	}
}

// TestOperationsWhileTheSpoolIsRead concern messages that the manager has not
// seen yet.
func TestOperationsWhileTheSpoolIsRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &gated{newSpool(), make(chan struct{})}
		next := time.Now().Add(time.Hour)
		for _, id := range []string{"retry", "hold", "remove"} {
			s.put(queue.Entry{ID: id, Queue: "deferred", Attempts: 2, Next: next})
		}
		for _, id := range []string{"held", "release"} {
			s.put(queue.Entry{ID: id, Queue: "hold", Attempts: 2, Next: next, Hold: "wait"})
		}
		s.put(queue.Entry{ID: "first", Queue: "deferred", Attempts: 2})
		a := &agent{}
		m := manager(s, a)
		serve(t, m)
		synctest.Wait()
		ctx := t.Context()
		require.NoError(t, m.Hold(ctx, "hold", "stop"))
		require.NoError(t, m.Remove(ctx, "remove"))
		require.NoError(t, m.Release(ctx, "release"))
		require.NoError(t, m.Retry(ctx, "retry"))
		require.ErrorIs(t, m.Retry(ctx, "held"), queue.ErrNotFound)
		require.ErrorIs(t, m.Retry(ctx, "nobody"), queue.ErrNotFound)
		synctest.Wait()
		assert.Len(t, a.to("retry@example.net"), 1)
		assert.Len(t, a.to("release@example.net"), 1)
		close(s.gate)
		sleep(3 * time.Hour)
		assert.Len(t, a.all(), 3)
		assert.Equal(t, 2, s.len())
		assert.Equal(t, "stop", s.get("hold").Hold)
		assert.Zero(t, m.Status().Waiting)
	})
}

// TestSitesAfterRestart has mail wait for a site, and for more than that, when
// the program is stopped. A success wakes the former alone.
func TestSitesAfterRestart(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"memspool", "filespool"} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			var up atomic.Bool
			g := &gauge{takes: second}
			g.answer = func(d *mtakit.Delivery, i int) mtakit.Result {
				switch {
				case up.Load():
					return mtakit.Result{Outcome: mtakit.Delivered}
				case d.Recipients[i].Address == "full@example.net":
					return deferred("mailbox full")
				}
				return down()
			}
			open := opener(t, name, dir)
			s := open()
			m := manager(s, g)
			m.MinBackoff = 10 * time.Minute
			stop := serve(t, m)
			synctest.Wait()
			more := map[string]bool{
				send(t, m, "a@example.org", "full@example.net"):               true,
				send(t, m, "a@example.org", "u@example.net", "u@example.com"): true,
			}
			sleep(5 * time.Second)
			for i := range 6 {
				send(t, m, "a@example.org", fmt.Sprintf("u%d@example.net", i))
			}
			sleep(25 * time.Second)
			stop()
			for _, e := range entries(t, s) {
				want := "smtp example.net"
				if more[e.ID] {
					want = ""
				}
				assert.Equal(t, want, e.Site, e.ID)
			}

			up.Store(true)
			s = open()
			m = manager(s, g)
			m.MinBackoff = time.Minute
			restart, early := time.Now(), len(g.all())
			stop = serve(t, m)
			sleep(time.Second)
			require.Equal(t, 8, m.Status().Waiting, name)
			send(t, m, "a@example.org", "new@example.net")
			sleep(50 * time.Second)
			assert.Len(t, g.all(), early+1, "each has its rest")
			sleep(5 * time.Minute)
			left := entries(t, s)
			assert.Len(t, left, 2)
			for _, e := range left {
				assert.True(t, more[e.ID])
			}
			for _, c := range g.all()[early+1:] {
				assert.GreaterOrEqual(t, c.at.Sub(restart), time.Minute)
			}
			sleep(time.Hour)
			assert.Empty(t, entries(t, s))
			stop()
			require.NoError(t, s.Close())
		})
	}
}

// TestCutOffSleepsForNobody has a message crash the program that had waited for
// a site before.
func TestCutOffSleepsForNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := newSpool(), &agent{}
		next := time.Now().Add(time.Hour)
		s.put(queue.Entry{ID: "poison", Queue: "active", Attempts: 2, Next: next, Site: "smtp example.net"})
		s.put(queue.Entry{ID: "usual", Queue: "deferred", Attempts: 2, Next: next, Site: "smtp example.net"})
		m := manager(s, a)
		serve(t, m)
		synctest.Wait()
		send(t, m, "a@example.org", "new@example.net")
		sleep(30 * time.Minute)
		assert.Len(t, a.to("usual@example.net"), 1)
		assert.Empty(t, a.to("poison@example.net"))
		sleep(time.Hour)
		assert.Equal(t, next, a.to("poison@example.net")[0].at)
	})
}

func TestPanicsAreCountedOverRestarts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		var calls atomic.Int32
		oops := queue.DeliveryAgentFunc(func(context.Context, *mtakit.Delivery) []mtakit.Result {
			calls.Add(1)
			panic("oops")
		})
		id := ""
		for range 3 {
			m := manager(s, oops)
			m.MaxBackoff = 10 * time.Minute
			stop := serve(t, m)
			if id == "" {
				id = send(t, m, "a@example.org", "b@example.net")
			}
			sleep(time.Until(s.get(id).Next) + time.Second)
			stop()
		}
		require.Equal(t, int32(3), calls.Load())
		assert.Equal(t, "after 3 times: delivery agent smtp panicked: oops", s.get(id).Hold)
		m := manager(s, oops)
		serve(t, m)
		require.NoError(t, m.Release(t.Context(), id))
		sleep(24 * time.Hour)
		assert.Equal(t, int32(6), calls.Load(), "who releases it wants it tried")
		assert.Contains(t, s.get(id).Hold, "after 6 times")
		assert.Equal(t, 6, s.get(id).Panics)
	})
}

// TestPanicsAreCountedOnce has the end of the attempt fail to be recorded.
func TestPanicsAreCountedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		s.fail = func(n int, _ []queue.Accept, _ []queue.Change) error {
			if n >= 2 && n < 6 {
				return errDisk
			}
			return nil
		}
		m := manager(s, queue.DeliveryAgentFunc(func(context.Context, *mtakit.Delivery) []mtakit.Result { panic("oops") }))
		m.MinBackoff = 40 * time.Minute
		serve(t, m)
		synctest.Wait()
		id := send(t, m, "a@example.org", "b@example.net")
		sleep(time.Hour)
		assert.Equal(t, 1, s.get(id).Panics)
		assert.Empty(t, s.get(id).Hold)
	})
}

// TestNewMailBesideABacklog has a great deal come due at once, when there is
// little room.
func TestNewMailBesideABacklog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		for i := range 2000 {
			s.put(queue.Entry{ID: fmt.Sprintf("old%d", i), Queue: "deferred", Attempts: 2})
		}
		g := &gauge{takes: second}
		m := manager(s, g)
		m.ActiveLimit = 10
		serve(t, m)
		sleep(time.Minute)
		before := len(g.all())
		start := time.Now()
		for i := range 20 {
			send(t, m, "a@example.org", fmt.Sprintf("new%d@example.com", i))
		}
		sleep(10 * time.Second)
		for i := range 20 {
			assert.Len(t, g.to(fmt.Sprintf("new%d@example.com", i)), 1)
		}
		assert.GreaterOrEqual(t, len(g.all())-before, 40, "old mail goes on")
		sleep(time.Hour)
		assert.Zero(t, s.len())
		assert.Less(t, g.all()[len(g.all())-1].at.Sub(start), 10*time.Minute)
	})
}

// TestTimesFromWrongClocks has the spool hold times that cannot be.
func TestTimesFromWrongClocks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := newSpool(), &agent{answer: func(d *mtakit.Delivery, _ int) mtakit.Result { return deferred("later") }}
		now := time.Now()
		end := time.Unix(1<<40, 0)
		s.put(queue.Entry{ID: "past", Queue: "deferred", Attempts: 2, Next: time.Unix(0, 0)})
		s.put(queue.Entry{ID: "future", Queue: "deferred", Attempts: 2, Next: now.Add(math.MaxInt64)})
		s.put(queue.Entry{ID: "end", Queue: "deferred", Attempts: 2, Next: end})
		s.put(queue.Entry{ID: "born", Queue: "deferred", Attempts: 2, Next: now.Add(time.Minute), Arrival: end})
		s.put(queue.Entry{ID: "later", Queue: "deferred", Next: end})
		m := manager(s, a)
		serve(t, m)
		synctest.Wait()
		sendEnvelope(t, m, &mtakit.Envelope{Sender: "a@example.org", NotBefore: end, Recipients: []mtakit.Recipient{{Address: "new@example.net"}}})
		require.NoError(t, m.Flush(t.Context()))
		synctest.Wait()
		sleep(2 * time.Hour)
		for _, id := range []string{"past", "future", "end", "born"} {
			n := len(a.to(id + "@example.net"))
			assert.GreaterOrEqual(t, n, 2, id)
			assert.LessOrEqual(t, n, 2*60/5+2, id)
			assert.LessOrEqual(t, time.Until(s.get(id).Next), 4500*time.Second, id)
		}
		assert.Empty(t, a.to("later@example.net"))
		assert.Empty(t, a.to("new@example.net"))
		assert.Equal(t, 6, m.Status().Waiting)
	})
}

// TestOperationsAtOnce has goroutines send, operate and flush while old mail is read
// and tried.
func TestOperationsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		s.latency = time.Millisecond
		for i := range 500 {
			s.put(queue.Entry{ID: fmt.Sprintf("old%d", i), Queue: "deferred", Attempts: 2,
				Next: time.Now().Add(time.Duration(i) * time.Second), Site: fmt.Sprintf("smtp site%d.example", i%7)})
		}
		g := &gauge{takes: second}
		g.answer = func(d *mtakit.Delivery, i int) mtakit.Result {
			if d.Attempt < 4 && len(d.ID)%2 == 0 {
				return down()
			}
			return mtakit.Result{Outcome: mtakit.Delivered}
		}
		m := manager(s, g)
		m.ActiveLimit = 50
		serve(t, m)
		ctx := t.Context()
		var group sync.WaitGroup
		for i := range 20 {
			group.Go(func() {
				for j := range 50 {
					id := fmt.Sprintf("old%d", (i*50+j)%500)
					switch j % 5 {
					case 0:
						_ = m.Retry(ctx, id)
					case 1:
						if m.Hold(ctx, id, "wait") == nil {
							time.Sleep(time.Second)
							_ = m.Release(ctx, id)
						}
					case 2:
						send(t, m, "a@example.org", fmt.Sprintf("u@site%d.example", j%7))
					case 3:
						time.Sleep(time.Duration(j) * 100 * time.Millisecond)
					case 4:
						assert.NoError(t, m.Flush(ctx))
					}
				}
			})
		}
		group.Wait()
		sleep(time.Hour)
		for id, stored := range s.stored {
			if stored.Hold != "" {
				assert.NoError(t, m.Release(ctx, id))
			}
		}
		sleep(24 * time.Hour)
		assert.Zero(t, s.len())
		assert.Empty(t, s.races)
		status := m.Status()
		assert.Zero(t, status.Active)
		assert.Zero(t, status.Waiting)
		assert.Empty(t, status.Destinations)
	})
}

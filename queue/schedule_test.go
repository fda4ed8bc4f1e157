package queue_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// gauge is an agent that takes a while and counts how many deliveries each
// destination has at a time.
type gauge struct {
	agent
	takes func(d *mtakit.Delivery) time.Duration // forever when negative

	count   sync.Mutex
	now     map[string]int
	highest map[string]int
	total   int
	started []string // the first recipient of each delivery
}

func (g *gauge) Deliver(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	g.add(d.NextHop, 1)
	defer g.add(d.NextHop, -1)
	g.count.Lock()
	g.started = append(g.started, d.Recipients[0].Address)
	g.count.Unlock()
	takes := g.takes(d)
	if takes < 0 {
		<-ctx.Done()
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(takes):
	}
	return g.agent.Deliver(ctx, d)
}

func (g *gauge) add(key string, n int) {
	g.count.Lock()
	defer g.count.Unlock()
	if g.now == nil {
		g.now, g.highest = make(map[string]int), make(map[string]int)
	}
	g.now[key] += n
	g.total += n
	g.highest[key] = max(g.highest[key], g.now[key])
	g.highest["all"] = max(g.highest["all"], g.total)
}

// most returns how many deliveries there were to key at a time; "all" is all.
func (g *gauge) most(key string) int {
	g.count.Lock()
	defer g.count.Unlock()
	return g.highest[key]
}

// since returns the first recipients of the deliveries from the n-th on.
func (g *gauge) since(n int) []string {
	g.count.Lock()
	defer g.count.Unlock()
	return slices.Clone(g.started[n:])
}

func second(*mtakit.Delivery) time.Duration { return time.Second }

// TestHeadOfLine has silent sites take as much as they can get before the mail
// for the others arrives, which must go out as if they were not there.
func TestHeadOfLine(t *testing.T) {
	t.Parallel()
	for _, silent := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			g := &gauge{takes: func(d *mtakit.Delivery) time.Duration {
				if strings.HasPrefix(d.NextHop, "silent") {
					return -1
				}
				return time.Second
			}}
			m := manager(newSpool(), g)
			m.Concurrency = 10
			done := make(chan error, 1)
			go func() { done <- m.Serve(t.Context()) }()
			for i := range 300 {
				send(t, m, "a@example.org", fmt.Sprintf("u%d@silent%d.example", i, i%silent))
			}
			sleep(time.Hour)
			start := time.Now()
			for i := range 100 {
				send(t, m, "a@example.org", fmt.Sprintf("u%d@live%d.example", i, i%25))
			}
			sleep(time.Hour)
			require.Len(t, g.all(), 100)
			last := g.all()[99].at
			assert.LessOrEqual(t, last.Sub(start), 100*time.Second, "at worst one at a time")
			require.NoError(t, m.Close())
			require.NoError(t, <-done)
		})
	}
}

func TestConcurrencyGrows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gauge{takes: second}
		m := manager(newSpool(), g)
		serve(t, m)
		for i := range 300 {
			send(t, m, "a@example.org", fmt.Sprintf("u%d@example.net", i))
		}
		synctest.Wait()
		assert.Equal(t, 5, g.most("example.net"), "slow start")
		sleep(time.Second)
		assert.Greater(t, g.most("example.net"), 5)
		sleep(time.Minute)
		assert.Equal(t, 20, g.most("example.net"))
		assert.Len(t, g.all(), 300)
	})
}

func TestTransportLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gauge{takes: second}
		m := manager(newSpool(), g)
		m.Transports = map[string]queue.Limits{"smtp": {Concurrency: 2}}
		serve(t, m)
		for i := range 20 {
			send(t, m, "a@example.org", fmt.Sprintf("u@example%d.net", i%4))
		}
		sleep(time.Minute)
		assert.Equal(t, 2, g.most("all"))
		assert.Len(t, g.all(), 20)
	})
}

func TestDeadDestination(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		var mu sync.Mutex
		up := false
		g := &gauge{takes: second}
		g.answer = func(*mtakit.Delivery, int) mtakit.Result {
			mu.Lock()
			defer mu.Unlock()
			if up {
				return mtakit.Result{Outcome: mtakit.Delivered}
			}
			return down()
		}
		m := manager(s, g)
		serve(t, m)
		var ids []string
		for i := range 100 {
			ids = append(ids, send(t, m, "a@example.org", fmt.Sprintf("u%d@example.net", i)))
		}
		sleep(time.Minute)
		tried := len(g.all())
		assert.Equal(t, 5, tried, "the rest was deferred without an attempt")
		suspended := 0
		for _, id := range ids {
			r := s.get(id).Marks[0].Result
			assert.Equal(t, [3]int{4, 4, 1}, [3]int(r.Status))
			if r.Diagnostic == "delivery temporarily suspended: connection refused" {
				suspended++
			}
		}
		assert.Equal(t, 95, suspended)
		late := send(t, m, "a@example.org", "late@example.net")
		synctest.Wait()
		assert.Len(t, g.all(), tried, "nor is new mail tried")
		assert.Equal(t, "deferred", s.get(late).Queue)
		mu.Lock()
		up = true
		mu.Unlock()
		require.Equal(t, 101, m.Status().Destinations[0].Sleepers)
		sleep(6 * time.Minute)
		assert.Zero(t, s.len())
		assert.LessOrEqual(t, g.most("example.net"), 20)
		assert.Empty(t, m.Status().Destinations, "nothing is remembered of idle sites")
	})
}

// TestDeadIsLeftAlone sends mail to a dead site every ten seconds: nobody asks
// the site before MinBackoff is over, unless somebody flushes.
func TestDeadIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &agent{answer: func(*mtakit.Delivery, int) mtakit.Result { return down() }}
		m := manager(newSpool(), a)
		m.Limits.Initial = 1 // one failure is one cohort, two are more
		serve(t, m)
		send(t, m, "a@example.org", "u@example.net")
		send(t, m, "a@example.org", "u@example.net")
		sleep(time.Second)
		require.Len(t, a.all(), 2)
		require.Positive(t, m.Status().Destinations[0].Dead)
		died := a.all()[1].at
		for time.Since(died) < 285*time.Second {
			send(t, m, "a@example.org", "u@example.net")
			sleep(10 * time.Second)
		}
		require.Len(t, a.all(), 2)
		sleep(time.Minute)
		require.Greater(t, len(a.all()), 2)
		assert.GreaterOrEqual(t, a.all()[2].at.Sub(died), 300*time.Second)

		before := len(a.all())
		require.NoError(t, m.Flush(t.Context()))
		synctest.Wait()
		assert.Greater(t, len(a.all()), before)
	})
}

// TestFailuresAreRemembered has a site that refuses, and gets one message a
// minute: it dies all the same. What is remembered of it is forgotten in the end.
func TestFailuresAreRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &agent{answer: func(*mtakit.Delivery, int) mtakit.Result { return down() }}
		m := manager(newSpool(), a)
		m.Limits.Initial, m.Lifetime = 3, -1
		serve(t, m)
		for range 4 {
			send(t, m, "a@example.org", "u@example.net")
			sleep(time.Minute)
		}
		assert.Len(t, a.to("u@example.net"), 3, "1/3 + 1/2 + 1 is more than a cohort")
		send(t, m, "a@example.org", "u@example.com")
		sleep(time.Minute)
		assert.Len(t, m.Status().Destinations, 3, "and where the notifications go")
		sleep(time.Hour)
		send(t, m, "a@example.org", "u@example.edu")
		sleep(10 * time.Millisecond)
		assert.Len(t, m.Status().Destinations, 2, "that and the one for the notification")
	})
}

// TestSiteAndMessage has what counts against the site, and what does not.
func TestSiteAndMessage(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		result mtakit.Result
		dead   bool
	}{"421": {down(), true}, "450": {deferred("mailbox full"), false}, "550": {bounced("no such user"), false}} {
		synctest.Test(t, func(t *testing.T) {
			a := &agent{answer: func(*mtakit.Delivery, int) mtakit.Result { return tt.result }}
			m := manager(newSpool(), a)
			serve(t, m)
			for range 50 {
				send(t, m, "a@example.org", "u@example.net")
				sleep(time.Second)
			}
			dead := false
			for _, d := range m.Status().Destinations {
				dead = dead || d.Dead > 0
			}
			assert.Equal(t, tt.dead, dead, name)
		})
	}
}

func TestSuccessWakesWhatTheSiteKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		up := false
		g := &gauge{takes: second}
		g.answer = func(d *mtakit.Delivery, i int) mtakit.Result {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case d.Recipients[i].Address == "full@example.net":
				return deferred("mailbox full")
			case up:
				return mtakit.Result{Outcome: mtakit.Delivered}
			}
			return down()
		}
		s := newSpool()
		m := manager(s, g)
		m.MinBackoff, m.MaxBackoff = time.Minute, 10*time.Hour
		serve(t, m)
		for i := range 3 {
			send(t, m, "a@example.org", fmt.Sprintf("u%d@example.net", i))
		}
		sleep(6 * time.Hour)
		mu.Lock()
		up = true
		mu.Unlock()
		send(t, m, "a@example.org", "new@example.net")
		sleep(2 * time.Minute)
		require.Zero(t, s.len(), "all are delivered long before their time")

		full := send(t, m, "a@example.org", "full@example.net")
		sleep(6 * time.Hour)
		sleep(time.Until(s.get(full).Next) + time.Minute)
		attempts := s.get(full).Attempts
		send(t, m, "a@example.org", "new@example.net")
		sleep(2 * time.Minute)
		assert.Equal(t, attempts, s.get(full).Attempts, "what the message was deferred for is not the site's")
	})
}

func TestBigListGivesWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gauge{takes: second}
		m := manager(newSpool(), g)
		m.Limits = queue.Limits{Destination: 1}
		serve(t, m)
		var list []string
		for i := range 5000 {
			list = append(list, fmt.Sprintf("u%d@example.net", i))
		}
		send(t, m, "list@example.org", list...)
		sleep(1500 * time.Millisecond)
		send(t, m, "a@example.org", "small@example.net")
		sleep(3 * time.Second)
		require.Len(t, g.to("small@example.net"), 1, "after one more part of the list")
		sleep(time.Hour)
		assert.Len(t, g.all(), 101, "50 recipients travel together")
	})
}

func TestActiveLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gauge{takes: second}
		m := manager(newSpool(), g)
		m.ActiveLimit = 3
		serve(t, m)
		for i := range 30 {
			send(t, m, "a@example.org", fmt.Sprintf("u@example%d.net", i))
		}
		synctest.Wait()
		assert.Equal(t, 3, m.Status().Active)
		assert.Equal(t, 27, m.Status().Waiting)
		sleep(time.Minute)
		assert.Equal(t, 3, g.most("all"))
		assert.Len(t, g.all(), 30)
		assert.Zero(t, m.Status().Active)
	})
}

func TestOperations(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		a := &agent{answer: func(*mtakit.Delivery, int) mtakit.Result { return deferred("later") }}
		m := manager(s, a)
		m.MinBackoff, m.MaxBackoff = 10*time.Hour, 10*time.Hour
		serve(t, m)
		ctx := t.Context()
		one := send(t, m, "a@example.org", "one@example.net")
		two := send(t, m, "a@example.org", "two@sub.example.com")
		sleep(time.Second)
		require.NoError(t, m.Retry(ctx, one))
		synctest.Wait()
		assert.Len(t, a.to("one@example.net"), 2)
		assert.Len(t, a.to("two@sub.example.com"), 1)
		require.NoError(t, m.FlushSite(ctx, ".example.com"))
		synctest.Wait()
		assert.Len(t, a.to("one@example.net"), 2)
		assert.Len(t, a.to("two@sub.example.com"), 2)
		require.NoError(t, m.Flush(ctx))
		synctest.Wait()
		assert.Len(t, a.to("one@example.net"), 3)
		assert.Len(t, a.to("two@sub.example.com"), 3)

		require.NoError(t, m.Hold(ctx, one, "wait"))
		require.ErrorIs(t, m.Retry(ctx, one), queue.ErrNotFound)
		sleep(20 * time.Hour)
		assert.Len(t, a.to("one@example.net"), 3)
		require.NoError(t, m.Release(ctx, one))
		synctest.Wait()
		assert.Len(t, a.to("one@example.net"), 4)
		require.NoError(t, m.Remove(ctx, one))
		require.NoError(t, m.Remove(ctx, two))
		require.ErrorIs(t, m.Remove(ctx, two), queue.ErrNotFound)
		require.ErrorIs(t, m.Hold(ctx, "nobody", ""), queue.ErrNotFound)
		require.ErrorIs(t, m.Release(ctx, "nobody"), queue.ErrNotFound)
		assert.Zero(t, s.len())
		assert.Zero(t, m.Status().Waiting)
	})
}

func TestOrdersToActiveMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		g := &gauge{takes: second}
		m := manager(s, g)
		m.Limits = queue.Limits{Concurrency: 1, Recipients: 1}
		serve(t, m)
		to := []string{"1@example.net", "2@example.net", "3@example.net"}
		held := send(t, m, "a@example.org", to...)
		synctest.Wait()
		require.NoError(t, m.Hold(t.Context(), held, "stop"))
		sleep(time.Minute)
		require.Len(t, g.all(), 1)
		assert.Equal(t, 2, s.get(held).Pending)
		assert.Equal(t, "stop", s.get(held).Hold)
		require.NoError(t, m.Release(t.Context(), held))
		sleep(500 * time.Millisecond)
		require.NoError(t, m.Remove(t.Context(), held))
		sleep(time.Minute)
		assert.Len(t, g.all(), 2)
		assert.Zero(t, s.len())
	})
}

func TestEntriesShowTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gauge{takes: second}
		m := manager(newSpool(), g)
		serve(t, m)
		send(t, m, "a@example.org", "b@example.net")
		synctest.Wait()
		var queues []string
		for e, err := range m.Entries(t.Context()) {
			require.NoError(t, err)
			queues = append(queues, e.Queue)
		}
		assert.Equal(t, []string{"active"}, queues)
	})
}

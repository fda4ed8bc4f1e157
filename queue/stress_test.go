package queue_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// chaos is an agent of which everything can be expected, and that keeps the
// invariants: nobody gets a message twice, and nothing comes back too early.
type chaos struct {
	gauge
	min time.Duration // between two attempts

	book    sync.Mutex
	reached map[string]int       // by message and recipient
	tried   map[string]time.Time // by message and recipient
	early   []string
}

func (c *chaos) Deliver(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	c.add(d.NextHop, 1)
	defer c.add(d.NextHop, -1)
	time.Sleep(time.Duration(rand.N(2000)) * time.Millisecond)
	results := make([]mtakit.Result, len(d.Recipients))
	down := rand.N(4) == 0
	forgets := rand.N(20) == 0
	for i := range d.Recipients {
		results[i] = c.one(d, i, down)
		if results[i].Outcome != mtakit.Deferred && (forgets || rand.N(2) == 0) {
			d.Report(i, results[i])
		}
	}
	if forgets {
		return nil
	}
	return results
}

func (c *chaos) one(d *mtakit.Delivery, i int, siteDown bool) mtakit.Result {
	c.book.Lock()
	defer c.book.Unlock()
	key := d.ID + " " + d.Recipients[i].Address
	if last, ok := c.tried[key]; ok && time.Since(last) < c.min {
		c.early = append(c.early, fmt.Sprint(key, " after ", time.Since(last)))
	}
	c.tried[key] = time.Now()
	switch n := rand.N(10); {
	case siteDown:
		return down()
	case n < 3:
		return deferred("not now")
	case n < 4:
		return bounced("never")
	}
	c.reached[key]++
	return mtakit.Result{Outcome: mtakit.Relayed}
}

// TestChaos has many messages, sites that come and go, and a disk that fails now
// and then. Agents here report what they have reached before they forget it.
func TestChaos(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		s.latency = 3 * time.Millisecond
		var mu sync.Mutex
		s.fail = func(_ int, accept []queue.Accept, changes []queue.Change) error {
			mu.Lock()
			defer mu.Unlock()
			if len(changes) > 0 && rand.N(20) == 0 {
				return errDisk
			}
			return nil
		}
		c := &chaos{min: 5 * time.Minute, reached: make(map[string]int), tried: make(map[string]time.Time)}
		m := manager(s, c)
		m.Concurrency, m.ActiveLimit = 30, 100
		serve(t, m)
		var senders sync.WaitGroup
		for n := range 10 {
			senders.Go(func() {
				for i := range 60 {
					var to []string
					for r := range 1 + rand.N(8) {
						to = append(to, fmt.Sprintf("u%d@example%d.net", r, rand.N(20)))
					}
					send(t, m, fmt.Sprintf("s%d.%d@example.org", n, i), to...)
					time.Sleep(time.Duration(rand.N(60)) * time.Second)
				}
			})
		}
		senders.Wait()
		sleep(8 * 24 * time.Hour)
		assert.Zero(t, s.len(), "everything has come to an end")
		assert.Empty(t, s.races)
		assert.Empty(t, c.early)
		for key, n := range c.reached {
			assert.LessOrEqual(t, n, 1, key)
		}
		assert.LessOrEqual(t, c.most("all"), 30)
		st := m.Status()
		assert.Equal(t, queue.Status{}, queue.Status{Active: st.Active, Waiting: st.Waiting, Deliveries: st.Deliveries})
	})
}

// TestManyAtOnce is for the race detector: real time, many goroutines, and
// operators who cannot keep their hands off.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	s := newSpool()
	var delivered sync.WaitGroup
	m := manager(s, queue.DeliveryAgentFunc(func(_ context.Context, d *mtakit.Delivery) []mtakit.Result {
		results := make([]mtakit.Result, len(d.Recipients))
		for i := range results {
			results[i].Outcome = mtakit.Delivered
			d.Report(i, results[i])
		}
		return results
	}))
	m.ActiveLimit = 20
	m.Observer = mtakit.ObserverFunc(func(_ context.Context, e mtakit.Event) {
		if e.Kind == mtakit.EventRemoved {
			delivered.Done()
		}
	})
	serve(t, m)
	const senders, each = 8, 100
	delivered.Add(senders * each)
	var work sync.WaitGroup
	for n := range senders {
		work.Go(func() {
			for i := range each {
				id := send(t, m, "a@example.org", fmt.Sprintf("u%d@example%d.net", i, n), fmt.Sprintf("v@example%d.net", i%3))
				if i%10 == 0 && m.Hold(t.Context(), id, "look") == nil {
					for m.Release(t.Context(), id) != nil && s.get(id) != nil {
						_ = m.Flush(t.Context())
					}
				}
				_ = m.Status()
			}
		})
	}
	work.Wait()
	// What was put on hold in the moment in which its run ended.
	for e, err := range m.Entries(t.Context()) {
		require.NoError(t, err)
		_ = m.Release(t.Context(), e.ID)
	}
	delivered.Wait()
	assert.Zero(t, s.len())
	assert.Empty(t, s.races)
}

package queue_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// list is a list of recipients, spread over domains.
func list(recipients, domains int) []string {
	to := make([]string, recipients)
	for i := range to {
		to[i] = fmt.Sprintf("u%d@list%d.example", i, i%domains)
	}
	return to
}

// TestSmallOvertakesList has a list of 50,000 recipients take every place, and
// after it, mail for one recipient: that gets one of the next places, at a new
// destination as at one of the list's, and whatever the limits are.
func TestSmallOvertakesList(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		size int
		set  func(m *queue.Manager)
	}{
		{"defaults", listSize, func(*queue.Manager) {}},
		{"few places", listSize, func(m *queue.Manager) { m.Concurrency = 3 }},
		{"small portions", 5000, func(m *queue.Manager) { m.RecipientLimit = 100 }},
		{"places of the transport", listSize, func(m *queue.Manager) { m.Limits.Concurrency = 20 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := 0
				g := &gauge{}
				g.takes = func(*mtakit.Delivery) time.Duration {
					g.count.Lock()
					defer g.count.Unlock()
					n++
					return time.Second + time.Duration(n%97)*10*time.Millisecond
				}
				m := manager(newSpool(), g)
				tt.set(m)
				serve(t, m)
				send(t, m, "list@example.org", list(tt.size, tt.size/100)...)
				for _, to := range []string{"one@new.example", "two@list7.example", "three@list40.example"} {
					sleep(5 * time.Second)
					before := len(g.since(0))
					send(t, m, "a@example.org", to)
					sleep(2 * time.Second)
					at := slices.Index(g.since(before), to)
					assert.True(t, 0 <= at && at < 3, "%s had place %d", to, at)
				}
				sleep(10 * time.Hour)
				assert.Zero(t, m.Status().Active)
				assert.Zero(t, m.Status().Recipients)
				assert.Equal(t, tt.size+3, delivered(g))
			})
		})
	}
}

// TestListGoesOn has small mail without end, more than there are places for.
func TestListGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gauge{takes: second}
		m := manager(newSpool(), g)
		m.Limits.Concurrency = 10
		serve(t, m)
		send(t, m, "list@example.org", list(1000, 1000)...)
		for i := range 2000 {
			send(t, m, "a@example.org", fmt.Sprintf("u@small%d.example", i%300))
			time.Sleep(90 * time.Millisecond)
		}
		of := 0
		for _, c := range g.all() {
			if strings.HasPrefix(c.nexthop, "list") {
				of++
			}
		}
		assert.Greater(t, of, len(g.all())/6)
		sleep(time.Hour)
		assert.Len(t, g.all(), 3000)
	})
}

// TestPortions has lists that are far bigger than what may be in work.
func TestPortions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, g := newSpool(), &gauge{takes: second}
		g.answer = func(d *mtakit.Delivery, i int) mtakit.Result {
			switch {
			case strings.HasSuffix(d.Recipients[i].Address, "9@list9.example"):
				return bounced("no such user")
			case strings.HasSuffix(d.Recipients[i].Address, "8@list8.example") && d.Attempt == 1:
				return deferred("not now")
			}
			return mtakit.Result{Outcome: mtakit.Delivered}
		}
		m := manager(s, g)
		m.RecipientLimit = 300
		serve(t, m)
		for range 3 {
			send(t, m, "list@example.org", list(3000, 10)...)
		}
		for range 100 {
			assert.LessOrEqual(t, m.Status().Recipients, 300+3*50)
			sleep(time.Second)
		}
		sleep(48 * time.Hour)
		assert.Zero(t, s.len())
		assert.Zero(t, m.Status().Recipients)
		times := make(map[string]int)
		for _, c := range g.all() {
			for _, to := range c.to {
				times[to]++
			}
		}
		for i, to := range list(3000, 10) {
			want := 3
			if i%10 == 8 {
				want = 6
			}
			assert.Equal(t, want, times[to], to)
		}
	})
}

// TestSlowSiteOfList has a site that is slow leave the rest of a list alone, as
// long as what waits for it is not all that may be in work, and get its mail in
// few deliveries.
func TestSlowSiteOfList(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gauge{takes: func(d *mtakit.Delivery) time.Duration {
			if d.NextHop == "list3.example" {
				return 10 * time.Minute
			}
			return time.Second
		}}
		m := manager(newSpool(), g)
		m.RecipientLimit = 1000
		m.Limits.Initial = 1
		serve(t, m)
		send(t, m, "list@example.org", list(3000, 10)...)
		sleep(9 * time.Minute)
		assert.Equal(t, 2700, delivered(g))
		sleep(10 * time.Hour)
		assert.Equal(t, 3000, delivered(g))
		slow := 0
		for _, c := range g.all() {
			if c.nexthop == "list3.example" {
				slow++
			}
		}
		assert.LessOrEqual(t, slow, 7, "what comes later joins what is in line")
	})
}

// TestOrdersToPortions has a list ordered away of which most is not in work.
func TestOrdersToPortions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, g := newSpool(), &gauge{takes: second}
		m := manager(s, g)
		m.RecipientLimit = 60
		serve(t, m)
		id := send(t, m, "list@example.org", list(3000, 3)...)
		sleep(1500 * time.Millisecond)
		require.NoError(t, m.Hold(t.Context(), id, "stop"))
		sleep(time.Minute)
		assert.Equal(t, "stop", s.get(id).Hold)
		assert.Equal(t, 3000, s.get(id).Pending+delivered(g))
		assert.Zero(t, m.Status().Recipients)
		require.NoError(t, m.Release(t.Context(), id))
		sleep(1500 * time.Millisecond)
		require.NoError(t, m.Remove(t.Context(), id))
		sleep(time.Minute)
		assert.Zero(t, s.len())
		assert.Less(t, delivered(g), 500)
		assert.Zero(t, m.Status().Recipients)

		// And one in whose middle the manager is shut down.
		id = send(t, m, "list@example.org", list(3000, 3)...)
		sleep(1500 * time.Millisecond)
		require.NoError(t, m.Shutdown(t.Context()))
		n := 0
		for _, c := range g.all() {
			if c.id == id {
				n += len(c.to)
			}
		}
		assert.Equal(t, 3000-n, s.get(id).Pending, "what was under way is recorded")
	})
}

func delivered(g *gauge) int {
	n := 0
	for _, c := range g.all() {
		n += len(c.to)
	}
	return n
}

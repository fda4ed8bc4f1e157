package queue_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// TestRateDelay has a second pass between the end of a delivery and the start
// of the next to the same destination; a delivery takes a second too.
func TestRateDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gauge{takes: second}
		m := manager(newSpool(), g)
		m.Limits = queue.Limits{RateDelay: time.Second}
		serve(t, m)
		start := time.Now()
		for i := range 20 {
			send(t, m, "a@example.org", fmt.Sprintf("u%d@example%d.net", i, i%2))
		}
		sleep(10 * time.Second)
		require.NoError(t, m.Flush(t.Context()), "which does not end a pause")
		sleep(time.Minute)
		require.Len(t, g.all(), 20)
		assert.Equal(t, 1, g.most("example0.net"))
		assert.Equal(t, 2, g.most("all"), "two destinations")
		assert.Equal(t, 19*time.Second, g.all()[19].at.Sub(start))
		assert.Empty(t, m.Status().Destinations, "nothing is remembered of idle sites")

		// What comes in the pause waits for its end.
		start = time.Now()
		send(t, m, "a@example.org", "u@example.net")
		sleep(1500 * time.Millisecond)
		send(t, m, "a@example.org", "v@example.net")
		sleep(time.Minute)
		assert.Equal(t, 3*time.Second, g.to("v@example.net")[0].at.Sub(start))
	})
}

func TestTransportDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gauge{takes: func(*mtakit.Delivery) time.Duration { return 9 * time.Second }}
		m := manager(newSpool(), g)
		m.Limits = queue.Limits{TransportDelay: time.Hour, RateDelay: time.Hour}
		m.Transports = map[string]queue.Limits{"smtp": {TransportDelay: 2 * time.Second, RateDelay: -1}}
		serve(t, m)
		start := time.Now()
		for i := range 20 {
			send(t, m, "a@example.org", fmt.Sprintf("u@example%d.net", i))
		}
		sleep(time.Minute)
		require.Len(t, g.all(), 20)
		for i, c := range g.all() {
			assert.Equal(t, 9*time.Second+time.Duration(i)*2*time.Second, c.at.Sub(start))
		}
		assert.Equal(t, 5, g.most("all"))
	})
}

// TestOneRecipient has Postfix's rule for destination_recipient_limit 1: the
// limits of a destination are those of a recipient.
func TestOneRecipient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gauge{takes: second}
		g.answer = func(d *mtakit.Delivery, i int) mtakit.Result {
			if strings.HasPrefix(d.Recipients[i].Address, "broken") {
				return down()
			}
			return mtakit.Result{Outcome: mtakit.Delivered}
		}
		m := manager(newSpool(), g)
		m.Transports = map[string]queue.Limits{"smtp": {Recipients: 1, Destination: 2}}
		serve(t, m)
		start := time.Now()
		for range 10 {
			send(t, m, "a@example.org", "a@example.net", "A@Example.NET", "b@example.net", "c@example.net")
		}
		sleep(time.Hour)
		assert.Equal(t, 6, g.most("all"), "a, b and c at a time, two of each")
		calls := g.all()
		require.Len(t, calls, 40)
		assert.Equal(t, 10*time.Second, calls[39].at.Sub(start), "twenty for a, two at a time")

		for range 10 {
			send(t, m, "a@example.org", "broken@example.net")
		}
		sleep(10 * time.Second)
		require.Len(t, m.Status().Destinations, 1)
		assert.Equal(t, "broken@example.net example.net", m.Status().Destinations[0].Key)
		assert.Positive(t, m.Status().Destinations[0].Dead)
		send(t, m, "a@example.org", "b@example.net")
		sleep(2 * time.Second)
		assert.Len(t, g.all(), 40+2+1, "one that is dead does not stop the others")
		require.NoError(t, m.FlushSite(t.Context(), "example.net"))
		sleep(2 * time.Second)
		assert.Greater(t, len(g.all()), 43, "and its site's flush revives it")
	})
}

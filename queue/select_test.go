package queue_test

import (
	"context"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/memspool"
)

// waitingRoom is a manager with one place, in which six messages wait for
// their second attempt.
func waitingRoom(t *testing.T) (*queue.Manager, *agent) {
	t.Helper()
	a := &agent{answer: func(*mtakit.Delivery, int) mtakit.Result { return deferred("later") }}
	m := manager(new(memspool.Spool), a)
	m.ActiveLimit, m.MinBackoff, m.MaxBackoff = 1, 10*time.Hour, 10*time.Hour
	serve(t, m)
	for _, e := range []mtakit.Envelope{
		{Sender: "z@example.org", Recipients: []mtakit.Recipient{{Address: "0@c.example"}}},
		{Sender: "y@example.org", Recipients: []mtakit.Recipient{{Address: "1@a.example"}, {Address: "1b@b.example"}}},
		{Sender: "x@example.org", Recipients: []mtakit.Recipient{{Address: "2@b.example"}}, Priority: 9},
		{Sender: "", Recipients: []mtakit.Recipient{{Address: "3@b.example"}}},
		{Sender: "y@example.org", Recipients: []mtakit.Recipient{{Address: "4@c.example"}}, Priority: -3},
		{Sender: "x@example.org", Recipients: []mtakit.Recipient{{Address: "5@d.example"}}, Hold: "look"},
	} {
		sendEnvelope(t, m, &e)
		sleep(time.Second)
	}
	require.Len(t, a.all(), 6, "two destinations for one of five")
	return m, a
}

// came returns the numbers of the messages that were tried from the n-th
// delivery on, in the order of their attempts.
func came(a *agent, n int) string {
	var b strings.Builder
	for _, c := range a.all()[n:] {
		if c.to[0] != "1b@b.example" {
			b.WriteByte(c.to[0][0])
		}
	}
	return b.String()
}

func TestQueueRun(t *testing.T) {
	t.Parallel()
	inB := func(e *queue.Entry) bool { return slices.Contains(e.Domains, "b.example") }
	tests := []struct {
		name string
		run  queue.QueueRun
		want string
	}{
		{"by time", queue.QueueRun{Sort: queue.SortTime}, "01234"},
		{"by ID", queue.QueueRun{Sort: queue.SortFilename}, "01234"},
		{"by priority", queue.QueueRun{Sort: queue.SortPriority}, "20341"},
		{"by host", queue.QueueRun{Sort: queue.SortHost}, "12304"},
		{"a site", queue.QueueRun{Match: inB, Sort: queue.SortTime}, "123"},
		{"a sender", queue.QueueRun{Match: func(e *queue.Entry) bool { return e.Sender == "y@example.org" }, Sort: queue.SortTime}, "14"},
		{"a recipient", queue.QueueRun{Sort: queue.SortTime, MatchStored: func(s *queue.Stored) bool {
			return strings.Contains(s.Envelope.Recipients[0].Address, "3@")
		}}, "3"},
		{"nothing", queue.QueueRun{Match: func(*queue.Entry) bool { return false }}, ""},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			m, a := waitingRoom(t)
			n, err := m.QueueRun(t.Context(), tt.run)
			require.NoError(t, err)
			assert.Equal(t, len(tt.want), n, tt.name)
			sleep(time.Hour)
			assert.Equal(t, tt.want, came(a, 6), tt.name)
		})
	}
	for _, sort := range []queue.SortOrder{"", queue.SortRandom} {
		synctest.Test(t, func(t *testing.T) {
			m, a := waitingRoom(t)
			n, err := m.QueueRun(t.Context(), queue.QueueRun{Sort: sort})
			require.NoError(t, err)
			assert.Equal(t, 5, n)
			sleep(time.Hour)
			assert.ElementsMatch(t, []byte("01234"), []byte(came(a, 6)))
		})
	}
	synctest.Test(t, func(t *testing.T) {
		m, a := waitingRoom(t)
		_, err := m.QueueRun(t.Context(), queue.QueueRun{Sort: "size"})
		require.Error(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = m.QueueRun(ctx, queue.QueueRun{})
		require.ErrorIs(t, err, context.Canceled)
		sleep(time.Hour)
		assert.Empty(t, came(a, 6))
	})
}

// TestQueueRunRevives has a dead site tried for the message that is selected,
// and no other.
func TestQueueRunRevives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &agent{answer: func(*mtakit.Delivery, int) mtakit.Result { return down() }}
		m := manager(new(memspool.Spool), a)
		m.Limits.Initial = 1
		serve(t, m)
		for _, site := range []string{"one.example", "two.example"} {
			for range 5 {
				send(t, m, "a@example.org", "u@"+site)
			}
		}
		sleep(time.Second)
		require.Len(t, a.all(), 4)
		n, err := m.QueueRun(t.Context(), queue.QueueRun{Match: func(e *queue.Entry) bool { return slices.Contains(e.Domains, "two.example") }})
		require.NoError(t, err)
		require.Equal(t, 5, n)
		sleep(time.Second)
		require.Len(t, a.all(), 6)
		assert.Equal(t, "two.example", a.all()[4].nexthop)
		assert.Equal(t, "two.example", a.all()[5].nexthop)
	})
}

// slowly lists a spool so slowly that a queue run overtakes the start.
type slowly struct{ *memspool.Spool }

func (s slowly) Entries(ctx context.Context) iter.Seq2[queue.Entry, error] {
	return func(yield func(queue.Entry, error) bool) {
		for e, err := range s.Spool.Entries(ctx) {
			if ctx.Value(slowly{}) == nil {
				time.Sleep(time.Hour)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// TestQueueRunAtStart selects messages before the manager has found them.
func TestQueueRunAtStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := slowly{new(memspool.Spool)}
		m, a := manager(s, &agent{}), &agent{}
		for range 10 {
			send(t, m, "a@example.org", "u@example.net")
		}
		require.NoError(t, m.Close())
		m = manager(s, a)
		serve(t, m)
		sleep(time.Minute)
		require.Empty(t, a.all())
		n, err := m.QueueRun(context.WithValue(t.Context(), slowly{}, true), queue.QueueRun{Sort: queue.SortTime})
		require.NoError(t, err)
		assert.Equal(t, 10, n)
		sleep(time.Second)
		assert.Len(t, a.all(), 10)
		sleep(24 * time.Hour)
		assert.Len(t, a.all(), 10, "and each once")
	})
}

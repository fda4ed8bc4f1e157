package queue_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// rotten finds every message damaged that it is asked for, and moves it away.
type rotten struct{ *spool }

func (s rotten) Open(_ context.Context, id string) (*queue.Stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stored[id] == nil {
		return nil, queue.ErrNotFound
	}
	delete(s.stored, id)
	return nil, &queue.CorruptError{ID: id, Reason: "rotten"}
}

// TestDamageIsReported: whoever comes upon a damaged message, it is told of, since
// nobody finds it afterwards.
func TestDamageIsReported(t *testing.T) {
	t.Parallel()
	for name, find := range map[string]func(m *queue.Manager, id string) error{
		"open":   func(m *queue.Manager, id string) error { _, err := m.Open(context.Background(), id); return err },
		"result": func(m *queue.Manager, id string) error { _, err := m.Result(context.Background(), id); return err },
		"cancel": func(m *queue.Manager, id string) error { _, err := m.Cancel(context.Background(), id); return err },
		"run":    func(m *queue.Manager, id string) error { sleep(2 * time.Hour); return &queue.CorruptError{} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := manager(rotten{newSpool()}, &agent{})
				var told atomic.Int32
				m.Observer = mtakit.ObserverFunc(func(_ context.Context, e mtakit.Event) {
					if e.Kind == mtakit.EventCorrupt {
						told.Add(1)
					}
				})
				serve(t, m)
				env := &mtakit.Envelope{Sender: "a@example.org", NotBefore: time.Now().Add(time.Hour), Recipients: []mtakit.Recipient{{Address: "u@example.net"}}}
				id := sendEnvelope(t, m, env)
				var corrupt *queue.CorruptError
				require.ErrorAs(t, find(m, id), &corrupt)
				assert.Equal(t, int32(1), told.Load())
				sleep(2 * time.Hour)
				assert.Equal(t, int32(1), told.Load())
				assert.Zero(t, m.Status().Active+m.Status().Waiting)
			})
		})
	}
}

// TestReceiptStays is Remove of a receipt on a disk that fails.
func TestReceiptStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		m := manager(s, &agent{})
		serve(t, m)
		id := submit(t, m, queue.Submission{Key: "k"}, "u@example.net")
		sleep(time.Second)
		s.mu.Lock()
		s.fail = func(int, []queue.Accept, []queue.Change) error { return errDisk }
		s.mu.Unlock()
		require.ErrorIs(t, m.Remove(t.Context(), id), errDisk)
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		found, err := m.Find(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, id, found)
		require.NoError(t, m.Remove(t.Context(), id))
		require.ErrorIs(t, m.Remove(t.Context(), id), queue.ErrNotFound)
	})
}

// TestBeforeServeHasRead flushes a site, and removes a message with a key, before
// Serve has found either in the spool.
func TestBeforeServeHasRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := newSpool(), &agent{answer: func(*mtakit.Delivery, int) mtakit.Result { return deferred("not now") }}
		first := manager(s, a)
		stop := serve(t, first)
		keyed := submit(t, first, queue.Submission{Key: "k"}, "u@example.net")
		send(t, first, "a@example.org", "u@a.example")
		sleep(time.Second)
		stop()
		require.Len(t, a.all(), 2)

		m := manager(s, a)
		require.NoError(t, m.FlushSite(t.Context(), "a.example"))
		require.NoError(t, m.Remove(t.Context(), keyed))
		serve(t, m)
		sleep(time.Second)
		assert.Len(t, a.to("u@a.example"), 2)
		assert.Len(t, a.to("u@example.net"), 1)
		again := submit(t, m, queue.Submission{Key: "k"}, "u@example.net")
		assert.Equal(t, keyed, again, "its receipt is there")
	})
}

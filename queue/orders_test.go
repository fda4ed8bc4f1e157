package queue_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// TestOrdersOutliveShutdown gives orders to messages whose deliveries are cut off
// by Close: they were promised.
func TestOrdersOutliveShutdown(t *testing.T) {
	t.Parallel()
	for name, order := range map[string]func(m *queue.Manager, id string) error{
		"remove": func(m *queue.Manager, id string) error { return m.Remove(context.Background(), id) },
		"hold":   func(m *queue.Manager, id string) error { return m.Hold(context.Background(), id, "look") },
		"expire": func(m *queue.Manager, id string) error { return m.Expire(context.Background(), id) },
		"requeue": func(m *queue.Manager, id string) error {
			return m.Requeue(context.Background(), id)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSpool()
				m := manager(s, queue.DeliveryAgentFunc(func(ctx context.Context, _ *mtakit.Delivery) []mtakit.Result {
					<-ctx.Done()
					return nil
				}))
				stop := serve(t, m)
				id := send(t, m, "a@example.org", "u@example.net")
				sleep(time.Second)
				require.NoError(t, order(m, id))
				require.NoError(t, m.Close())
				stop()
				switch got := s.get(id); name {
				case "hold":
					assert.Equal(t, "look", got.Hold)
				default:
					assert.Nil(t, got)
				}
				want := map[string]int{"remove": 0, "hold": 1, "expire": 1, "requeue": 1}
				assert.Equal(t, want[name], s.len())
				assert.Zero(t, m.Status().Active)
			})
		})
	}
}

// TestShutdownRecordsResults cuts a message off of which a result could not be
// recorded when it was reached.
func TestShutdownRecordsResults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		broken := true
		s.fail = func(_ int, accept []queue.Accept, _ []queue.Change) error {
			if broken && len(accept) == 0 {
				return errDisk
			}
			return nil
		}
		m := manager(s, queue.DeliveryAgentFunc(func(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
			if d.Recipients[0].Address == "u@slow.example" {
				<-ctx.Done()
				return nil
			}
			return []mtakit.Result{{Outcome: mtakit.Relayed}}
		}))
		stop := serve(t, m)
		sleep(time.Second)
		id := send(t, m, "a@example.org", "u@example.net", "u@slow.example")
		sleep(time.Second)
		require.Equal(t, queue.Pending, s.get(id).Marks[0].State)
		s.mu.Lock()
		broken = false
		s.mu.Unlock()
		require.NoError(t, m.Close())
		stop()
		assert.Equal(t, queue.Done, s.get(id).Marks[0].State)
		assert.Equal(t, queue.Pending, s.get(id).Marks[1].State)
	})
}

// TestOrdersMeet gives a second order to a message that is active.
func TestOrdersMeet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		m := manager(s, queue.DeliveryAgentFunc(func(context.Context, *mtakit.Delivery) []mtakit.Result {
			time.Sleep(time.Minute)
			return []mtakit.Result{deferred("not now")}
		}))
		serve(t, m)
		ctx := t.Context()
		removed, expired, held := send(t, m, "a@example.org", "u@a.example"), send(t, m, "", "u@b.example"), send(t, m, "a@example.org", "u@c.example")
		sleep(time.Second)
		require.NoError(t, m.Remove(ctx, removed))
		require.ErrorIs(t, m.Hold(ctx, removed, "look"), queue.ErrNotFound)
		require.ErrorIs(t, m.Release(ctx, removed), queue.ErrNotFound)
		require.NoError(t, m.Expire(ctx, expired))
		require.NoError(t, m.Release(ctx, expired))
		require.NoError(t, m.Hold(ctx, held, "look"))
		require.NoError(t, m.Release(ctx, held))
		sleep(2 * time.Minute)
		assert.Nil(t, s.get(removed))
		assert.Nil(t, s.get(expired))
		require.NotNil(t, s.get(held))
		assert.Empty(t, s.get(held).Hold)
	})
}

// TestListenersPanic has those panic who only listen.
func TestListenersPanic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := newSpool(), &agent{}
		m := manager(s, a)
		m.Observer = mtakit.ObserverFunc(func(context.Context, mtakit.Event) { panic("observer") })
		serve(t, m)
		sub := queue.Submission{Results: queue.ResultsFunc(func(context.Context, queue.RecipientStatus) { panic("results") })}
		env := &mtakit.Envelope{Sender: "a@example.org", Recipients: []mtakit.Recipient{{Address: "u@example.net"}}}
		_, err := m.Submit(t.Context(), env, strings.NewReader("hello\r\n"), sub)
		require.NoError(t, err)
		sleep(time.Second)
		assert.Len(t, a.all(), 1)
		assert.Zero(t, s.len())
	})
}

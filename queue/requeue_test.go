package queue_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/memspool"
)

// only returns the one message in s.
func only(t *testing.T, s queue.Spool) *queue.Stored {
	t.Helper()
	all := entries(t, s)
	require.Len(t, all, 1)
	m, err := s.Open(t.Context(), all[0].ID)
	require.NoError(t, err)
	return m
}

// fickle delivers to "done...", and whatever goes to senders, bounces "failed..."
// and defers the others.
func fickle() *agent {
	return &agent{answer: func(d *mtakit.Delivery, i int) mtakit.Result {
		address := d.Recipients[i].Address
		switch {
		case strings.HasPrefix(address, "done"), strings.HasSuffix(address, "@sender.example"):
			return mtakit.Result{Outcome: mtakit.Delivered}
		case strings.HasPrefix(address, "failed"):
			return bounced("no such user")
		}
		return deferred("mailbox full")
	}}
}

func TestExpire(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		order func(t *testing.T, m *queue.Manager, id string)
	}{
		{"waiting", func(*testing.T, *queue.Manager, string) {}},
		{"on hold", func(t *testing.T, m *queue.Manager, id string) { require.NoError(t, m.Hold(t.Context(), id, "look")) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &memspool.Spool{}
				a := fickle()
				m := manager(s, a)
				serve(t, m)
				id := send(t, m, "a@sender.example", "done@example.net", "later@example.net", "later2@example.org")
				sleep(time.Second)
				tt.order(t, m, id)
				before := len(a.all())
				require.NoError(t, m.Expire(t.Context(), id))
				sleep(time.Second)
				_, err := s.Open(t.Context(), id)
				require.ErrorIs(t, err, queue.ErrNotFound)
				require.Len(t, a.all(), before+1, "it was tried again")
				told := a.to("a@sender.example")
				require.Len(t, told, 1)
				assert.Contains(t, told[0].text, "message is administratively expired: mailbox full")
				assert.Contains(t, told[0].text, "later2@example.org")
				assert.NotContains(t, told[0].text, "<done@example.net>")
				require.ErrorIs(t, m.Expire(t.Context(), id), queue.ErrNotFound)
			})
		})
	}
}

// TestExpireActive expires a message while one of its recipients is delivered:
// that one counts, and those in line are not tried.
func TestExpireActive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &memspool.Spool{}
		g := &gauge{takes: second}
		m := manager(s, g)
		m.Concurrency, m.Limits = 1, queue.Limits{Recipients: 1}
		serve(t, m)
		id := send(t, m, "a@sender.example", "1@example.net", "2@example.net", "3@example.net")
		synctest.Wait()
		require.NoError(t, m.Expire(t.Context(), id))
		sleep(time.Minute)
		assert.Len(t, g.all(), 2, "the one under way, and the notification")
		assert.Empty(t, entries(t, s))
	})
}

// TestExpireBeforeItsTime expires mail that is to be sent later.
func TestExpireBeforeItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &memspool.Spool{}
		a := &agent{}
		m := manager(s, a)
		serve(t, m)
		id := sendEnvelope(t, m, &mtakit.Envelope{Sender: "a@sender.example", NotBefore: time.Now().Add(time.Hour),
			Recipients: []mtakit.Recipient{{Address: "b@example.net"}}})
		require.NoError(t, m.Expire(t.Context(), id))
		sleep(time.Second)
		assert.Empty(t, a.to("b@example.net"))
		require.Len(t, a.to("a@sender.example"), 1)
		assert.Contains(t, a.to("a@sender.example")[0].text, "message is administratively expired")
	})
}

// TestOrdersAtRest has what a tool wrote down while no manager ran heeded at the
// next start.
func TestOrdersAtRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &memspool.Spool{}
		a := fickle()
		m := manager(s, a)
		stop := serve(t, m)
		expired := send(t, m, "a@sender.example", "later@example.net")
		requeued := send(t, m, "b@sender.example", "later@example.org")
		sleep(time.Second)
		stop()
		_, err := s.Commit(t.Context(), nil, []queue.Change{{ID: expired, Expire: true}, {ID: requeued, Requeue: true}})
		require.NoError(t, err)
		m = manager(s, a)
		serve(t, m)
		sleep(time.Second)
		require.Len(t, a.to("a@sender.example"), 1)
		assert.NotEqual(t, requeued, only(t, s).ID)
		assert.Len(t, a.to("later@example.org"), 2)
	})
}

func TestRequeue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &memspool.Spool{}
		a := fickle()
		m := manager(s, a)
		m.Filter = queue.FilterFunc(func(_ context.Context, env *mtakit.Envelope, msg *mtakit.Message) (mtakit.Verdict, error) {
			require.Len(t, env.Recipients, 1)
			env.Recipients[0].Address = "new@example.com"
			return mtakit.Verdict{Prepend: []string{"X-Again: yes"}}, nil
		})
		var mu sync.Mutex
		var removed []string
		m.Observer = mtakit.ObserverFunc(func(_ context.Context, e mtakit.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == mtakit.EventRemoved {
				removed = append(removed, e.ID+" "+e.Reason)
			}
		})
		serve(t, m)
		id := send(t, m, "a@sender.example", "done@example.net", "later@example.net")
		born := only(t, s).Arrival
		sleep(time.Minute)
		require.NoError(t, m.Hold(t.Context(), id, "look"))
		require.NoError(t, m.Requeue(t.Context(), id))
		sleep(time.Second)
		got := only(t, s)
		assert.NotEqual(t, id, got.ID)
		assert.Equal(t, born, got.Arrival)
		assert.Equal(t, 1, got.Attempts)
		assert.Empty(t, got.Hold)
		assert.Equal(t, "deferred", got.Queue)
		require.Len(t, got.Envelope.Recipients, 1)
		calls := a.to("new@example.com")
		require.Len(t, calls, 1)
		assert.Equal(t, "X-Again: yes\r\nSubject: hello\r\n\r\nHi\r\n", calls[0].text)
		assert.Len(t, a.to("done@example.net"), 1, "delivered again")
		mu.Lock()
		defer mu.Unlock()
		assert.Equal(t, []string{id + " requeued as " + got.ID}, removed)
	})
}

// TestRequeueFilters has every answer of a filter.
func TestRequeueFilters(t *testing.T) {
	t.Parallel()
	reject := func(code int) mtakit.Verdict {
		return mtakit.Verdict{Action: mtakit.Reject, Reply: &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 7, 1}, Message: "not this"}}
	}
	for _, tt := range []struct {
		name    string
		verdict mtakit.Verdict
		err     error
		panics  bool
		check   func(t *testing.T, m *queue.Manager, s queue.Spool, a *agent, id string)
	}{
		{"refused", reject(550), nil, false, func(t *testing.T, _ *queue.Manager, s queue.Spool, a *agent, _ string) {
			assert.Empty(t, entries(t, s))
			require.Len(t, a.to("a@sender.example"), 1)
			assert.Contains(t, a.to("a@sender.example")[0].text, "not this")
		}},
		{"thrown away", mtakit.Verdict{Action: mtakit.Discard}, nil, false, func(t *testing.T, _ *queue.Manager, s queue.Spool, a *agent, _ string) {
			assert.Empty(t, entries(t, s))
			assert.Empty(t, a.to("a@sender.example"))
		}},
		{"held", mtakit.Verdict{Hold: "suspicious"}, nil, false, func(t *testing.T, _ *queue.Manager, s queue.Spool, a *agent, id string) {
			assert.Equal(t, "suspicious", only(t, s).Hold)
			assert.NotEqual(t, id, only(t, s).ID)
		}},
		{"refused for now", reject(450), nil, false, stays("not this")},
		{"failed", mtakit.Verdict{}, errors.New("secret path"), false, stays("the message cannot be accepted anew for now")},
		{"panicked", mtakit.Verdict{}, nil, true, stays("the message cannot be accepted anew for now")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &memspool.Spool{}
				a := fickle()
				m := manager(s, a)
				var well atomic.Bool
				m.Filter = queue.FilterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Message) (mtakit.Verdict, error) {
					if well.Load() {
						return mtakit.Verdict{}, nil
					}
					if tt.panics {
						panic("filter")
					}
					return tt.verdict, tt.err
				})
				serve(t, m)
				id := send(t, m, "a@sender.example", "later@example.net")
				sleep(time.Second)
				require.NoError(t, m.Requeue(t.Context(), id))
				sleep(time.Second)
				tt.check(t, m, s, a, id)
				well.Store(true)
				sleep(time.Hour)
				for _, e := range entries(t, s) {
					assert.NotEqual(t, id, e.ID, "the order was forgotten")
				}
			})
		})
	}
}

func stays(reason string) func(t *testing.T, m *queue.Manager, s queue.Spool, a *agent, id string) {
	return func(t *testing.T, m *queue.Manager, s queue.Spool, a *agent, id string) {
		got := only(t, s)
		assert.Equal(t, id, got.ID)
		assert.True(t, got.Requeue)
		assert.Equal(t, "deferred", got.Queue)
		assert.Equal(t, reason, got.Marks[0].Result.Diagnostic)
		assert.Empty(t, a.to("a@sender.example"))
		assert.Len(t, a.to("later@example.net"), 1)
	}
}

// TestRequeueThatNeverWorks ends as every mail does.
func TestRequeueThatNeverWorks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &memspool.Spool{}
		a := fickle()
		m := manager(s, a)
		m.Filter = queue.FilterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Message) (mtakit.Verdict, error) {
			return mtakit.Verdict{}, errors.New("down")
		})
		serve(t, m)
		id := send(t, m, "a@sender.example", "later@example.net")
		sleep(time.Second)
		require.NoError(t, m.Requeue(t.Context(), id))
		sleep(6 * 24 * time.Hour)
		assert.Empty(t, entries(t, s))
		require.Len(t, a.to("a@sender.example"), 1)
		assert.Contains(t, a.to("a@sender.example")[0].text, "delivery time expired: the message cannot be accepted")
	})
}

// TestRequeueWithoutRoom has the step fail at every commit: there is always one
// of the two messages, and never both.
func TestRequeueWithoutRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		s.fail = func(_ int, accept []queue.Accept, changes []queue.Change) error {
			if len(accept) > 0 && len(changes) > 0 {
				return errDisk
			}
			return nil
		}
		a := fickle()
		m := manager(s, a)
		serve(t, m)
		id := send(t, m, "a@sender.example", "later@example.net", "failed@example.net")
		sleep(time.Second)
		require.NoError(t, m.Requeue(t.Context(), id))
		sleep(time.Second)
		require.Equal(t, 1, s.len())
		require.NotNil(t, s.get(id))
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		sleep(3 * time.Hour)
		assert.Nil(t, s.get(id))
		assert.Equal(t, 1, s.len())
		assert.Len(t, a.to("a@sender.example"), 1, "who failed was told of once")
		assert.Zero(t, m.Status().Active)
	})
}

// TestRequeueActive requeues a message with deliveries under way.
func TestRequeueActive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &memspool.Spool{}
		g := &gauge{takes: second}
		m := manager(s, g)
		m.Concurrency, m.Limits = 1, queue.Limits{Recipients: 1}
		serve(t, m)
		id := send(t, m, "a@sender.example", "1@example.net", "2@example.net", "3@example.net")
		synctest.Wait()
		require.NoError(t, m.Requeue(t.Context(), id))
		sleep(1500 * time.Millisecond)
		got := only(t, s)
		assert.NotEqual(t, id, got.ID)
		assert.Len(t, got.Envelope.Recipients, 2)
		sleep(time.Minute)
		assert.Len(t, g.all(), 3)
		assert.Empty(t, entries(t, s))
	})
}

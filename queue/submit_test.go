package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/filespool"
	"github.com/mtakit/mtakit/queue/memspool"
)

func letter(to ...string) *mtakit.Envelope {
	e := &mtakit.Envelope{Sender: "app@example.org"}
	for _, address := range to {
		e.Recipients = append(e.Recipients, mtakit.Recipient{Address: address})
	}
	return e
}

const hello = "Subject: hello\n\nHi\n"

func submit(t *testing.T, m *queue.Manager, s queue.Submission, to ...string) string {
	t.Helper()
	id, err := m.Submit(t.Context(), letter(to...), strings.NewReader(hello), s)
	require.NoError(t, err)
	require.NotEmpty(t, id)
	return id
}

// kinds are the fates of a receipt's recipients, in their order.
func kinds(r *queue.Receipt) (all []string) {
	for _, s := range r.Recipients {
		all = append(all, string(s.Kind))
	}
	return all
}

// listener remembers what it is told, and fails when it hears twice of somebody.
type listener struct {
	mu  sync.Mutex
	all map[string]string
}

func (w *listener) Result(_ context.Context, s queue.RecipientStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = make(map[string]string)
	}
	if w.all[s.Recipient.Address] != "" {
		panic("told twice of " + s.Recipient.Address)
	}
	w.all[s.Recipient.Address] = fmt.Sprint(s.Kind, " ", s.Result.Outcome)
}

// byName answers as the recipient's name says.
func byName(d *mtakit.Delivery, i int) mtakit.Result {
	switch name, _, _ := strings.Cut(d.Recipients[i].Address, "@"); name {
	case "relayed":
		return mtakit.Result{Outcome: mtakit.Relayed}
	case "bounced":
		return bounced("no such user")
	case "deferred":
		return deferred("later")
	}
	return mtakit.Result{Outcome: mtakit.Delivered}
}

// TestSubmit has every fate told, and the attributes seen by all.
func TestSubmit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, w := &agent{answer: byName}, &listener{}
		var mu sync.Mutex
		var seen []string
		see := func(what string, attrs map[string]string) {
			mu.Lock()
			defer mu.Unlock()
			if attrs["order"] == "17" && !slices.Contains(seen, what) {
				seen = append(seen, what)
			}
		}
		m := manager(&memspool.Spool{}, queue.DeliveryAgentFunc(func(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
			see("agent", d.Envelope.Attrs)
			return a.Deliver(ctx, d)
		}))
		m.Router = queue.RouterFunc(func(_ context.Context, e *mtakit.Envelope, _ *mtakit.Recipient) (mtakit.Route, error) {
			see("router", e.Attrs)
			return mtakit.Route{Transport: "smtp"}, nil
		})
		m.Observer = mtakit.ObserverFunc(func(_ context.Context, e mtakit.Event) { see(string(e.Kind), e.Attrs) })
		serve(t, m)
		env := letter("delivered@example.net", "relayed@example.net", "bounced@example.net", "deferred@example.net")
		env.Attrs = map[string]string{"order": "17"}
		id, err := m.Submit(t.Context(), env, strings.NewReader("Subject: hello\n\none\r\ntwo"), queue.Submission{Results: w})
		require.NoError(t, err)
		env.Attrs["order"], env.Recipients[0].Address = "changed", "changed" // it is the caller's again
		synctest.Wait()
		assert.Equal(t, map[string]string{"delivered@example.net": "delivered delivered",
			"relayed@example.net": "delivered relayed", "bounced@example.net": "bounced bounced"}, w.all)
		r, err := m.Result(t.Context(), id)
		require.NoError(t, err)
		assert.Equal(t, []string{"delivered", "delivered", "bounced", "deferred"}, kinds(r))
		assert.False(t, r.Over())
		sleep(6 * 24 * time.Hour)
		assert.Equal(t, "expired bounced", w.all["deferred@example.net"])
		assert.Equal(t, "Subject: hello\r\n\r\none\r\ntwo\r\n", a.to("delivered@example.net")[0].text)
		_, err = m.Result(t.Context(), id)
		require.ErrorIs(t, err, queue.ErrNotFound)
		for _, what := range []string{"router", "agent", "queued", "active", "attempt", "delivered", "deferred", "bounced", "expired", "removed"} {
			assert.Contains(t, seen, what)
		}
	})
}

func TestSubmitRefused(t *testing.T) {
	t.Parallel()
	many := make(map[string]string)
	for i := range queue.MaxAttrs + 1 {
		many[fmt.Sprint(i)] = ""
	}
	filter := func(v mtakit.Verdict, err error) queue.Filter {
		return queue.FilterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Message) (mtakit.Verdict, error) { return v, err })
	}
	reject := func(code int) queue.Filter {
		return filter(mtakit.Verdict{Action: mtakit.Reject, Reply: &smtp.SMTPError{Code: code, Message: "no"}}, nil)
	}
	for _, c := range []struct {
		name string
		env  *mtakit.Envelope
		s    queue.Submission
		text io.Reader
		bad  bool
		want string
	}{
		{name: "no envelope", bad: true, want: "no envelope"},
		{name: "nobody", env: letter(), bad: true, want: "no recipient"},
		{name: "empty", env: letter("a@b", ""), bad: true, want: "an empty recipient"},
		{name: "injection", env: letter("a@b>\r\nDATA"), bad: true, want: "bad recipient"},
		{name: "sender", env: &mtakit.Envelope{Sender: "a b", Recipients: letter("a@b").Recipients}, bad: true, want: "bad sender"},
		{name: "key with a space", env: letter("a@b"), s: queue.Submission{Key: "a b"}, bad: true, want: "a key has"},
		{name: "key that is long", env: letter("a@b"), s: queue.Submission{Key: strings.Repeat("k", 256)}, bad: true, want: "a key has"},
		{name: "attributes", env: &mtakit.Envelope{Recipients: letter("a@b").Recipients, Attrs: many}, bad: true, want: "65 attributes"},
		{name: "long attribute", env: &mtakit.Envelope{Recipients: letter("a@b").Recipients,
			Attrs: map[string]string{"a": strings.Repeat("x", queue.MaxAttrBytes)}}, bad: true, want: "1 attributes of 4097 bytes"},
		{name: "for good", env: letter("a@b"), s: queue.Submission{Filter: reject(550)}, bad: true, want: "refused"},
		{name: "for now", env: letter("a@b"), s: queue.Submission{Filter: reject(450)}, want: "refused for now"},
		{name: "filter failed", env: letter("a@b"), s: queue.Submission{Filter: filter(mtakit.Verdict{}, errDisk)}, want: "disk on fire"},
		{name: "filter panics", env: letter("a@b"), want: "panic", s: queue.Submission{Filter: queue.FilterFunc(
			func(context.Context, *mtakit.Envelope, *mtakit.Message) (mtakit.Verdict, error) { panic("oh") })}},
		{name: "filter tags", env: letter("a@b"), bad: true, want: "65 attributes", s: queue.Submission{Filter: queue.FilterFunc(
			func(_ context.Context, e *mtakit.Envelope, _ *mtakit.Message) (mtakit.Verdict, error) {
				e.Attrs = many
				return mtakit.Verdict{}, nil
			})}},
		{name: "reader", env: letter("a@b"), text: iotest.ErrReader(errDisk), want: "disk on fire"},
	} {
		for _, key := range []string{"", "k1"} {
			s := &memspool.Spool{}
			m := manager(s, &agent{})
			serve(t, m)
			sub := c.s
			if sub.Key == "" {
				sub.Key = key
			}
			text := c.text
			if text == nil {
				text = strings.NewReader(hello)
			}
			id, err := m.Submit(t.Context(), c.env, text, sub)
			require.ErrorContains(t, err, c.want, c.name)
			assert.Empty(t, id, c.name)
			assert.Equal(t, c.bad, errors.Is(err, queue.ErrSubmission), c.name)
			assert.Empty(t, entries(t, s), c.name)
			sub = queue.Submission{Key: key} // what failed may be tried again
			submit(t, m, sub, "a@b")
		}
	}
}

// TestSubmitObserved: what is submitted was received, once, and not what was not.
func TestSubmitObserved(t *testing.T) {
	t.Parallel()
	m := manager(&memspool.Spool{}, &agent{})
	var mu sync.Mutex
	var seen []mtakit.Event
	m.Observer = mtakit.ObserverFunc(func(_ context.Context, e mtakit.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.Kind == mtakit.EventReceived {
			seen = append(seen, e)
		}
	})
	serve(t, m)
	id := submit(t, m, queue.Submission{Key: "k"}, "a@b")
	assert.Equal(t, id, submit(t, m, queue.Submission{Key: "k"}, "a@b"), "that is the first one again")
	_, err := m.Submit(t.Context(), letter(), strings.NewReader(hello), queue.Submission{})
	require.ErrorIs(t, err, queue.ErrSubmission)
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, seen, 1)
	assert.False(t, seen[0].Time.IsZero())
	assert.Equal(t, mtakit.Event{Time: seen[0].Time, Kind: mtakit.EventReceived, ID: id, Sender: "app@example.org",
		Size: int64(len(hello) + strings.Count(hello, "\n"))}, seen[0])
}

func TestSubmitDiscarded(t *testing.T) {
	t.Parallel()
	s := &memspool.Spool{}
	m := manager(s, &agent{})
	serve(t, m)
	id, err := m.Submit(t.Context(), letter("a@b"), strings.NewReader(hello), queue.Submission{Key: "k", Filter: queue.FilterFunc(
		func(context.Context, *mtakit.Envelope, *mtakit.Message) (mtakit.Verdict, error) {
			return mtakit.Verdict{Action: mtakit.Discard}, nil
		})})
	require.NoError(t, err)
	assert.Empty(t, id)
	assert.Empty(t, entries(t, s))
}

// TestKey has one message for one key: at once, after the delivery, after a
// restart, and until Retention is over.
func TestKey(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"memspool", "filespool"} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			s := queue.Spool(&memspool.Spool{})
			reopen := func() {
				if name == "filespool" {
					var err error
					s, err = filespool.Open(filepath.Join(dir, "queue"), filespool.Options{})
					require.NoError(t, err)
				}
			}
			a := &agent{answer: byName}
			key := queue.Submission{Key: "invoice-17"}
			to := []string{"delivered@example.net", "bounced@example.net"}
			first := ""
			for round := range 3 { // the last two begin with a receipt
				reopen()
				m := manager(s, a)
				stop := serve(t, m)
				var ids sync.Map
				var wg sync.WaitGroup
				for range 20 {
					wg.Go(func() { ids.Store(submit(t, m, key, to...), true) })
				}
				wg.Wait()
				synctest.Wait()
				ids.Range(func(id, _ any) bool {
					if first == "" {
						first = id.(string)
					}
					assert.Equal(t, first, id, name)
					return true
				})
				assert.Len(t, a.to("delivered@example.net"), 1, name)
				assert.Len(t, a.to("app@example.org"), 1, "one notification")
				found, err := m.Find(t.Context(), key.Key)
				require.NoError(t, err)
				assert.Equal(t, first, found)
				r, err := m.Result(t.Context(), first)
				require.NoError(t, err)
				assert.Equal(t, []string{"delivered", "bounced"}, kinds(r))
				assert.True(t, r.Over())
				assert.Equal(t, "invoice-17", r.Key)
				other, err := m.Submit(t.Context(), letter(to...), strings.NewReader("Subject: other\n\n"), key)
				require.ErrorIs(t, err, queue.ErrKeyReused)
				assert.Equal(t, first, other)
				_, err = m.Submit(t.Context(), letter(to[:1]...), strings.NewReader(hello), key)
				require.ErrorIs(t, err, queue.ErrKeyReused)
				all := entries(t, s)
				require.Len(t, all, 1)
				assert.Zero(t, all[0].Pending)
				assert.Zero(t, m.Status().Waiting, "a receipt is not a message that waits")
				require.NoError(t, m.Flush(t.Context()))
				require.ErrorIs(t, m.Retry(t.Context(), first), queue.ErrNotFound)
				require.ErrorIs(t, m.Hold(t.Context(), first, "x"), queue.ErrNotFound)
				require.ErrorIs(t, m.Release(t.Context(), first), queue.ErrNotFound)
				if round < 2 {
					sleep(10 * time.Hour)
				} else {
					sleep(5 * time.Hour) // 25 h after the end
					assert.Empty(t, entries(t, s), name)
					_, err = m.Find(t.Context(), key.Key)
					require.ErrorIs(t, err, queue.ErrNotFound)
					assert.NotEqual(t, first, submit(t, m, key, to...))
					synctest.Wait()
					assert.Len(t, a.to("delivered@example.net"), 2, name)
				}
				stop()
				if name == "filespool" {
					require.NoError(t, s.Close())
				}
			}
		})
	}
}

// TestKeyOfEarlyResults: when the last results are recorded before the run ends,
// a crash in between leaves a receipt with its full life.
func TestKeyOfEarlyResults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &memspool.Spool{}
		try := 0
		reported := make(chan struct{})
		m := manager(s, queue.DeliveryAgentFunc(func(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
			if try++; try == 1 {
				return []mtakit.Result{deferred("later"), deferred("later")}
			}
			ok := mtakit.Result{Outcome: mtakit.Delivered}
			d.Report(0, ok)
			close(reported)
			<-ctx.Done()
			return []mtakit.Result{ok, ok}
		}))
		stop := serve(t, m)
		id := submit(t, m, queue.Submission{Key: "k"}, "a@example.net", "b@example.net")
		sleep(10 * time.Minute)
		<-reported
		require.NoError(t, m.Close())
		stop()
		e := entries(t, s)[0]
		assert.Zero(t, e.Pending)
		assert.Greater(t, time.Until(e.Next), 23*time.Hour)
		m = manager(s, &agent{})
		serve(t, m)
		sleep(20 * time.Hour)
		assert.Equal(t, id, submit(t, m, queue.Submission{Key: "k"}, "a@example.net", "b@example.net"))
	})
}

// TestKeyAfterCommitFailed: what was not accepted may be submitted again.
func TestKeyAfterCommitFailed(t *testing.T) {
	t.Parallel()
	s := newSpool()
	m := manager(s, &agent{})
	serve(t, m)
	s.mu.Lock()
	s.fail = func(_ int, accept []queue.Accept, _ []queue.Change) error {
		if len(accept) > 0 {
			return errDisk
		}
		return nil
	}
	s.mu.Unlock()
	_, err := m.Submit(t.Context(), letter("a@b"), strings.NewReader(hello), queue.Submission{Key: "k"})
	require.ErrorIs(t, err, errDisk)
	s.mu.Lock()
	s.fail = nil
	s.mu.Unlock()
	submit(t, m, queue.Submission{Key: "k"}, "a@b")
}

// slowEntries is a spool that takes long to be read.
type slowEntries struct {
	queue.Spool
	go_ chan struct{}
}

func (s *slowEntries) Entries(ctx context.Context) iter.Seq2[queue.Entry, error] {
	return func(yield func(queue.Entry, error) bool) {
		<-s.go_
		s.Spool.Entries(ctx)(yield)
	}
}

// TestKeyWhileReading: until the spool has been read nobody knows which keys
// there are.
func TestKeyWhileReading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slowEntries{Spool: &memspool.Spool{}, go_: make(chan struct{})}
		m := manager(s.Spool, &agent{})
		stop := serve(t, m)
		env := letter("a@b")
		env.NotBefore = time.Now().Add(time.Hour)
		first, err := m.Submit(t.Context(), env, strings.NewReader(hello), queue.Submission{Key: "k"})
		require.NoError(t, err)
		stop()

		m = manager(s, &agent{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = m.Submit(ctx, letter("a@b"), strings.NewReader(hello), queue.Submission{Key: "k"})
		require.ErrorIs(t, err, context.DeadlineExceeded, "before Serve")
		stop = serve(t, m)
		submit(t, m, queue.Submission{}, "without@key")
		ids := make(chan string, 1)
		go func() {
			id, _ := m.Submit(context.Background(), letter("a@b"), strings.NewReader(hello), queue.Submission{Key: "k"})
			ids <- id
		}()
		sleep(time.Minute)
		assert.Empty(t, ids)
		close(s.go_)
		assert.Equal(t, first, <-ids)
		stop()
		assert.Equal(t, first, submit(t, m, queue.Submission{Key: "k"}, "a@b"), "after Shutdown")

		m = manager(s, &agent{})
		require.NoError(t, m.Shutdown(t.Context()))
		_, err = m.Submit(t.Context(), letter("a@b"), strings.NewReader(hello), queue.Submission{Key: "k"})
		require.ErrorIs(t, err, queue.ErrClosed)
	})
}

// TestCancel: all or nothing.
func TestCancel(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "k"} {
		synctest.Test(t, func(t *testing.T) {
			s, a, w := &memspool.Spool{}, &agent{answer: byName}, &listener{}
			m := manager(s, a)
			m.BounceLifetime = -1
			serve(t, m)
			over := func(r *queue.Receipt, err error) {
				t.Helper()
				require.NoError(t, err)
				assert.True(t, r.Over())
			}
			// To be sent later.
			env := letter("b@example.net")
			env.NotBefore = time.Now().Add(time.Hour)
			id, err := m.Submit(t.Context(), env, strings.NewReader(hello), queue.Submission{Key: key, Results: w})
			require.NoError(t, err)
			r, err := m.Cancel(t.Context(), id)
			over(r, err)
			assert.Equal(t, []string{"removed"}, kinds(r))
			assert.Equal(t, "removed deferred", w.all["b@example.net"])
			if key != "" {
				env := letter("b@example.net")
				again, err := m.Submit(t.Context(), env, strings.NewReader(hello), queue.Submission{Key: key})
				require.NoError(t, err)
				assert.Equal(t, id, again, "what was cancelled is not sent after all")
				r, err := m.Cancel(t.Context(), id)
				over(r, err)
				require.NoError(t, m.Remove(t.Context(), id), "the receipt")
			}
			_, err = m.Cancel(t.Context(), id)
			require.ErrorIs(t, err, queue.ErrNotFound)
			// Held.
			env = letter("c@example.net")
			env.Hold = "look"
			id, err = m.Submit(t.Context(), env, strings.NewReader(hello), queue.Submission{Key: key})
			require.NoError(t, err)
			synctest.Wait()
			r, err = m.Cancel(t.Context(), id)
			over(r, err)
			for _, e := range entries(t, s) {
				assert.Empty(t, e.Hold)
				require.NoError(t, m.Remove(t.Context(), id))
			}
			// Deferred for one, delivered to the other.
			id = submit(t, m, queue.Submission{Key: key}, "deferred@example.net", "d@example.net")
			synctest.Wait()
			r, err = m.Cancel(t.Context(), id)
			require.ErrorIs(t, err, queue.ErrTooLate)
			assert.Equal(t, []string{"deferred", "delivered"}, kinds(r))
			require.NoError(t, m.Remove(t.Context(), id))
			if key != "" {
				r, err = m.Cancel(t.Context(), id)
				require.ErrorIs(t, err, queue.ErrTooLate)
				assert.Equal(t, []string{"removed", "delivered"}, kinds(r))
				require.NoError(t, m.Remove(t.Context(), id))
			}
			assert.Empty(t, entries(t, s))
			for _, c := range a.all() {
				assert.NotContains(t, c.to, "b@example.net")
				assert.NotContains(t, c.to, "c@example.net")
			}
		})
	}
}

// TestCancelActive waits for the deliveries under way, and starts no others.
func TestCancelActive(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"", "k"} {
		for _, answer := range []mtakit.Result{{Outcome: mtakit.Delivered}, deferred("later"), bounced("never")} {
			synctest.Test(t, func(t *testing.T) {
				s, w := &memspool.Spool{}, &listener{}
				var calls atomic.Int32
				m := manager(s, queue.DeliveryAgentFunc(func(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
					n := calls.Add(1)
					time.Sleep(time.Minute)
					if n == 1 {
						return []mtakit.Result{answer}
					}
					return []mtakit.Result{{Outcome: mtakit.Delivered}}
				}))
				m.Limits = queue.Limits{Recipients: 1, Concurrency: 1}
				serve(t, m)
				id := submit(t, m, queue.Submission{Key: key, Results: w}, "a@example.net", "b@example.net")
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := m.Cancel(ctx, id)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				r, err := m.Cancel(t.Context(), id)
				if answer.Outcome == mtakit.Delivered {
					require.ErrorIs(t, err, queue.ErrTooLate)
					assert.Equal(t, []string{"delivered", "queued"}, kinds(r))
					sleep(2 * time.Minute)
					assert.Equal(t, int32(2), calls.Load(), "the rest goes on at once")
					assert.Len(t, w.all, 2)
					return
				}
				require.NoError(t, err)
				assert.True(t, r.Over())
				assert.Equal(t, int32(1), calls.Load())
				assert.Equal(t, "removed deferred", w.all["b@example.net"])
				assert.Len(t, w.all, 2)
				if key == "" {
					assert.Empty(t, entries(t, s))
				}
				sleep(time.Hour)
				assert.Equal(t, int32(1), calls.Load(), "nobody is told either")
			})
		}
	}
}

// TestCancelAtShutdown is done by the shutdown, or does not wait for what will not
// come.
func TestCancelAtShutdown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, fails := range []bool{false, true} {
			s := newSpool()
			m := manager(s, queue.DeliveryAgentFunc(func(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
				<-ctx.Done()
				return nil
			}))
			serve(t, m)
			id := submit(t, m, queue.Submission{}, "a@example.net")
			synctest.Wait()
			result := make(chan error)
			go func() {
				_, err := m.Cancel(context.Background(), id)
				result <- err
			}()
			synctest.Wait()
			if fails {
				s.fail = func(int, []queue.Accept, []queue.Change) error { return errDisk }
			}
			require.NoError(t, m.Close())
			if err := <-result; fails {
				require.ErrorIs(t, err, queue.ErrClosed)
				assert.NotNil(t, s.get(id))
			} else {
				require.NoError(t, err)
				assert.Nil(t, s.get(id))
			}
		}
	})
}

// TestRequeuedKey: the key goes with the message.
func TestRequeuedKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, w := &memspool.Spool{}, &listener{}
		m := manager(s, &agent{answer: byName})
		discard := false
		m.Filter = queue.FilterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Message) (mtakit.Verdict, error) {
			if discard {
				return mtakit.Verdict{Action: mtakit.Discard}, nil
			}
			return mtakit.Verdict{}, nil
		})
		serve(t, m)
		sub := queue.Submission{Key: "k", Results: w}
		first := submit(t, m, sub, "deferred@example.net", "delivered@example.net")
		synctest.Wait()
		require.NoError(t, m.Requeue(t.Context(), first))
		synctest.Wait()
		second := submit(t, m, sub, "deferred@example.net", "delivered@example.net")
		assert.NotEqual(t, first, second)
		require.Len(t, entries(t, s), 1)
		assert.Equal(t, second, entries(t, s)[0].ID)
		discard = true
		require.NoError(t, m.Requeue(t.Context(), second))
		synctest.Wait()
		assert.Equal(t, map[string]string{"deferred@example.net": "removed deferred", "delivered@example.net": "delivered delivered"}, w.all)
		r, err := m.Result(t.Context(), second)
		require.NoError(t, err)
		assert.Equal(t, []string{"removed"}, kinds(r))
		assert.Equal(t, second, submit(t, m, sub, "deferred@example.net", "delivered@example.net"))
		sleep(25 * time.Hour)
		assert.Empty(t, entries(t, s))
	})
}

// TestSubmitStress has many do everything at once; the spool watches that no two
// change the same message.
func TestSubmitStress(t *testing.T) {
	t.Parallel()
	s := newSpool()
	a := &agent{answer: byName}
	m := manager(s, a)
	m.Retention = 50 * time.Millisecond
	m.MinBackoff, m.MaxBackoff = time.Millisecond, 2*time.Millisecond
	stop := serve(t, m)
	var wg sync.WaitGroup
	w := make([]listener, 400)
	for n := range 400 {
		wg.Go(func() {
			key := fmt.Sprint("k", n%100)
			who := []string{"delivered", "bounced", "deferred"}[n%3]
			id, err := m.Submit(t.Context(), letter(who+"@example.net", "x@example.com"), strings.NewReader(hello),
				queue.Submission{Key: key, Results: &w[n]})
			if !errors.Is(err, queue.ErrKeyReused) && !assert.NoError(t, err) {
				return
			}
			switch n % 5 {
			case 4:
				_ = m.Requeue(t.Context(), id)
			case 0:
				_, _ = m.Cancel(t.Context(), id)
			case 1:
				_ = m.Remove(t.Context(), id)
			case 2:
				_ = m.Hold(t.Context(), id, "x")
				_ = m.Release(t.Context(), id)
			}
			_, _ = m.Result(t.Context(), id)
		})
	}
	wg.Wait()
	stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	assert.Empty(t, s.races)
}

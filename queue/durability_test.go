package queue_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// world is a mail world with one recipient of each fate, and counts what
// reaches whom.
type world struct {
	mu      sync.Mutex
	reached map[string]int             // deliveries by address
	told    map[string]map[string]bool // queue IDs of the notifications that name the address
}

func newWorld() *world {
	return &world{reached: make(map[string]int), told: make(map[string]map[string]bool)}
}

var fates = []string{"ok1@example.net", "ok2@example.com", "bad1@example.net", "bad2@example.org", "second@example.com", "never@example.org"}

func (w *world) Deliver(_ context.Context, d *mtakit.Delivery) []mtakit.Result {
	var b strings.Builder
	_, _ = d.Message.WriteTo(&b)
	w.mu.Lock()
	defer w.mu.Unlock()
	results := make([]mtakit.Result, len(d.Recipients))
	for i := range d.Recipients {
		results[i] = w.deliver(d, i, b.String())
		d.Report(i, results[i])
	}
	return results
}

func (w *world) deliver(d *mtakit.Delivery, i int, text string) mtakit.Result {
	to := d.Recipients[i].Address
	if d.Envelope.Sender == "" {
		for _, address := range fates {
			if strings.Contains(text, "Final-Recipient: rfc822; "+address) {
				if w.told[address] == nil {
					w.told[address] = make(map[string]bool)
				}
				w.told[address][d.ID] = true
			}
		}
		return mtakit.Result{Outcome: mtakit.Delivered}
	}
	switch {
	case strings.HasPrefix(to, "bad"):
		return bounced("no such user")
	case strings.HasPrefix(to, "never"), strings.HasPrefix(to, "second") && d.Attempt == 1:
		return deferred("not now")
	}
	w.reached[to]++
	return mtakit.Result{Outcome: mtakit.Relayed}
}

// check wants every recipient reached or its sender told, and nobody told twice.
func (w *world) check(t *testing.T, s *spool, exactly bool, name string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, address := range fates {
		bad := strings.HasPrefix(address, "bad") || strings.HasPrefix(address, "never")
		switch {
		case bad:
			assert.Len(t, w.told[address], 1, "%s: notifications for %s", name, address)
			assert.Zero(t, w.reached[address], name)
		case exactly:
			assert.Equal(t, 1, w.reached[address], "%s: %s", name, address)
		default:
			assert.Positive(t, w.reached[address], "%s: %s", name, address)
		}
		if !bad {
			assert.Empty(t, w.told[address], name)
		}
	}
	assert.Zero(t, s.len(), name)
	assert.Empty(t, s.races, "%s: commits that change the same message at the same time", name)
}

func run(t *testing.T, s *spool, w *world, while func(m *queue.Manager)) {
	t.Helper()
	m := manager(s, w)
	m.Lifetime = time.Hour
	done := make(chan error, 1)
	go func() { done <- m.Serve(context.Background()) }()
	synctest.Wait()
	while(m)
	require.NoError(t, m.Shutdown(context.Background()))
	require.NoError(t, <-done)
}

// TestCrashAtEachCommit stops the world at each step of the spool: from then on
// nothing can be recorded. Then a new manager takes the spool over.
func TestCrashAtEachCommit(t *testing.T) {
	t.Parallel()
	for _, half := range []bool{false, true} { // half: the change is made and the error comes all the same
		finished := false
		for n := 2; !finished; n++ {
			name := fmt.Sprintf("commit %d, half %t", n, half)
			synctest.Test(t, func(t *testing.T) {
				s, w := newSpool(), newWorld()
				s.latency = time.Millisecond
				finished = true
				s.fail = func(i int, accept []queue.Accept, changes []queue.Change) error {
					if i < n {
						return nil
					}
					finished = false
					if half && i == n && len(accept) == 0 {
						for _, c := range changes {
							s.change(c)
						}
					}
					return errDisk
				}
				run(t, s, w, func(m *queue.Manager) {
					send(t, m, "a@example.org", fates...)
					sleep(2 * time.Hour)
				})
				s.fail = nil
				run(t, s, w, func(*queue.Manager) { sleep(2 * time.Hour) })
				w.check(t, s, false, name)
			})
		}
	}
}

// TestDiskComesBack has some steps fail and the rest go well: nothing is
// delivered twice, since nothing was forgotten.
func TestDiskComesBack(t *testing.T) {
	t.Parallel()
	for n := 2; n < 14; n++ {
		for _, count := range []int{1, 3} {
			synctest.Test(t, func(t *testing.T) {
				s, w := newSpool(), newWorld()
				s.fail = func(i int, _ []queue.Accept, _ []queue.Change) error {
					if i >= n && i < n+count {
						return errDisk
					}
					return nil
				}
				run(t, s, w, func(m *queue.Manager) {
					send(t, m, "a@example.org", fates...)
					sleep(2 * time.Hour)
				})
				w.check(t, s, true, fmt.Sprintf("%d from %d on", count, n))
			})
		}
	}
}

// TestNoRoomForNotifications lets only messages in that are small enough: the
// results are recorded, and the sender is told when there is room again.
func TestNoRoomForNotifications(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, w := newSpool(), newWorld()
		var mu sync.Mutex
		full := true
		s.fail = func(_ int, accept []queue.Accept, changes []queue.Change) error {
			mu.Lock()
			defer mu.Unlock()
			if full && len(accept) > 0 && len(changes) > 0 {
				return errors.New("no space")
			}
			return nil
		}
		run(t, s, w, func(m *queue.Manager) {
			id := send(t, m, "a@example.org", fates...)
			sleep(time.Second)
			assert.Equal(t, queue.Failed, s.get(id).Marks[2].State)
			assert.Equal(t, queue.Done, s.get(id).Marks[0].State)
			assert.Empty(t, w.told["bad1@example.net"])
			mu.Lock()
			full = false
			mu.Unlock()
			sleep(2 * time.Hour)
		})
		w.check(t, s, true, "no room")
	})
}

func TestRefusedAcceptanceLeavesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		s.fail = func(int, []queue.Accept, []queue.Change) error { return errDisk }
		m := manager(s, &agent{})
		m.ActiveLimit = 1
		serve(t, m)
		synctest.Wait()
		for range 3 {
			d, err := m.Begin(t.Context(), 0)
			require.NoError(t, err)
			_, err = d.Commit(t.Context(), &mtakit.Envelope{Recipients: []mtakit.Recipient{{Address: "b"}}}, nil)
			require.ErrorIs(t, err, errDisk)
		}
		assert.Zero(t, m.Status().Active, "no place in the active queue is lost")
	})
}

// TestRestartInTheMiddle shuts down at each second of a long delivery.
func TestRestartInTheMiddle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		g := &gauge{takes: func(*mtakit.Delivery) time.Duration { return 10 * time.Second }}
		for range 3 {
			m := manager(s, g)
			done := make(chan error, 1)
			go func() { done <- m.Serve(context.Background()) }()
			if s.next == 0 {
				send(t, m, "a@example.org", "b@example.net")
			}
			sleep(time.Second)
			assert.Equal(t, 1, m.Status().Deliveries, "an attempt that was cut off is made again at once")
			require.NoError(t, m.Close())
			require.NoError(t, <-done)
			assert.Equal(t, queue.Pending, s.get("M1").Marks[0].State)
			// As after a crash: what counts is that only one attempt was recorded.
			s.stored["M1"].Attempts = 1
		}
		m := manager(s, g)
		serve(t, m)
		sleep(time.Minute)
		assert.Len(t, g.all(), 1)
		assert.Zero(t, s.len())
	})
}

func TestShutdownLetsDeliveriesFinish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		g := &gauge{takes: func(*mtakit.Delivery) time.Duration { return 10 * time.Second }}
		m := manager(s, g)
		done := make(chan error, 1)
		go func() { done <- m.Serve(context.Background()) }()
		for i := range 10 {
			send(t, m, "a@example.org", fmt.Sprintf("u%d@example.net", i))
		}
		sleep(time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		start := time.Now()
		require.NoError(t, m.Shutdown(ctx))
		require.NoError(t, <-done)
		assert.Equal(t, 9*time.Second, time.Since(start))
		assert.Len(t, g.all(), 5, "those under way, and no other")
		assert.Equal(t, 5, s.len())
		require.ErrorIs(t, m.Serve(context.Background()), queue.ErrClosed)
		require.NoError(t, m.Shutdown(context.Background()), "twice does no harm")
		send(t, m, "a@example.org", "late@example.net")
		assert.Equal(t, 6, s.len(), "mail that comes late waits for the next start")
	})
}

func TestShutdownBeforeServe(t *testing.T) {
	t.Parallel()
	m := manager(newSpool(), &agent{})
	require.NoError(t, m.Shutdown(t.Context()))
	require.NoError(t, m.Close())
	require.ErrorIs(t, m.Serve(t.Context()), queue.ErrClosed)
}

func TestRecordedTimeHoldsAfterRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		a := &agent{answer: func(*mtakit.Delivery, int) mtakit.Result { return deferred("later") }}
		m := manager(s, a)
		stop := serve(t, m)
		id := send(t, m, "a@example.org", "b@example.net")
		sleep(time.Second)
		stop()
		next := s.get(id).Next
		m = manager(s, a)
		serve(t, m)
		sleep(time.Hour)
		require.Greater(t, len(a.all()), 1)
		assert.WithinDuration(t, next, a.all()[1].at, 0)
	})
}

func TestAgentThatNeverEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		m := manager(newSpool(), queue.DeliveryAgentFunc(func(context.Context, *mtakit.Delivery) []mtakit.Result {
			<-release
			return nil
		}))
		done := make(chan error, 1)
		go func() { done <- m.Serve(context.Background()) }()
		send(t, m, "a@example.org", "b@example.net")
		sleep(time.Second)
		start := time.Now()
		require.Error(t, m.Close())
		assert.Equal(t, 10*time.Second, time.Since(start))
		close(release)
		require.NoError(t, <-done)
	})
}

// TestHoldWhileTheSiteRecovers has a success wake a message that is just being
// put on hold.
func TestHoldWhileTheSiteRecovers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		a := &agent{answer: func(d *mtakit.Delivery, i int) mtakit.Result {
			if d.Recipients[i].Address == "first@example.net" {
				return down()
			}
			return mtakit.Result{Outcome: mtakit.Delivered}
		}}
		m := manager(s, a)
		m.MinBackoff, m.MaxBackoff = time.Second, time.Hour
		serve(t, m)
		synctest.Wait()
		id := send(t, m, "a@example.org", "first@example.net")
		sleep(10 * time.Minute)
		s.mu.Lock()
		s.slow = 10 * time.Second
		s.mu.Unlock()
		held := make(chan error, 1)
		go func() { held <- m.Hold(context.Background(), id, "look") }()
		synctest.Wait()
		tried := len(a.to("first@example.net"))
		for range 3 {
			send(t, m, "a@example.org", "second@example.net")
		}
		sleep(time.Minute)
		require.NoError(t, <-held)
		assert.Len(t, a.to("first@example.net"), tried)
		assert.Len(t, a.to("second@example.net"), 3)
		assert.Empty(t, s.races)
	})
}

// TestEndlessReplies has a server that says too much.
func TestEndlessReplies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		long := strings.Repeat("x", 1<<20)
		a := &agent{answer: func(*mtakit.Delivery, int) mtakit.Result {
			return mtakit.Result{Diagnostic: long, Reply: &smtp.SMTPError{Code: 450, Message: long}}
		}}
		m := manager(s, a)
		serve(t, m)
		id := send(t, m, "a@example.org", "b@example.net")
		synctest.Wait()
		r := s.get(id).Marks[0].Result
		assert.Len(t, r.Diagnostic, 2048)
		assert.Len(t, r.Reply.Message, 2048)
	})
}

// TestSpoolThatCannotBeRead comes up again when its disk does.
func TestSpoolThatCannotBeRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &unreadable{spool: newSpool(), broken: true}
		a := &agent{}
		m := manager(s, a)
		send(t, s, "a@example.org", "b@example.net")
		serve(t, m)
		sleep(time.Hour)
		assert.Empty(t, a.all())
		s.mend()
		sleep(10 * time.Minute)
		assert.Len(t, a.all(), 1)
		assert.Zero(t, s.len())
	})
}

// unreadable cannot list its messages.
type unreadable struct {
	*spool
	mu     sync.Mutex
	broken bool
}

func (u *unreadable) mend() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.broken = false
}

func (u *unreadable) Entries(ctx context.Context) iter.Seq2[queue.Entry, error] {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.broken {
		return u.spool.Entries(ctx)
	}
	return func(yield func(queue.Entry, error) bool) {
		if yield(queue.Entry{}, &queue.CorruptError{ID: "X", Reason: "half of it"}) {
			yield(queue.Entry{}, errDisk)
		}
	}
}

// TestContextEndsServe is Close by other means.
func TestContextEndsServe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		g := &gauge{takes: func(*mtakit.Delivery) time.Duration { return -1 }}
		m := manager(s, g)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- m.Serve(ctx) }()
		synctest.Wait()
		id := send(t, m, "a@example.org", "b@example.net")
		synctest.Wait()
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, m.Shutdown(context.Background()))
		assert.Equal(t, queue.Pending, s.get(id).Marks[0].State)
		assert.Equal(t, 1, s.get(id).Attempts)
		assert.NotEqual(t, "deferred", s.get(id).Queue, "so that it is tried at once after the restart")
	})
}

// TestOrderAtTheEndOfAnAttempt puts a message on hold while the end of its
// attempt goes to disk: the order is refused, or it is heeded.
func TestOrderAtTheEndOfAnAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		s.slow = 10 * time.Second
		a := &agent{answer: func(*mtakit.Delivery, int) mtakit.Result { return deferred("not now") }}
		m := manager(s, a)
		serve(t, m)
		synctest.Wait()
		id := send(t, m, "a@example.org", "b@example.net")
		sleep(5 * time.Second)
		require.Len(t, a.all(), 1)
		require.ErrorIs(t, m.Hold(t.Context(), id, "look"), queue.ErrBusy)
		require.ErrorIs(t, m.Remove(t.Context(), id), queue.ErrBusy)
		sleep(10 * time.Second)
		require.NoError(t, m.Hold(t.Context(), id, "look"))
		sleep(24 * time.Hour)
		assert.Len(t, a.all(), 1)
		assert.Equal(t, "look", s.get(id).Hold)

		fresh := send(t, m, "a@example.org", "b@example.net")
		s.mu.Lock()
		s.fail = func(_ int, accept []queue.Accept, _ []queue.Change) error {
			if len(accept) == 0 {
				return errDisk
			}
			return nil
		}
		s.mu.Unlock()
		sleep(time.Minute) // the end of the attempt cannot be recorded now
		require.NoError(t, m.Remove(t.Context(), fresh), "the next try heeds it")
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		sleep(time.Hour)
		assert.Nil(t, s.get(fresh))
	})
}

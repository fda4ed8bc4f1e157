package verify_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errFault = errors.New("disk on fire")

// world answers probes, after a while.
type world struct {
	mu     sync.Mutex
	takes  time.Duration
	answer mtakit.Result
	err    error
	asked  []string
	busy   int
	most   int
}

func (w *world) Verify(ctx context.Context, address string) (mtakit.Result, error) {
	w.mu.Lock()
	w.asked = append(w.asked, address)
	w.busy++
	w.most = max(w.most, w.busy)
	answer, err, takes := w.answer, w.err, w.takes
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.busy--
		w.mu.Unlock()
	}()
	select {
	case <-time.After(takes):
		return answer, err
	case <-ctx.Done():
		return mtakit.Result{}, ctx.Err()
	}
}

func (w *world) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.asked)
}

func (w *world) set(answer mtakit.Result, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer, w.err = answer, err
}

var (
	good  = mtakit.Result{Outcome: mtakit.Delivered, Status: smtp.EnhancedCode{2, 1, 5}, Diagnostic: "yes"}
	bad   = mtakit.Result{Outcome: mtakit.Bounced, Status: smtp.EnhancedCode{5, 1, 1}, Diagnostic: "no such user"}
	later = mtakit.Result{Status: smtp.EnhancedCode{4, 2, 0}, Diagnostic: "greylisted"}
)

const day = 24 * time.Hour

func TestTimes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name            string
		answer          mtakit.Result
		refresh, expire time.Duration
	}{{"good", good, 7 * day, 31 * day}, {"bad", bad, 3 * time.Hour, 3 * day}, {"later", later, 3 * time.Hour, 3 * day}} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{answer: c.answer, takes: time.Second}
			cache := &verify.Cache{Prober: w}
			defer cache.Close()
			ask := func(address string, probes int) {
				t.Helper()
				start := time.Now()
				r, err := cache.Verify(t.Context(), address)
				require.NoError(t, err)
				assert.Equal(t, c.answer.Outcome, r.Outcome)
				assert.Equal(t, c.answer.Status, r.Status)
				assert.Equal(t, c.answer.Diagnostic, r.Diagnostic)
				if probes > 1 {
					assert.Zero(t, time.Since(start), "an old answer is told at once")
				}
				synctest.Wait()
				assert.Equal(t, probes, w.count(), c.name)
			}
			ask("user@example.org", 1)
			ask("user@EXAMPLE.org", 1)
			time.Sleep(c.refresh - time.Second)
			ask("user@example.org", 1)
			time.Sleep(time.Second)
			ask("user@example.org", 2)
			time.Sleep(2 * time.Second) // it is fresh again
			ask("user@example.org", 2)
			require.NoError(t, cache.Forget(t.Context(), "user@Example.org"))
			w.set(mtakit.Result{Outcome: mtakit.Bounced, Diagnostic: "changed"}, nil)
			r, err := cache.Verify(t.Context(), "user@example.org")
			require.NoError(t, err)
			assert.Equal(t, "changed", r.Diagnostic)
		})
		synctest.Test(t, func(t *testing.T) { // nobody asks until it expires
			w := &world{answer: c.answer}
			cache := &verify.Cache{Prober: w}
			defer cache.Close()
			_, err := cache.Verify(t.Context(), "user@example.org")
			require.NoError(t, err)
			w.set(mtakit.Result{}, errFault)
			time.Sleep(c.expire - time.Second)
			_, err = cache.Verify(t.Context(), "user@example.org")
			require.NoError(t, err)
			synctest.Wait()
			time.Sleep(time.Second)
			_, err = cache.Verify(t.Context(), "user@example.org")
			require.ErrorIs(t, err, errFault, "an error is not remembered")
		})
	}
}

// TestGoodStaysGood: a refresh that fails does not make an address bad before the
// answer expires, and is not repeated for each question.
func TestGoodStaysGood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: good}
		cache := &verify.Cache{Prober: w}
		defer cache.Close()
		outcome := func() mtakit.Outcome {
			r, err := cache.Verify(t.Context(), "a@b")
			require.NoError(t, err)
			synctest.Wait()
			return r.Outcome
		}
		assert.Equal(t, mtakit.Delivered, outcome())
		w.set(bad, nil)
		time.Sleep(8 * day)
		for range 100 {
			assert.Equal(t, mtakit.Delivered, outcome())
			time.Sleep(time.Second)
		}
		assert.Equal(t, 2, w.count())
		time.Sleep(1000 * time.Second)
		assert.Equal(t, mtakit.Delivered, outcome())
		assert.Equal(t, 3, w.count())
		time.Sleep(23 * day)
		assert.Equal(t, mtakit.Bounced, outcome())
	})
}

// TestWait: a client gets an answer within 6 seconds, and one probe does for all.
func TestWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: good, takes: 10 * time.Second}
		cache := &verify.Cache{Prober: w}
		defer cache.Close()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				start := time.Now()
				r, err := cache.Verify(t.Context(), "a@b")
				assert.NoError(t, err)
				assert.Equal(t, "deferred Address verification in progress", r.Outcome.String()+" "+r.Diagnostic)
				assert.Equal(t, 6*time.Second, time.Since(start))
			})
		}
		wg.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := cache.Verify(ctx, "a@b")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(4 * time.Second)
		synctest.Wait()
		r, err := cache.Verify(t.Context(), "a@b")
		require.NoError(t, err)
		assert.Equal(t, mtakit.Delivered, r.Outcome)
		assert.Equal(t, 1, w.count())
	})
}

// TestHostile: thousands of questions make no more probes than Concurrency, and
// what is remembered has its bound.
func TestHostile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: bad, takes: time.Minute}
		store := &verify.Memory{Limit: 10}
		cache := &verify.Cache{Prober: w, Store: store, Concurrency: 5, Wait: -1}
		for n := range 5000 {
			r, err := cache.Verify(t.Context(), fmt.Sprintf("%d@b", n))
			require.NoError(t, err)
			assert.Equal(t, mtakit.Deferred, r.Outcome)
		}
		synctest.Wait()
		assert.Equal(t, 5, w.most)
		for n := range 50 {
			time.Sleep(2 * time.Minute)
			_, _ = cache.Verify(t.Context(), fmt.Sprintf("x%d@b", n))
		}
		time.Sleep(2 * time.Minute)
		n := 0
		for e, err := range cache.Entries(t.Context()) {
			require.NoError(t, err)
			assert.Equal(t, "no such user", e.Result.Diagnostic)
			n++
		}
		assert.Equal(t, 10, n)
		for range cache.Entries(t.Context()) {
			break
		}
		_, _ = cache.Verify(t.Context(), "last@b")
		synctest.Wait()
		start := time.Now()
		require.NoError(t, cache.Close())
		assert.Zero(t, time.Since(start), "probes are given up")
		_, err := cache.Verify(t.Context(), "new@b")
		require.ErrorIs(t, err, verify.ErrClosed)
		r, err := cache.Verify(t.Context(), "x49@b")
		require.NoError(t, err)
		assert.Equal(t, mtakit.Bounced, r.Outcome)
	})
}

// broken is a store that fails.
type broken struct{ verify.Memory }

func (*broken) Get(context.Context, string) (string, bool, error)        { return "", false, errFault }
func (*broken) Scan(context.Context, func(key, value string) bool) error { return errFault }

func TestFaults(t *testing.T) {
	t.Parallel()
	cache := &verify.Cache{Prober: &world{answer: good}, Store: &broken{}}
	_, err := cache.Verify(t.Context(), "a@b")
	require.ErrorIs(t, err, errFault)
	for _, err := range cache.Entries(t.Context()) {
		require.ErrorIs(t, err, errFault)
	}
	require.NoError(t, cache.Close())

	cache = &verify.Cache{Prober: verify.ProberFunc(func(context.Context, string) (mtakit.Result, error) { panic("oh") })}
	_, err = cache.Verify(t.Context(), "a@b")
	require.ErrorContains(t, err, "panic: oh")
	require.NoError(t, cache.Close())

	store := &verify.Memory{}
	require.NoError(t, store.Put(t.Context(), "a@b", "{garbage", time.Now().Add(time.Hour)))
	cache = &verify.Cache{Prober: &world{answer: good}, Store: store}
	r, err := cache.Verify(t.Context(), "a@b")
	require.NoError(t, err)
	assert.Equal(t, mtakit.Delivered, r.Outcome)
	require.NoError(t, cache.Close())
}

// TestText is what Postfix's replies show.
func TestText(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]mtakit.Result{
		"host mx[192.0.2.1]:25 said: 550 5.1.1 who is that (in reply to RCPT TO command)": {Outcome: mtakit.Bounced, Remote: "mx[192.0.2.1]:25",
			Reply: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "who\nis that"}, Diagnostic: "in reply to RCPT TO command"},
		"moved":                  {Outcome: mtakit.Bounced, Diagnostic: "moved"},
		strings.Repeat("x", 249): {Outcome: mtakit.Bounced, Diagnostic: strings.Repeat("x", 249) + "ü" + strings.Repeat("x", 4000)},
	} {
		cache := &verify.Cache{Prober: &world{answer: r}}
		got, err := cache.Verify(t.Context(), "a@b")
		require.NoError(t, err)
		assert.Equal(t, want, got.Diagnostic)
		assert.Nil(t, got.Reply)
		require.NoError(t, cache.Close())
	}
}

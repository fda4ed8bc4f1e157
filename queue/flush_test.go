package queue_test

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/memspool"
)

// domains is a table of those that may be flushed; "!" is broken.
type domains map[string]string

func (d domains) Lookup(_ context.Context, key string) (string, bool, error) {
	if d[key] == "!" {
		return "", false, errDisk
	}
	return d[key], d[key] != "", nil
}

// counted is a spool that counts who looks at how much of it.
type counted struct {
	queue.Spool
	opened, listed atomic.Int64
}

func (s *counted) Open(ctx context.Context, id string) (*queue.Stored, error) {
	s.opened.Add(1)
	return s.Spool.Open(ctx, id)
}

func (s *counted) Entries(ctx context.Context) iter.Seq2[queue.Entry, error] {
	s.listed.Add(1)
	return s.Spool.Entries(ctx)
}

// TestFastFlush looks at the messages for the site alone, also after a restart.
func TestFastFlush(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &counted{Spool: &memspool.Spool{}}
		taken := map[string]bool{}
		a := &agent{answer: func(d *mtakit.Delivery, i int) mtakit.Result {
			if taken[d.NextHop] {
				return mtakit.Result{Outcome: mtakit.Delivered}
			}
			return deferred("later")
		}}
		start := func() (*queue.Manager, func()) {
			m := manager(s, a)
			m.MinBackoff, m.MaxBackoff = 10*time.Hour, 10*time.Hour
			m.FlushDomains = domains{"yes.example": "OK", "also.example": "OK", "broken.example": "!"}
			return m, serve(t, m)
		}
		m, stop := start()
		for n := range 200 {
			send(t, m, "a@example.org", fmt.Sprintf("a@%d.example", n))
		}
		both := send(t, m, "a@example.org", "b@YES.example", "b@also.example")
		send(t, m, "a@example.org", "c@yes.example", "c@other.example")
		synctest.Wait()
		flush := func(site string, opened int64) {
			t.Helper()
			before, listed := s.opened.Load(), s.listed.Load()
			require.NoError(t, m.FastFlush(t.Context(), site))
			synctest.Wait()
			assert.Equal(t, opened, s.opened.Load()-before, site)
			assert.Equal(t, listed, s.listed.Load())
		}
		flush("yes.example", 2)
		flush("Yes.Example.", 0) // within the minute
		flush("also.example", 1)
		sleep(2 * time.Minute)
		flush("yes.example", 2)
		for site, code := range map[string]int{"other.example": 459, "": 459, "broken.example": 458, ".yes.example": 459} {
			reply, ok := mtakit.AsReply(m.FastFlush(t.Context(), site))
			require.True(t, ok)
			assert.Equal(t, code, reply.Code, site)
		}
		stop()

		m, _ = start()
		synctest.Wait()
		flush("yes.example", 2)
		sleep(2 * time.Minute)
		taken["yes.example"] = true
		flush("yes.example", 2)
		sleep(2 * time.Minute)
		flush("yes.example", 0) // what waits now waits for others
		assert.Len(t, a.to("b@YES.example"), 5+1)
		flush("also.example", 1)
		require.NoError(t, m.Remove(t.Context(), both))
		sleep(2 * time.Minute)
		flush("also.example", 0)

		// The operator's command flushes any site, by the list, and opens no others.
		before := s.opened.Load()
		require.NoError(t, m.FlushSite(t.Context(), "17.example"))
		synctest.Wait()
		assert.Equal(t, int64(1), s.opened.Load()-before)
		require.NoError(t, m.FlushSite(t.Context(), "yes.example"))
		require.NoError(t, m.FlushSite(t.Context(), ".example"))
		synctest.Wait()
		assert.Equal(t, int64(1+201), s.opened.Load()-before)
	})
}

// TestFastFlushWhileReading: what is found later is due at once.
func TestFastFlushWhileReading(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slowEntries{Spool: &memspool.Spool{}, go_: make(chan struct{})}
		a := &agent{answer: func(*mtakit.Delivery, int) mtakit.Result { return deferred("later") }}
		m := manager(s.Spool, a)
		stop := serve(t, m)
		send(t, m, "a@example.org", "a@yes.example")
		send(t, m, "a@example.org", "a@no.example")
		synctest.Wait()
		stop()

		m = manager(s, a)
		m.FlushDomains = domains{"yes.example": "OK"}
		serve(t, m)
		synctest.Wait()
		require.NoError(t, m.FastFlush(t.Context(), "yes.example"))
		close(s.go_)
		sleep(time.Second)
		assert.Len(t, a.to("a@yes.example"), 2)
		assert.Len(t, a.to("a@no.example"), 1)
	})
}

// TestFlushLogIsBounded: what left the queue in any way leaves the log.
func TestFlushLogIsBounded(t *testing.T) {
	t.Parallel()
	s := newSpool()
	m := manager(s, &agent{answer: func(d *mtakit.Delivery, i int) mtakit.Result { return deferred("later") }})
	m.FlushDomains = domains{"yes.example": "OK"}
	serve(t, m)
	require.Eventually(t, func() bool { _, err := m.Find(t.Context(), "none"); return err != nil }, time.Minute, time.Millisecond)
	for range 500 {
		id := send(t, m, "a@example.org", "a@yes.example")
		for m.Remove(t.Context(), id) != nil {
		}
	}
	require.Eventually(t, func() bool { return m.Status().Active == 0 }, time.Minute, time.Millisecond)
	assert.LessOrEqual(t, queue.FlushLogged(m, "yes.example"), 64)
}

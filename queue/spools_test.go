package queue_test

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/filespool"
	"github.com/mtakit/mtakit/queue/memspool"
)

func entries(t *testing.T, s queue.Spool) (all []queue.Entry) {
	t.Helper()
	for e, err := range s.Entries(t.Context()) {
		require.NoError(t, err)
		all = append(all, e)
	}
	return all
}

// opener returns what opens a spool, and what it kept when it was open before.
func opener(t *testing.T, name, dir string) func() queue.Spool {
	if name == "memspool" {
		s := &memspool.Spool{}
		return func() queue.Spool { return s }
	}
	var s *filespool.Spool
	return func() queue.Spool {
		if s != nil {
			require.NoError(t, s.Close())
		}
		var err error
		s, err = filespool.Open(filepath.Join(dir, "queue"), filespool.Options{})
		require.NoError(t, err)
		return s
	}
}

// TestRealSpools takes one message of every fate through the spools that
// programs use, with a restart after each of the first attempts.
func TestRealSpools(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"memspool", "filespool"} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			open := opener(t, name, dir)
			w := newWorld()
			for n := range 4 {
				s := open()
				m := manager(s, w)
				m.Lifetime = time.Hour
				done := make(chan error, 1)
				go func() { done <- m.Serve(context.Background()) }()
				synctest.Wait()
				if n == 0 {
					send(t, m, "a@example.org", fates...)
				}
				sleep(1500 * time.Second)
				require.NoError(t, m.Shutdown(context.Background()))
				require.NoError(t, <-done)
				if n == 3 {
					assert.Empty(t, entries(t, s), name)
					require.NoError(t, s.Close())
				}
			}
			w.check(t, newSpool(), true, name)
		})
	}
}

// TestHeldInRealSpools has hold and release take the same way everywhere.
func TestHeldInRealSpools(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"memspool", "filespool"} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			var s queue.Spool = &memspool.Spool{}
			if name == "filespool" {
				var err error
				s, err = filespool.Open(filepath.Join(dir, "queue"), filespool.Options{})
				require.NoError(t, err)
				defer s.Close()
			}
			a := &agent{}
			m := manager(s, a)
			done := make(chan error, 1)
			go func() { done <- m.Serve(context.Background()) }()
			synctest.Wait()
			id := sendEnvelope(t, m, &mtakit.Envelope{Sender: "a@example.org", Hold: "look",
				Recipients: []mtakit.Recipient{{Address: "b@example.net"}}})
			sleep(time.Hour)
			require.Len(t, entries(t, s), 1)
			assert.Equal(t, "hold", entries(t, s)[0].Queue)
			require.NoError(t, m.Release(t.Context(), id))
			sleep(time.Second)
			assert.Len(t, a.all(), 1, name)
			assert.Empty(t, entries(t, s), name)
			require.NoError(t, m.Close())
			require.NoError(t, <-done)
		})
	}
}

type damaged struct{ mtakit.Body }

var errDamaged = errors.New("checksum")

func (damaged) Open() (io.ReadCloser, error) { return nil, errDamaged }

// TestDamagedBodyIsToldOf has a body that nobody can read any more.
func TestDamagedBodyIsToldOf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		a := &agent{answer: func(d *mtakit.Delivery, _ int) mtakit.Result {
			if d.Envelope.Sender == "" {
				return mtakit.Result{Outcome: mtakit.Delivered}
			}
			return deferred("cannot read the message")
		}}
		m := manager(s, a)
		serve(t, m)
		id := send(t, m, "a@example.org", "b@example.net")
		sleep(time.Second)
		s.mu.Lock()
		s.stored[id].Message.Body = damaged{s.stored[id].Message.Body}
		s.mu.Unlock()
		sleep(6 * 24 * time.Hour)
		require.Len(t, a.to("a@example.org"), 1)
		assert.Contains(t, a.to("a@example.org")[0].text, "text/rfc822-headers")
		assert.Zero(t, s.len())
	})
}

//go:build million

package queue_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/filespool"
)

// TestMillionOnDisk has 1,000,000 deferred messages of 2 KiB in files, on a file
// system with 5 GB and as many inodes:
//
//	MILLION_DIR=/mnt/ext4 go test -tags million -run MillionOnDisk -v -timeout 1h ./queue
//
// The first run makes them, which takes some minutes; later ones find them.
func TestMillionOnDisk(t *testing.T) {
	dir := os.Getenv("MILLION_DIR")
	if dir == "" {
		t.Skip("MILLION_DIR names no directory")
	}
	full := filepath.Join(dir, "million")
	if os.Getenv("MILLION_FILL") != "" {
		fillMillion(t, full, 1_000_000)
		return
	}
	if _, err := os.Stat(filepath.Join(full, "filled")); err != nil {
		fill := exec.Command(os.Args[0], "-test.run", "^TestMillionOnDisk$", "-test.timeout", "1h")
		fill.Env = append(os.Environ(), "MILLION_FILL=1")
		out, err := fill.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.RemoveAll(empty))

	start := time.Now()
	s, err := filespool.Open(full, filespool.Options{MinFree: -1})
	require.NoError(t, err)
	opened := time.Since(start)
	m := manager(s, &agent{})
	done := make(chan error, 1)
	go func() { done <- m.Serve(context.Background()) }()
	for m.Status().Waiting < 1_000_000 {
		time.Sleep(50 * time.Millisecond)
	}
	took := time.Since(start)
	rss := rssAnon(t)
	t.Logf("spool opened in %v, all read after %v, %.0f MB of RssAnon", opened, took, rss)
	assert.LessOrEqual(t, rss, 200.0)
	assert.Less(t, took, 20*time.Second)

	// The journal is full of what came last; in a quiet moment that gets files.
	d, err := m.Begin(t.Context(), 0)
	require.NoError(t, err)
	_, err = d.Commit(t.Context(), &mtakit.Envelope{Hold: "wakes the cleaner"}, nil)
	require.NoError(t, err)
	time.Sleep(time.Minute)

	other, err := filespool.Open(empty, filespool.Options{MinFree: -1})
	require.NoError(t, err)
	alone := manager(other, &agent{})
	doneAlone := make(chan error, 1)
	go func() { doneAlone <- alone.Serve(context.Background()) }()
	for range 3 {
		a, b := intakeOf(t, alone, 20_000), intakeOf(t, m, 20_000)
		t.Logf("intake: %.0f messages/s with an empty queue, %.0f with a million (x%.2f)", a, b, b/a)
	}
	t.Logf("%.0f MB of RssAnon after that", rssAnon(t))
	require.NoError(t, m.Close())
	require.NoError(t, <-done)
	require.NoError(t, alone.Close())
	require.NoError(t, <-doneAlone)
	require.NoError(t, s.Close())
	require.NoError(t, other.Close())
}

// intakeOf returns how many messages a second 32 senders get rid of. They are
// held, so that nothing but the acceptance is measured.
func intakeOf(t *testing.T, m *queue.Manager, n int) float64 {
	start := time.Now()
	each(t, 32, n, func(i int) error {
		d, err := m.Begin(t.Context(), 0)
		if err != nil {
			return err
		}
		if _, err := d.Write(millionth(i)); err != nil {
			return err
		}
		_, err = d.Commit(t.Context(), &mtakit.Envelope{Sender: "a@example.org", Hold: "measured",
			Recipients: []mtakit.Recipient{{Address: "b@example.net"}}}, nil)
		return err
	})
	return float64(n) / time.Since(start).Seconds()
}

func millionth(i int) []byte {
	return []byte(fmt.Sprintf("Subject: %d\r\n\r\n%s", i, strings.Repeat("deferred for a long time\r\n", 78)))
}

func each(t *testing.T, workers, n int, do func(i int) error) {
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := w; i < n; i += workers {
				if err := do(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

func fillMillion(t *testing.T, dir string, n int) {
	require.NoError(t, os.RemoveAll(dir))
	s, err := filespool.Open(dir, filespool.Options{MinFree: -1, SyncFS: true})
	require.NoError(t, err)
	next := time.Now().Add(24 * time.Hour)
	each(t, 64, n, func(i int) error {
		d, err := s.Begin(t.Context(), 0)
		if err != nil {
			return err
		}
		if _, err := d.Write(millionth(i)); err != nil {
			return err
		}
		env := &mtakit.Envelope{Sender: "a@example.org", Recipients: []mtakit.Recipient{{Address: fmt.Sprintf("b@site%d.example", i%1000)}}}
		ids, err := s.Commit(t.Context(), []queue.Accept{{Draft: d, Envelope: env, Attempts: 1, Next: next}}, nil)
		if err != nil {
			return err
		}
		_, err = s.Commit(t.Context(), nil, []queue.Change{{ID: ids[0], Attempts: 3, Next: next.Add(time.Duration(i) * time.Second / 10),
			Defer: true, Site: fmt.Sprintf("smtp site%d.example", i%1000),
			Results: []queue.Mark{{Result: mtakit.Result{Diagnostic: "connection refused", Site: true}}}}})
		return err
	})
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "filled"), nil, 0o600))
}

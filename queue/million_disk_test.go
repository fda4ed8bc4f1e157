//go:build million

package queue_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	switch os.Getenv("MILLION_PART") {
	case "fill":
		fillMillion(t, full, 1_000_000)
		return
	case "rebuild":
		require.NoError(t, os.Remove(filepath.Join(full, "index")))
		s, _, stop := startMillion(t, full, "while its index is made anew")
		stop()
		require.NoError(t, s.Close())
		return
	}
	if _, err := os.Stat(filepath.Join(full, "filled")); err != nil {
		inOwnProcess(t, "fill")
		require.NoError(t, exec.Command("sync").Run()) // or the disk has something else to do for a minute
	}
	inOwnProcess(t, "rebuild")
	s, m, stop := startMillion(t, full, "with its index")
	// The journal is full of what came last; in a quiet moment that gets files.
	intakeOf(t, m, 1, "wakes the cleaner")
	rest(t, full)

	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.RemoveAll(empty))
	other, err := filespool.Open(empty, filespool.Options{MinFree: -1})
	require.NoError(t, err)
	alone := manager(other, delivers)
	stopAlone := runManager(t, alone)
	for _, how := range []string{"", "measured"} {
		var ratios []float64
		for range 5 {
			a := intakeOf(t, alone, 15_000, how)
			rest(t, empty)
			b := intakeOf(t, m, 15_000, how)
			rest(t, full)
			ratios = append(ratios, b/a)
			t.Logf("intake, hold %q: %.0f messages/s with an empty queue, %.0f with a million (x%.2f)", how, a, b, b/a)
		}
		slices.Sort(ratios)
		t.Logf("intake, hold %q: x%.2f in the middle", how, ratios[2])
	}
	t.Logf("%.0f MB of RssAnon after that", rssAnon(t))
	stop()
	stopAlone()
	require.NoError(t, s.Close())
	require.NoError(t, other.Close())
}

// rest waits until nothing goes on in a spool but waiting.
func rest(t *testing.T, dir string) {
	require.Eventually(t, func() bool { return journalSize(t, dir) < 48<<20 }, 10*time.Minute, 100*time.Millisecond)
	time.Sleep(time.Second)
}

// journalSize returns how many bytes the journal of a spool has, without what waits
// to be used again.
func journalSize(t *testing.T, dir string) (n int64) {
	segments, err := filepath.Glob(filepath.Join(dir, "journal", "0*"))
	require.NoError(t, err)
	for _, name := range segments {
		if info, err := os.Stat(name); err == nil { // it may be gone by now
			n += info.Size()
		}
	}
	return n
}

// inOwnProcess does a part of the test, so that its memory does not count.
func inOwnProcess(t *testing.T, part string) {
	c := exec.Command(os.Args[0], "-test.run", "^TestMillionOnDisk$", "-test.timeout", "1h", "-test.v")
	c.Env = append(os.Environ(), "MILLION_PART="+part)
	out, err := c.CombinedOutput()
	t.Logf("%s", out)
	require.NoError(t, err)
}

// delivers takes everything.
var delivers = queue.DeliveryAgentFunc(func(_ context.Context, d *mtakit.Delivery) []mtakit.Result {
	return make([]mtakit.Result, len(d.Recipients))
})

// runManager serves until it is stopped.
func runManager(t *testing.T, m *queue.Manager) (stop func()) {
	done := make(chan error, 1)
	go func() { done <- m.Serve(context.Background()) }()
	return func() {
		require.NoError(t, m.Close())
		require.NoError(t, <-done)
	}
}

// startMillion opens the spool and waits until the manager knows all that is in
// it.
func startMillion(t *testing.T, dir, how string) (s *filespool.Spool, m *queue.Manager, stop func()) {
	start := time.Now()
	s, err := filespool.Open(dir, filespool.Options{MinFree: -1})
	require.NoError(t, err)
	opened := time.Since(start)
	m = manager(s, delivers)
	stop = runManager(t, m)
	most := 0.0
	for m.Status().Waiting < 1_000_000 {
		time.Sleep(50 * time.Millisecond)
		most = max(most, rssAnon(t))
	}
	took := time.Since(start)
	t.Logf("%s: spool opened in %v, all read after %v, at most %.0f MB of RssAnon", how, opened, took, most)
	assert.LessOrEqual(t, most, 200.0)
	assert.Less(t, took, 20*time.Second)
	return s, m, stop
}

// intakeOf returns how many messages a second 32 senders get rid of. They are
// delivered at once, or held.
func intakeOf(t *testing.T, m *queue.Manager, n int, hold string) float64 {
	start := time.Now()
	each(t, 32, n, func(i int) error {
		d, err := m.Begin(t.Context(), 0)
		if err != nil {
			return err
		}
		if _, err := d.Write(millionth(i)); err != nil {
			return err
		}
		_, err = d.Commit(t.Context(), &mtakit.Envelope{Sender: "a@example.org", Hold: hold,
			Recipients: []mtakit.Recipient{{Address: fmt.Sprintf("b@example%d.net", i%100)}}}, nil)
		return err
	})
	took := time.Since(start)
	for m.Status().Active > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	return float64(n) / took.Seconds()
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
	addSome(t, dir, n)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "filled"), nil, 0o600))
}

func addSome(t *testing.T, dir string, n int) {
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
}

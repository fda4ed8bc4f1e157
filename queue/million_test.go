//go:build million

package queue_test

import (
	"bytes"
	"os"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/queue"
)

// TestMillion has 1,000,000 messages wait: go test -tags million -run Million -v
func TestMillion(t *testing.T) {
	const n = 1_000_000
	for _, tt := range []struct {
		name      string
		sites     int
		live, rss float64 // bytes a message, and MB of all, at most
	}{
		{"wait for 1000 sites", 1000, 70, 170},
		{"wait for a site each", n, 90, 200},
	} {
		debug.FreeOSMemory()
		free, before := rssAnon(t), heapAlloc()
		start := time.Now()
		m, stop := newCrowded(n, tt.sites).read()
		took := time.Since(start)
		rss := rssAnon(t)
		live := (heapAlloc() - before) / n
		t.Logf("%s: read in %v, %.1f bytes of heap a message, %.0f MB of RssAnon (%.0f before), intake takes %v a message",
			tt.name, took, live, rss, free, intake(t, m))
		assert.LessOrEqual(t, live, tt.live)
		assert.LessOrEqual(t, rss, tt.rss)
		assert.Less(t, took, 20*time.Second)
		require.NoError(t, stop())
	}
	m, stop := newCrowded(0, 0).read()
	t.Logf("with an empty queue, intake takes %v a message", intake(t, m))
	require.NoError(t, stop())
}

// intake returns how long a message takes to be accepted.
func intake(t *testing.T, m *queue.Manager) time.Duration {
	const n = 20_000
	start := time.Now()
	for range n {
		send(t, m, "a@example.org", "b@example.net")
	}
	return time.Since(start) / n
}

// rssAnon returns the memory of the process that no file stands behind, in MB.
func rssAnon(t *testing.T) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	_, rest, _ := bytes.Cut(status, []byte("RssAnon:"))
	kB, _, _ := bytes.Cut(rest, []byte("kB"))
	n, err := strconv.ParseFloat(string(bytes.TrimSpace(kB)), 64)
	require.NoError(t, err)
	return n / 1000
}

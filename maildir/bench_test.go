package maildir_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/maildir"
)

// BenchmarkDeliver has 64 deliveries at a time, of 2 KiB, to 100 mailboxes, below
// the directory that MTAKIT_BENCH_DIR names. It says something where syncs cost
// what they cost a server: on an ext4 with a journal, for instance
//
//	truncate -s 2G image && mkfs.ext4 -q image && mount -o loop image /mnt
//	MTAKIT_BENCH_DIR=/mnt go test -run '^$' -bench Deliver ./maildir
func BenchmarkDeliver(b *testing.B) {
	dir := os.Getenv("MTAKIT_BENCH_DIR")
	if dir == "" {
		dir = b.TempDir()
	}
	boxes := table{}
	for i := range 100 {
		boxes[fmt.Sprintf("u%d@example.org", i)] = fmt.Sprintf("example.org/u%d/", i)
	}
	text := mail + strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n", 32)
	for _, c := range []struct {
		deliveries int
		syncFS     bool
		quotas     maildir.Table
	}{{1, false, nil}, {64, false, nil}, {64, true, nil}, {1, false, large{}}, {64, false, large{}}, {64, true, large{}}} {
		b.Run(fmt.Sprintf("%d/syncfs=%t/quota=%t", c.deliveries, c.syncFS, c.quotas != nil), func(b *testing.B) {
			dir, err := os.MkdirTemp(dir, "bench")
			require.NoError(b, err)
			defer os.RemoveAll(dir)
			root, err := os.OpenRoot(dir)
			require.NoError(b, err)
			defer root.Close()
			agent := &maildir.Agent{Root: root, Mailboxes: boxes, Quotas: c.quotas, SyncFS: c.syncFS}
			defer agent.Close()
			for name := range boxes {
				require.Equal(b, mtakit.Delivered, agent.Deliver(b.Context(), delivery(text, name))[0].Outcome)
			}
			deliverMany(b, agent, c.deliveries, text)
		})
	}
}

// large is a quota that nobody comes near.
type large struct{}

func (large) Lookup(context.Context, string) (string, bool, error) {
	return "1000000000000S,1000000000C", true, nil
}

func deliverMany(b *testing.B, agent *maildir.Agent, n int, text string) {
	b.ReportAllocs()
	before, start := cpu(), time.Now()
	b.ResetTimer()
	var next atomic.Int64
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if r := agent.Deliver(b.Context(), delivery(text, fmt.Sprintf("u%d@example.org", i%100)))[0]; r.Outcome != mtakit.Delivered {
					b.Error(r.Diagnostic)
				}
			}
		})
	}
	group.Wait()
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "mails/s")
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-us/op")
}

// cpu is what the process has used, in user and in system mode.
func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

package queue_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"testing"
	"time"

	"github.com/mtakit/mtakit/queue"
)

// crowded is a spool in which very many messages wait, the half of them for some
// number of sites.
type crowded struct {
	*spool
	n, sites int
	next     time.Time
	listed   chan struct{} // closed when the manager has seen all
}

func newCrowded(n, sites int) crowded {
	return crowded{newSpool(), n, sites, time.Now().Add(time.Hour), make(chan struct{})}
}

func (c crowded) Entries(context.Context) iter.Seq2[queue.Entry, error] {
	return func(yield func(queue.Entry, error) bool) {
		for i := range c.n {
			e := queue.Entry{ID: fmt.Sprintf("%016d", i), Queue: "deferred", Sender: "a@example.org", Pending: 1, Attempts: 3,
				Next: c.next.Add(time.Duration(i*7919%c.n) * time.Second)}
			if i%2 == 0 {
				e.Site = fmt.Sprintf("smtp site%d.example", i/2%c.sites)
			}
			if !yield(e, nil) {
				return
			}
		}
		close(c.listed)
	}
}

// read serves a manager until it has read its spool.
func (c crowded) read() (m *queue.Manager, stop func() error) {
	m = manager(c, &agent{})
	done := make(chan error, 1)
	go func() { done <- m.Serve(context.Background()) }()
	<-c.listed
	return m, func() error { return errors.Join(m.Close(), <-done) }
}

func heapAlloc() float64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}

// BenchmarkWaiting tells what a message costs that waits: bytes of heap.
func BenchmarkWaiting(b *testing.B) {
	for b.Loop() {
		c := newCrowded(100_000, 1000)
		before := heapAlloc()
		_, stop := c.read()
		b.ReportMetric((heapAlloc()-before)/float64(c.n), "heapB/message")
		if err := stop(); err != nil {
			b.Fatal(err)
		}
	}
}

package queue_test

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"testing"
	"time"

	"github.com/mtakit/mtakit/queue"
)

// crowded is a spool in which very many messages wait.
type crowded struct {
	*spool
	n    int
	next time.Time
}

func (c crowded) Entries(context.Context) iter.Seq2[queue.Entry, error] {
	return func(yield func(queue.Entry, error) bool) {
		for i := range c.n {
			e := queue.Entry{ID: fmt.Sprintf("%016d", i), Queue: "deferred", Sender: "a@example.org", Pending: 1, Attempts: 3, Next: c.next}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// BenchmarkWaiting tells what a message costs that waits: bytes of heap.
func BenchmarkWaiting(b *testing.B) {
	const messages = 100_000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		m := manager(crowded{newSpool(), messages, time.Now().Add(time.Hour)}, &agent{})
		done := make(chan error, 1)
		go func() { done <- m.Serve(context.Background()) }()
		for m.Status().Waiting < messages {
			runtime.Gosched()
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/messages, "heapB/message")
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
		<-done
	}
}

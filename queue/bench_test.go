package queue_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// BenchmarkManager is what the manager itself costs for each message: the spool
// is a map, and the agent does nothing.
func BenchmarkManager(b *testing.B) {
	s := newSpool()
	var done sync.WaitGroup
	m := manager(s, queue.DeliveryAgentFunc(func(_ context.Context, d *mtakit.Delivery) []mtakit.Result {
		return []mtakit.Result{{Outcome: mtakit.Delivered}}
	}))
	m.Observer = mtakit.ObserverFunc(func(_ context.Context, e mtakit.Event) {
		if e.Kind == mtakit.EventRemoved {
			done.Done()
		}
	})
	served := make(chan error, 1)
	go func() { served <- m.Serve(context.Background()) }()
	var to [100]mtakit.Recipient
	for i := range to {
		to[i].Address = fmt.Sprintf("u@example%d.net", i)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		done.Add(1)
		d, _ := m.Begin(context.Background(), 0)
		_, _ = d.Write([]byte("Subject: hello\r\n\r\nHi\r\n"))
		i++
		if _, err := d.Commit(context.Background(), &mtakit.Envelope{Sender: "a@example.org", Recipients: to[i%100 : i%100+1]}, nil); err != nil {
			b.Fatal(err)
		}
	}
	done.Wait()
	if err := m.Close(); err != nil {
		b.Fatal(err)
	}
	<-served
}

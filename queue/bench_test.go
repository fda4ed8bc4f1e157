package queue_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

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

// BenchmarkSilentSites is what a message to one of fifty sites takes that answer
// after a millisecond, alone and while other sites, with a thousand messages
// each, have not said a word yet. Few places make it harder: there are 20.
func BenchmarkSilentSites(b *testing.B) {
	for _, silent := range []int{0, 1, 3} {
		b.Run(fmt.Sprint(silent), func(b *testing.B) { benchmarkSilent(b, silent) })
	}
}

func benchmarkSilent(b *testing.B, silent int) {
	room := make(chan struct{}, 500) // messages under way
	m := manager(newSpool(), queue.DeliveryAgentFunc(func(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
		if strings.HasPrefix(d.NextHop, "silent") {
			<-ctx.Done()
			return nil
		}
		time.Sleep(time.Millisecond)
		<-room
		return []mtakit.Result{{Outcome: mtakit.Delivered}}
	}))
	m.Limits.Concurrency = 20
	served := make(chan error, 1)
	go func() { served <- m.Serve(context.Background()) }()
	one := func(to string) {
		d, _ := m.Begin(context.Background(), 0)
		_, _ = d.Write([]byte("Subject: hello\r\n\r\nHi\r\n"))
		e := &mtakit.Envelope{Sender: "a@example.org", Recipients: []mtakit.Recipient{{Address: to}}}
		if _, err := d.Commit(context.Background(), e, nil); err != nil {
			b.Fatal(err)
		}
	}
	for i := range 1000 * silent {
		one(fmt.Sprintf("u@silent%d.example", i%silent))
	}
	for m.Status().Recipients < 1000*silent {
		runtime.Gosched()
	}
	i := 0
	for b.Loop() {
		room <- struct{}{}
		i++
		one(fmt.Sprintf("u@live%d.example", i%50))
	}
	for range cap(room) { // all are delivered
		room <- struct{}{}
	}
	if err := m.Close(); err != nil {
		b.Fatal(err)
	}
	<-served
}

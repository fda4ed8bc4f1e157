package queue_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/memspool"
)

// Example sends one message through a manager whose only agent prints.
func Example() {
	delivered := make(chan string, 1)
	m := &queue.Manager{
		Spool: &memspool.Spool{}, // filespool.Open("queue", filespool.Options{})
		Router: queue.RouterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Recipient) (mtakit.Route, error) {
			return mtakit.Route{Transport: "print"}, nil
		}),
		Agents: map[string]queue.DeliveryAgent{
			"print": queue.DeliveryAgentFunc(func(_ context.Context, d *mtakit.Delivery) []mtakit.Result {
				subject, _ := d.Message.Header.Get("Subject")
				delivered <- fmt.Sprintf("%s -> %s via %s: %s", d.Envelope.Sender, d.Recipients[0].Address, d.NextHop, subject)
				return []mtakit.Result{{Outcome: mtakit.Delivered}}
			}),
		},
	}
	ctx := context.Background()
	served := make(chan error)
	go func() { served <- m.Serve(ctx) }()

	draft, _ := m.Begin(ctx, 0)
	fmt.Fprint(draft, "Subject: hello\r\n\r\nHi Bob\r\n")
	_, err := draft.Commit(ctx, &mtakit.Envelope{
		Sender:     "alice@example.org",
		Recipients: []mtakit.Recipient{{Address: "bob@example.net"}},
	}, nil)
	fmt.Println(err, <-delivered)

	fmt.Println(m.Shutdown(ctx), <-served)
	// Output:
	// <nil> alice@example.org -> bob@example.net via example.net: hello
	// <nil> <nil>
}

// An application submits a message under a key of its own, so that doing it
// again does no harm, and is told what became of the recipient.
func ExampleManager_Submit() {
	m := &queue.Manager{
		Spool: &memspool.Spool{}, // filespool.Open("queue", filespool.Options{})
		Router: queue.RouterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Recipient) (mtakit.Route, error) {
			return mtakit.Route{Transport: "nowhere"}, nil
		}),
		Agents: map[string]queue.DeliveryAgent{
			"nowhere": queue.DeliveryAgentFunc(func(_ context.Context, d *mtakit.Delivery) []mtakit.Result {
				fmt.Println("sending for order", d.Envelope.Attrs["order"])
				return []mtakit.Result{{Outcome: mtakit.Delivered}}
			}),
		},
	}
	ctx := context.Background()
	served := make(chan error)
	go func() { served <- m.Serve(ctx) }()

	envelope := &mtakit.Envelope{
		Sender:     "shop@example.org",
		Recipients: []mtakit.Recipient{{Address: "bob@example.net"}},
		Attrs:      map[string]string{"order": "4711"},
	}
	const letter = "From: shop@example.org\nTo: bob@example.net\nSubject: Your invoice\n\nPlease pay.\n"
	done := make(chan string, 1)
	submission := queue.Submission{
		Key: "invoice-4711",
		Results: queue.ResultsFunc(func(_ context.Context, s queue.RecipientStatus) {
			done <- fmt.Sprint(s.Recipient.Address, " ", s.Kind)
		}),
	}
	first, err := m.Submit(ctx, envelope, strings.NewReader(letter), submission)
	fmt.Println(err, <-done)

	again, err := m.Submit(ctx, envelope, strings.NewReader(letter), submission)
	fmt.Println(err, again == first)

	receipt, err := m.Result(ctx, first)
	fmt.Println(err, receipt.Over(), receipt.Recipients[0].Kind)

	fmt.Println(m.Shutdown(ctx), <-served)
	// Output:
	// sending for order 4711
	// <nil> bob@example.net delivered
	// <nil> true
	// <nil> true delivered
	// <nil> <nil>
}

// A program takes back what it has submitted for later.
func ExampleManager_Cancel() {
	m := &queue.Manager{
		Spool: &memspool.Spool{},
		Router: queue.RouterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Recipient) (mtakit.Route, error) {
			return mtakit.Route{Transport: "nowhere"}, nil
		}),
	}
	ctx := context.Background()
	served := make(chan error)
	go func() { served <- m.Serve(ctx) }()

	id, err := m.Submit(ctx, &mtakit.Envelope{
		Sender:     "shop@example.org",
		Recipients: []mtakit.Recipient{{Address: "bob@example.net"}},
		NotBefore:  time.Now().Add(24 * time.Hour),
	}, strings.NewReader("Subject: You have left something in the cart\n\n"), queue.Submission{Key: "cart-4711"})
	fmt.Println(err)

	receipt, err := m.Cancel(ctx, id) // he has paid
	fmt.Println(err, receipt.Over(), receipt.Recipients[0].Kind)

	fmt.Println(m.Shutdown(ctx), <-served)
	// Output:
	// <nil>
	// <nil> true removed
	// <nil> <nil>
}

// An operator knows that example.net is back, and has its mail tried now: the
// oldest first.
func ExampleManager_QueueRun() {
	delivered := make(chan string, 1)
	m := &queue.Manager{
		Spool: &memspool.Spool{},
		Router: queue.RouterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Recipient) (mtakit.Route, error) {
			return mtakit.Route{Transport: "print"}, nil
		}),
		Agents: map[string]queue.DeliveryAgent{
			"print": queue.DeliveryAgentFunc(func(_ context.Context, d *mtakit.Delivery) []mtakit.Result {
				delivered <- d.Recipients[0].Address
				return []mtakit.Result{{Outcome: mtakit.Delivered}}
			}),
		},
		Limits: queue.Limits{Concurrency: 1}, // one after the other
	}
	ctx := context.Background()
	// These have been tried before, and their next attempt is an hour away.
	for i, address := range []string{"new@example.net", "other@example.com", "old@example.net"} {
		draft, _ := m.Spool.Begin(ctx, 0)
		fmt.Fprint(draft, "Subject: hello\r\n\r\n")
		envelope := &mtakit.Envelope{Sender: "alice@example.org", Recipients: []mtakit.Recipient{{Address: address}},
			Arrival: time.Now().Add(-time.Duration(i) * time.Hour)}
		_, err := m.Spool.Commit(ctx, []queue.Accept{{Draft: draft, Envelope: envelope, Attempts: 3, Next: time.Now().Add(time.Hour)}}, nil)
		if err != nil {
			fmt.Println(err)
		}
	}
	served := make(chan error)
	go func() { served <- m.Serve(ctx) }()

	n, err := m.QueueRun(ctx, queue.QueueRun{
		Match: func(e *queue.Entry) bool { return slices.Contains(e.Domains, "example.net") },
		Sort:  queue.SortTime,
	})
	fmt.Println(n, err)
	fmt.Println(<-delivered)
	fmt.Println(<-delivered)

	fmt.Println(m.Shutdown(ctx), <-served)
	// They become active in that order; which of two is opened first is up to the
	// disk.
	//
	// Unordered output:
	// 2 <nil>
	// old@example.net
	// new@example.net
	// <nil> <nil>
}

// A program leaves a message while no server runs, and the server takes it when
// it does.
func ExampleDrop() {
	dir, err := os.MkdirTemp("", "maildrop") // for nobody but this user
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	_, err = queue.Drop(ctx, dir, &mtakit.Envelope{
		Sender:     "alice@example.org",
		Recipients: []mtakit.Recipient{{Address: "bob@example.net"}},
	}, strings.NewReader("Subject: hello\n\nHi Bob\n"))
	fmt.Println(err)

	m := &queue.Manager{
		Spool: &memspool.Spool{},
		Router: queue.RouterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Recipient) (mtakit.Route, error) {
			return mtakit.Route{Transport: "nowhere"}, nil
		}),
	}
	maildrop := &queue.Maildrop{Dir: dir, Queue: m, Hostname: "mx.example.org"}
	fmt.Println(maildrop.Look(ctx)) // Serve looks again and again
	for e, err := range m.Entries(ctx) {
		fmt.Println(e.Sender, e.Domains, err)
	}
	// Output:
	// <nil>
	// 1 <nil>
	// alice@example.org [example.net] <nil>
}

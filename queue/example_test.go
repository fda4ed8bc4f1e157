package queue_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/memspool"
)

// Example sends one message through a manager whose only agent prints.
func Example() {
	delivered := make(chan string, 1)
	m := &queue.Manager{
		Spool: newSpool(), // filespool.Open("queue")
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
	const letter = "Subject: Your invoice\n\nPlease pay.\n"
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

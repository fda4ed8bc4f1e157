package queue_test

import (
	"context"
	"fmt"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
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

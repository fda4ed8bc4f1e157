package memspool_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/memspool"
	"github.com/mtakit/mtakit/queue/spooltest"
)

func TestSpool(t *testing.T) {
	t.Parallel()
	spooltest.Run(t, func(*testing.T) spooltest.Storage {
		return spooltest.Storage{Forgets: true, Open: func() (queue.Spool, error) { return new(memspool.Spool), nil }}
	})
}

// Example accepts a message and lists the queue.
func Example() {
	ctx := context.Background()
	var s memspool.Spool
	defer s.Close()
	d, err := s.Begin(ctx, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprint(d, "Subject: hello\r\n\r\nHi Bob\r\n")
	if _, err := d.Commit(ctx, &mtakit.Envelope{Sender: "alice@example.org", Recipients: []mtakit.Recipient{{Address: "bob@example.org"}}}, nil); err != nil {
		fmt.Println(err)
		return
	}
	for e, err := range s.Entries(ctx) {
		fmt.Println(e.Queue, e.Sender, e.Size, e.Pending, err)
	}
	// Output: incoming alice@example.org 26 1 <nil>
}

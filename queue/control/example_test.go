package control_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/control"
	"github.com/mtakit/mtakit/queue/memspool"
)

// A manager with mail that waits, a socket in front of it, and a client that
// puts all mail for one site on hold.
func Example() {
	manager := &queue.Manager{Spool: &memspool.Spool{}}
	for _, to := range []string{"bob@example.net", "carol@example.org"} {
		d, err := manager.Begin(context.Background(), 0)
		if err != nil {
			panic(err)
		}
		io.WriteString(d, "Subject: hello\r\n\r\nHi\r\n")
		d.Commit(context.Background(), &mtakit.Envelope{Sender: "alice@example.com", Recipients: []mtakit.Recipient{{Address: to}}}, nil)
	}

	dir, err := os.MkdirTemp("", "control")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "control.sock")
	l, err := control.Listen(path, 0o600)
	if err != nil {
		panic(err)
	}
	server := &control.Server{Local: control.Local{Queue: manager}}
	done := make(chan error)
	go func() { done <- server.Serve(context.Background(), l) }()

	client := &control.Client{Path: path}
	var ids []string
	for m, err := range client.List(context.Background(), control.Query{Selection: control.Selection{Site: "example.org"}}) {
		if err != nil {
			fmt.Println(err)
			continue
		}
		ids = append(ids, m.ID)
	}
	for _, err := range client.Do(context.Background(), control.Hold, ids, "their server is down") {
		fmt.Println("held:", err == nil)
	}
	for m := range client.List(context.Background(), control.Query{Selection: control.Selection{Queue: "hold"}}) {
		fmt.Println(m.Sender, "to", m.Recipients[0].Address, "is held:", m.Reason)
	}
	client.Close()
	server.Shutdown(context.Background())
	<-done
	// Output:
	// held: true
	// alice@example.com to carol@example.org is held: their server is down
}

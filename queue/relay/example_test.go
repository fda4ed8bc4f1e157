package relay_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/relay"
)

// Example delivers a message to a server at a fixed address, which knows one of
// the two recipients.
func Example() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer listener.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		server(listener)
	}()

	agent := &relay.Agent{Hostname: "mail.example.org", IdleTime: -1}
	defer agent.Close()
	delivery := &mtakit.Delivery{
		ID:         "3K2x9",
		Envelope:   &mtakit.Envelope{Sender: "alice@example.org"},
		Recipients: []mtakit.Recipient{{Address: "bob@example.net"}, {Address: "nobody@example.net"}},
		NextHop:    fmt.Sprintf("[127.0.0.1]:%d", listener.Addr().(*net.TCPAddr).Port),
		Message:    mtakit.NewMessage([]byte("Subject: hello\r\n\r\nHi Bob\r\n")),
	}
	for i, r := range agent.Deliver(context.Background(), delivery) {
		fmt.Println(delivery.Recipients[i].Address, r.Outcome, r.Status, r.Reply.Message)
	}
	<-served
	// Output:
	// bob@example.net relayed [2 0 0] Ok: queued as 7
	// nobody@example.net bounced [5 1 1] no such user
}

// server is a very small SMTP server.
func server(l net.Listener) {
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	fmt.Fprint(c, "220 mx.example.net\r\n")
	for in, data := bufio.NewScanner(c), false; in.Scan(); {
		switch line := in.Text(); {
		case data && line == ".":
			data = false
			fmt.Fprint(c, "250 2.0.0 Ok: queued as 7\r\n")
		case data:
		case line == "DATA":
			data = true
			fmt.Fprint(c, "354 go ahead\r\n")
		case line == "QUIT":
			return
		case strings.HasPrefix(line, "RCPT TO:<nobody@"):
			fmt.Fprint(c, "550 5.1.1 no such user\r\n")
		default:
			fmt.Fprint(c, "250 mx.example.net\r\n")
		}
	}
}

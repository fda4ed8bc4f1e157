// Package peertest lets tests talk to servers that answer what they like.
package peertest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Answer listens on a port of the loopback interface, and answers each connection with a
// text, whatever it is asked; then it closes it, or with hang leaves it open. It returns
// the address.
func Answer(t testing.TB, answer string, hang bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer conn.Close()
				buffer := make([]byte, 1024)
				if _, err := conn.Read(buffer); err != nil {
					return
				}
				_, _ = io.WriteString(conn, answer)
				for hang {
					if _, err := conn.Read(buffer); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		group.Wait()
	})
	return l.Addr().String()
}

package smtpserver

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
)

// BenchmarkTransaction is a message of 2 KiB over loopback, one command at a time
// as most clients send them.
func BenchmarkTransaction(b *testing.B) {
	s := &Server{Hostname: "mx.example.test", Backend: BackendFunc(func(context.Context, *Conn) (smtp.Session, error) { return new(taker), nil })}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	go s.Serve(l)
	defer s.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(b, err)
	defer c.Close()
	in := bufio.NewReader(c)
	steps := []string{"MAIL FROM:<a@example.test>\r\n", "RCPT TO:<b@example.test>\r\n", "DATA\r\n",
		strings.Repeat(strings.Repeat("x", 62)+"\r\n", 32) + ".\r\n"}
	_, err = in.ReadSlice('\n')
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		for _, step := range steps {
			io.WriteString(c, step)
			if l, err := in.ReadSlice('\n'); err != nil || l[0] > '3' {
				b.Fatalf("%s %v", l, err)
			}
		}
	}
}

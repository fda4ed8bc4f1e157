package main

import (
	"bufio"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// asked is a server that knows good@... and takes no message. It returns what it
// was told.
func asked(t *testing.T) (addr string, heard *syncBuffer) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	heard = &syncBuffer{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			answer(c, heard)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String(), heard
}

func answer(c net.Conn, heard *syncBuffer) {
	c.Write([]byte("220 other.example\r\n"))
	for in := bufio.NewScanner(c); in.Scan(); {
		heard.Write([]byte(in.Text() + "\n"))
		switch {
		case strings.HasPrefix(in.Text(), "QUIT"):
			return
		case strings.HasPrefix(in.Text(), "RCPT TO:<good@"), !strings.HasPrefix(in.Text(), "RCPT"):
			c.Write([]byte("250 2.1.0 Ok\r\n"))
		default:
			c.Write([]byte("550 5.1.1 unknown\r\n"))
		}
	}
}

// TestVerification has the access table choose whom to ask for.
func TestVerification(t *testing.T) {
	t.Parallel()
	other, heard := asked(t)
	p := launch(t, tablesIn(t, map[string]string{"access": "From:forged.example reject_unverified_sender\nTo:bob@example.test reject_unverified_recipient\n"}),
		"-relayhost", other)
	for _, c := range [][3]string{
		{"good@forged.example", "alice@example.test", "250 2.1.5"},
		{"bad@forged.example", "alice@example.test", "450 4.1.7 <bad@forged.example>: Sender address rejected: unverified address: host 127.0.0.1["},
		{"bad@forged.example", "alice@example.test", "450 4.1.7 "},
		{"bad@other.example", "alice@example.test", "250 2.1.5"},
		{"", "alice@example.test", "250 2.1.5"},
		{"bad@other.example", "bob@example.test", "250 2.1.5"},
	} {
		dial(t, p.smtp).talk("EHLO c.example", "250", "MAIL FROM:<"+c[0]+">", "250", "RCPT TO:<"+c[1]+">", c[2])
	}
	assert.Equal(t, 1, strings.Count(heard.String(), "RCPT TO:<bad@forged.example>"), "the second time it is known")
	assert.NotContains(t, heard.String(), "other.example>")
	assert.NotContains(t, heard.String(), "DATA")
}

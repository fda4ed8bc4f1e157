package attack

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// dial connects, and reads no greeting.
func (h *house) dial() net.Conn {
	h.t.Helper()
	c, err := net.Dial("tcp", h.addr)
	require.NoError(h.t, err)
	require.NoError(h.t, c.SetDeadline(time.Now().Add(30*time.Second)))
	return c
}

// pour connects, waits for the greeting, sends part by part while it reads,
// closes its side and returns all that came. Behind a part that ends with DATA it
// waits for 354, unless it is thrown out.
func (h *house) pour(parts ...string) string {
	h.t.Helper()
	c := h.dial()
	defer c.Close()
	in := bufio.NewReader(c)
	greeting, err := in.ReadString('\n')
	require.NoError(h.t, err)
	told, done := make(chan struct{}, 100), make(chan string)
	go func() {
		all := greeting
		for line, err := "", error(nil); err == nil; all += line {
			if line, err = in.ReadString('\n'); strings.HasPrefix(line, "354") {
				told <- struct{}{}
			}
		}
		close(told)
		done <- all
	}()
	for _, part := range parts {
		if _, err := io.WriteString(c, part); err != nil {
			break // it was thrown out
		}
		if strings.HasSuffix(part, "DATA\r\n") {
			<-told
		}
	}
	c.(*net.TCPConn).CloseWrite()
	return <-done
}

// talk sends command by command and returns the last line of each answer.
func (h *house) talk(commands ...string) (replies []string) {
	h.t.Helper()
	c := h.dial()
	defer c.Close()
	return h.converse(c, append([]string{""}, commands...)...)
}

// converse goes on with a dialogue; "" only reads.
func (h *house) converse(c net.Conn, commands ...string) (replies []string) {
	text := textproto.NewConn(c)
	for _, command := range commands {
		if command != "" {
			if _, err := io.WriteString(c, command+"\r\n"); err != nil {
				return append(replies, "closed")
			}
		}
		code, message, err := text.ReadResponse(0)
		if err != nil {
			return append(replies, "closed")
		}
		line := message[strings.LastIndexByte(message, '\n')+1:]
		replies = append(replies, strings.TrimSpace(strconv.Itoa(code)+" "+line))
	}
	return replies
}

// secure goes from plain text to TLS.
func (h *house) secure(c net.Conn) net.Conn {
	t := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	require.NoError(h.t, t.Handshake())
	return t
}

// data sends a message behind 354 and returns the answer. The message stands as
// it is.
func (h *house) data(from, to, raw string) string {
	h.t.Helper()
	all := h.talk("EHLO client.example.test", "MAIL FROM:<"+from+">", "RCPT TO:<"+to+">", "DATA", raw+"\r\n.")
	return all[len(all)-1]
}

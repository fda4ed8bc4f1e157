package main

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// odd has all that must not be touched: a long folded field, no Message-Id,
// eight bits, dots, spaces at line ends, an empty body line at the end.
const odd = "X-First : kept as it is\r\nreceived: from nowhere\r\n\tby nobody;  Thu,  1 Jan 1970\r\nFROM: <a@example.net>\r\nSubject: =?utf-8?q?x?= \xe4\r\n" +
	"\r\n.dot\r\n..dots\r\n \t\r\nFrom the start\r\nend  \r\n\r\n"

// taker is a server that takes everything and keeps it.
type taker struct {
	mu        sync.Mutex
	texts     []string
	envelopes []string // "a@example.org to b@example.net c@example.net"
}

func (s *taker) NewSession(*smtp.Conn) (smtp.Session, error) { return &takerSession{taker: s}, nil }

type takerSession struct {
	*taker
	from string
	to   []string
}

func (s *takerSession) Mail(from string, _ *smtp.MailOptions) error {
	s.from, s.to = from, nil
	return nil
}

func (s *takerSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

func (*takerSession) Reset()        {}
func (*takerSession) Logout() error { return nil }

func (s *takerSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts = append(s.texts, string(b))
	s.envelopes = append(s.envelopes, s.from+" to "+strings.Join(s.to, " "))
	return err
}

func (s *taker) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.texts)
}

// relaySink starts a taker on a port of its own.
func relaySink(t *testing.T) (*taker, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &taker{}
	server := smtp.NewServer(s)
	server.Domain = "sink.example.net"
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return s, l.Addr().String()
}

func TestBytes(t *testing.T) {
	t.Parallel()
	sink, addr := relaySink(t)
	p := launch(t, t.TempDir(), "-relayhost", addr)
	for _, text := range []string{odd, "\r\nno header\r\n", "Subject: no body\r\n\r\n", strings.Repeat("X: "+strings.Repeat("y", 900)+"\r\n", 200) + "\r\n" + strings.Repeat("0123456789\r\n", 100000)} {
		c := dial(t, p.smtp)
		c.talk("EHLO client.example.net", "250", "MAIL FROM:<a@example.net> BODY=8BITMIME", "250",
			"RCPT TO:<alice@example.test>", "250", "RCPT TO:<friend@elsewhere.example>", "250")
		c.talk("DATA", "354")
		_, err := io.WriteString(c.conn, strings.TrimPrefix(strings.ReplaceAll("\r\n"+text, "\r\n.", "\r\n.."), "\r\n")+".\r\n")
		require.NoError(t, err)
		require.Regexp(t, queuedAs, c.reply())

		inMaildir := ""
		eventually(t, func() bool { return sink.count() == 1 }, p)
		for _, m := range p.mails(t, "example.test/alice", 1) {
			inMaildir = m
		}
		unix := strings.ReplaceAll(text, "\r\n", "\n")
		require.True(t, strings.HasSuffix(inMaildir, unix), "%.2000q", inMaildir)
		added := strings.TrimSuffix(inMaildir, unix)
		assert.True(t, strings.HasPrefix(added, "Return-Path: <a@example.net>\nX-Original-To: alice@example.test\nDelivered-To: alice@example.test\nReceived: from "), added)
		assert.NotContains(t, inMaildir, "\r")

		relayed := sink.texts[0]
		require.True(t, strings.HasSuffix(relayed, text), "%.2000q", relayed)
		assert.True(t, strings.HasPrefix(relayed, "Received: from client.example.net ("), "%.200q", relayed)
		p.emptyMailbox(t, "example.test/alice")
		sink.texts = nil
	}
}

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"database/sql"
	"encoding/base64"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mtakit/mtakit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what happens by itself: far longer than it ever takes.
const patience = 30 * time.Second

// house is a running installation.
type house struct {
	*server
	tls  *tls.Config
	news chan mtakit.Event // results of recipients
}

// launch starts the server on free ports. Nothing leaves the machine.
func launch(t *testing.T, args ...string) *house {
	t.Helper()
	c, err := parseFlags(append([]string{"-dir", t.TempDir(), "-smtp", "127.0.0.1:0", "-submission", "127.0.0.1:0", "-log", "off",
		"-relayhost", "127.0.0.1:1", "-min-backoff", "1h"}, args...), io.Discard)
	require.NoError(t, err)
	h := &house{news: make(chan mtakit.Event, 10000)}
	observer := mtakit.ObserverFunc(func(_ context.Context, e mtakit.Event) {
		if e.Recipient != "" && e.Result != nil {
			h.news <- e
		}
	})
	h.server, err = open(t.Context(), c, newLogger("off", nil), observer)
	require.NoError(t, err)
	h.tls, err = trust(filepath.Join(h.dir, "tls", "ca.pem"))
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- h.serve(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-served)
	})
	return h
}

// await returns the next result of a recipient that has these words in it.
func (h *house) await(t *testing.T, recipient string, outcome mtakit.Outcome, words string) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	var seen []string
	for {
		select {
		case e := <-h.news:
			text := code(e.Result.Status) + " " + e.Result.Diagnostic
			if e.Recipient == recipient && e.Result.Outcome == outcome && strings.Contains(text, words) {
				return
			}
			seen = append(seen, e.Recipient+" "+e.Result.Outcome.String()+" "+text)
		case <-deadline.C:
			require.Failf(t, "it never happened", "%s %s %q, but %q", recipient, outcome, words, seen)
		}
	}
}

// mails returns the messages in a Maildir, "example.test/alice/Maildir".
func (h *house) mails(t *testing.T, box string) (texts []string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(h.mail.Name(), box, "new", "*"))
	require.NoError(t, err)
	for _, name := range names {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		texts = append(texts, string(b))
	}
	return texts
}

func execute(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), statement)
	require.NoError(t, err)
}

// peer is an SMTP client that says what the test says.
type peer struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, addr net.Addr) *peer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr.String(), patience)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	p := &peer{t, conn, bufio.NewReader(conn)}
	require.Regexp(t, `^220 `, p.reply())
	require.Regexp(t, `^250`, p.say("EHLO client.example.net"))
	return p
}

// dialTLS is who may log in.
func (h *house) dialTLS(t *testing.T) *peer {
	t.Helper()
	p := dial(t, h.submission.Addr())
	p.talk("STARTTLS", "220 ")
	conn := tls.Client(p.conn, h.tls)
	require.NoError(t, conn.HandshakeContext(t.Context()))
	p.conn, p.in = conn, bufio.NewReader(conn)
	p.talk("EHLO client.example.net", "250")
	return p
}

func (p *peer) reply() string {
	p.t.Helper()
	require.NoError(p.t, p.conn.SetReadDeadline(time.Now().Add(patience)))
	var lines []string
	for {
		line, err := p.in.ReadString('\n')
		require.NoError(p.t, err, "behind %q", lines)
		lines = append(lines, strings.TrimSuffix(line, "\r\n"))
		if len(line) < 4 || line[3] != '-' {
			return strings.Join(lines, "\n")
		}
	}
}

func (p *peer) say(line string) string {
	p.t.Helper()
	_, err := p.conn.Write([]byte(line + "\r\n"))
	require.NoError(p.t, err)
	return p.reply()
}

// talk says lines and checks the beginning of the reply to each.
func (p *peer) talk(linesAndReplies ...string) {
	p.t.Helper()
	for pair := range slices.Chunk(linesAndReplies, 2) {
		got := p.say(pair[0])
		require.True(p.t, strings.HasPrefix(got, pair[1]), "%s\nwant %s\ngot  %s", pair[0], pair[1], got)
	}
}

var queuedAs = regexp.MustCompile(`^250 2\.0\.0 Ok: queued as \w+$`)

// data sends a message whose body has so many bytes.
func (p *peer) data(subject string, size int) {
	p.t.Helper()
	p.talk("DATA", "354 ")
	require.Regexp(p.t, queuedAs, p.say("Subject: "+subject+"\r\n\r\n"+strings.Repeat("0123456789\r\n", size/12)+"."))
}

func base64ed(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func plain(user, password string) string {
	return "AUTH PLAIN " + base64ed("\x00"+user+"\x00"+password)
}

// sink takes mail for others at addr and tells of its recipients.
func sink(t *testing.T, addr string) <-chan string {
	t.Helper()
	s := &sinkServer{to: make(chan string, 100)}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return s, nil }))
	l, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() { server.Serve(l) })
	t.Cleanup(func() {
		server.Close()
		running.Wait()
	})
	return s.to
}

type sinkServer struct{ to chan string }

func (*sinkServer) Mail(string, *smtp.MailOptions) error { return nil }

func (s *sinkServer) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to <- to
	return nil
}

func (*sinkServer) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

func (*sinkServer) Reset()        {}
func (*sinkServer) Logout() error { return nil }

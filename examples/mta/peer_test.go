package main

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is for what another process does: far longer than it ever takes.
const patience = 30 * time.Second

// peer is an SMTP client that says what the test says.
type peer struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// dial connects and reads the greeting.
func dial(t *testing.T, addr string) *peer {
	t.Helper()
	return dialFrom(t, "127.0.0.1", addr)
}

// dialFrom connects from an address of 127.0.0.0/8. What it is to the server is
// for the table networks to say.
func dialFrom(t *testing.T, from, addr string) *peer {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	conn, err := d.DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	p := &peer{t: t, conn: conn, in: bufio.NewReader(conn)}
	require.Regexp(t, `^220 \S+ ESMTP`, p.reply())
	return p
}

// reply reads one reply; its lines are parted by "\n".
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

// say sends a line, and returns the reply.
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

// starttls shakes hands with any certificate.
func (p *peer) starttls() {
	p.t.Helper()
	p.talk("STARTTLS", "220 2.0.0 Ready to start TLS")
	conn := tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true})
	require.NoError(p.t, conn.HandshakeContext(p.t.Context()))
	p.conn, p.in = conn, bufio.NewReader(conn)
}

// data sends a message, whose lines end in CRLF and which has no line with a dot
// in front, and returns the reply to it.
func (p *peer) data(text string) string {
	p.t.Helper()
	p.talk("DATA", "354 End data with <CR><LF>.<CR><LF>")
	return p.say(text + ".")
}

var queuedAs = regexp.MustCompile(`^250 2\.0\.0 Ok: queued as (\w+)$`)

// send sends a message in a transaction of its own, and returns its queue ID.
func (p *peer) send(from, to, text string) string {
	p.t.Helper()
	p.talk("EHLO client.example.net", "250", "MAIL FROM:<"+from+">", "250 2.1.0", "RCPT TO:<"+to+">", "250 2.1.5")
	reply := p.data(text)
	m := queuedAs.FindStringSubmatch(reply)
	require.NotNil(p.t, m, reply)
	return m[1]
}

// gone waits until the server has closed the connection.
func (p *peer) gone() {
	p.t.Helper()
	require.NoError(p.t, p.conn.SetReadDeadline(time.Now().Add(patience)))
	_, err := p.in.ReadByte()
	require.Error(p.t, err)
	require.NotErrorIs(p.t, err, os.ErrDeadlineExceeded)
}

// eventually waits for what another process does.
func eventually(t *testing.T, what func() bool, p *program) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !what() {
		select {
		case <-look.C:
		case <-deadline.C:
			require.Fail(t, "it never happened", "%s\n%s", p.stderr, strings.Join(listing(p.dir), "\n"))
		}
	}
}

// mails waits until there are n messages in a mailbox, "example.test/alice", and
// returns them in the order of their names.
func (p *program) mails(t *testing.T, box string, n int) []string {
	t.Helper()
	pattern := filepath.Join(p.dir, "mail", box, "new", "*")
	eventually(t, func() bool { return len(glob(t, pattern)) >= n }, p)
	var texts []string
	for _, name := range glob(t, pattern) {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		texts = append(texts, string(b))
	}
	require.Len(t, texts, n)
	return texts
}

// logged waits for a line of the log that holds all of these, and returns it.
func (p *program) logged(t *testing.T, words ...string) (found string) {
	t.Helper()
	eventually(t, func() bool {
		for line := range strings.Lines(p.stderr.String()) {
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
				found = line
				return true
			}
		}
		return false
	}, p)
	return found
}

// tablesIn makes a directory with tables; the others will be the samples.
func tablesIn(t *testing.T, tables map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range tables {
		write(t, filepath.Join(dir, "etc", name), text)
	}
	return dir
}

// write writes a file as an editor does: under another name, and renamed.
func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

const hello = "From: <friend@example.net>\r\nSubject: hello\r\n\r\nHello.\r\n"

func (p *program) emptyMailbox(t *testing.T, box string) {
	t.Helper()
	for _, name := range glob(t, filepath.Join(p.dir, "mail", box, "new", "*")) {
		require.NoError(t, os.Remove(name))
	}
}

func dialError(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, patience) }

// silentServer is one that accepts connections, if asked to, and says nothing.
func silentServer(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// readLine reads a line byte by byte, and leaves the rest.
func readLine(t *testing.T, r io.Reader) string {
	t.Helper()
	var line []byte
	for b := make([]byte, 1); b[0] != '\n'; line = append(line, b[0]) {
		_, err := io.ReadFull(r, b)
		require.NoError(t, err)
	}
	return string(line[:len(line)-1])
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	return string(b)
}

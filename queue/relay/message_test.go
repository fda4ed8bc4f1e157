package relay_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
)

// body is a Body that goes wrong.
type body struct {
	size int64
	r    io.Reader
	err  error
}

func (b body) Size() int64                  { return b.size }
func (b body) Open() (io.ReadCloser, error) { return io.NopCloser(b.r), b.err }

// TestUnreadableMessage: half a message never looks like a whole one, and the
// destination is not to blame.
func TestUnreadableMessage(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]body{
		"cannot be opened": {size: 5, err: errors.New("gone")},
		"breaks off":       {size: 5, r: io.MultiReader(strings.NewReader("ab\r\n"), failing{})},
		"is too short":     {size: 5, r: strings.NewReader("ab\r\n")},
		"is too long":      {size: 5, r: strings.NewReader("abcdef\r\n")},
	} {
		p := &peer{}
		d := delivery(fixed(p.start(t)), "a@example.org", "b@example.org")
		d.Message = &mtakit.Message{Header: d.Message.Header, Body: b}
		results := deliver(t, agent(t), d)
		assert.Equal(t, []string{"deferred 4.3.0", "deferred 4.3.0"}, briefs(results), name)
		assert.Empty(t, p.mail(), name)
		assert.NotContains(t, results[0].Diagnostic, "gone")
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

// TestSmuggling: what a message has of line ends, the server sees one message.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	for _, evil := range []string{"\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n.\r", "\r.\r\n", "\n\r.\r\n", "\r\r\n.\r\r\n", "\r\n.\r\n", ".\r\n", "\r\n.\x00\r\n"} {
		p := &peer{offers: []string{"PIPELINING"}}
		d := delivery(fixed(p.start(t)), "a@example.org")
		d.Message = mtakit.NewMessage([]byte("Subject: x\r\n\r\nbody" + evil + "MAIL FROM:<evil@example.org>\r\n"))
		assert.Equal(t, "relayed 2.0.0", brief(deliver(t, agent(t), d)[0]))
		messages := p.mail()
		require.Len(t, messages, 1, "%q", evil)
		assert.True(t, strings.HasSuffix(messages[0], "\r\n.\r\n"))
		assert.Equal(t, strings.Count(messages[0], "\n"), strings.Count(messages[0], "\r\n"), "%q", messages[0])
		assert.Equal(t, strings.Count(messages[0], "\r"), strings.Count(messages[0], "\r\n"), "%q", messages[0])
		for _, c := range p.commands() {
			assert.NotContains(t, c, "evil")
		}
	}
}

// TestBigMessage goes through a server that gives up in the middle, and through
// one that takes it all; it is never in memory.
func TestBigMessage(t *testing.T) {
	t.Parallel()
	const lines = 100_000
	line := "This line is one of many, and none of them is kept.\r\n"
	big := &mtakit.Message{Header: mtakit.NewMessage([]byte("A: 1\r\n\r\n")).Header,
		Body: body{size: int64(lines * len(line)), r: &repeat{line: line, n: lines}}}
	addr := listen(t, func(c net.Conn) {
		p := &peer{}
		p.handle(c)
		assert.Len(t, p.mail(), 1)
	})
	d := delivery(fixed(addr), "a@example.org")
	d.Message = big
	assert.Equal(t, "relayed 2.0.0", brief(deliver(t, agent(t), d)[0]))

	gone := listen(t, func(c net.Conn) { new(peer).handle(&short{Conn: c, left: 100_000}) })
	d = delivery(fixed(gone), "a@example.org")
	d.Message = &mtakit.Message{Header: big.Header, Body: body{size: int64(lines * len(line)), r: &repeat{line: line, n: lines}}}
	assert.Equal(t, "deferred 4.4.2", brief(deliver(t, agent(t), d)[0]))
}

// short is a connection that ends after some bytes were read.
type short struct {
	net.Conn
	left int
}

func (c *short) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p)
	c.left -= n
	return n, err
}

// repeat is a reader of one line many times.
type repeat struct {
	line string
	n    int
	rest []byte
}

func (r *repeat) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.n == 0 {
			return 0, io.EOF
		}
		k := min(r.n, 1000)
		r.rest, r.n = bytes.Repeat([]byte(r.line), k), r.n-k
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

package relay_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen starts a server on loopback that handles each connection with handle.
// Everything has ended when the test has.
func listen(t testing.TB, handle func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return serve(t, l, handle)
}

func serve(t testing.TB, l net.Listener, handle func(c net.Conn)) string {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		conns []net.Conn
	)
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// peer is a server that says what it was told to say.
type peer struct {
	greeting string   // "" means "220 mx.example.test"
	offers   []string // behind EHLO's first line
	name     string   // in the answers to EHLO and HELO; "" means "mx.example.test"
	// replies are given to the commands that start with the key, one after the
	// other, the last one again and again. The longest key wins. "close" ends the
	// connection, "reset" with RST, "silent" says nothing; "" is the usual reply.
	replies map[string][]string
	tls     *tls.Config

	mu       sync.Mutex
	seen     []string // commands, with "[n]" lines between connections
	messages []string // with the final dot, as they came
	conns    int
	given    map[string]int
}

func (p *peer) start(t testing.TB) string { return listen(t, p.handle) }

func (p *peer) commands() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.seen)
}

func (p *peer) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns
}

func (p *peer) mail() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.messages)
}

func (p *peer) handle(c net.Conn) {
	p.mu.Lock()
	p.conns++
	p.mu.Unlock()
	if !p.say(c, "GREETING", orElse(p.greeting, "220 mx.example.test")) {
		return
	}
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		p.mu.Lock()
		p.seen = append(p.seen, line)
		p.mu.Unlock()
		if !p.say(c, line, p.usual(line)) {
			return
		}
		switch {
		case line == "DATA" && p.last(line) == "354 go":
			if !p.data(c, in) {
				return
			}
		case line == "STARTTLS" && p.tls != nil && p.last(line) == "220 ready":
			s := tls.Server(c, p.tls)
			if s.Handshake() != nil {
				return
			}
			c, in = s, bufio.NewReader(s)
		case line == "QUIT":
			return
		}
	}
}

func (p *peer) data(c net.Conn, in *bufio.Reader) bool {
	var b strings.Builder
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		b.WriteString(line)
		if line == ".\r\n" {
			break
		}
	}
	p.mu.Lock()
	p.messages = append(p.messages, b.String())
	p.mu.Unlock()
	return p.say(c, ".", "250 2.0.0 Ok: queued as 1")
}

func (p *peer) usual(line string) string {
	name := orElse(p.name, "mx.example.test")
	switch verb, _, _ := strings.Cut(line, " "); verb {
	case "EHLO", "LHLO":
		all := append([]string{name}, p.offers...)
		return "250-" + strings.Join(all[:len(all)-1], "\r\n250-") + "\r\n250 " + all[len(all)-1]
	case "HELO":
		return "250 " + name
	case "DATA":
		return "354 go"
	case "STARTTLS":
		return "220 ready"
	case "QUIT":
		return "221 bye"
	}
	return "250 2.1.0 Ok"
}

// scripted returns the next reply that was scripted for a command.
func (p *peer) scripted(line string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := ""
	for k := range p.replies {
		if strings.HasPrefix(line, k) && len(k) > len(key) {
			key = k
		}
	}
	if key == "" {
		return ""
	}
	if p.given == nil {
		p.given = make(map[string]int)
	}
	n := min(p.given[key], len(p.replies[key])-1)
	p.given[key]++
	return p.replies[key][n]
}

// last returns what was said to a command, for those that change the state.
func (p *peer) last(line string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.replies[line]; len(r) > 0 {
		if s := r[min(p.given[line], len(r))-1]; s != "" {
			return s
		}
	}
	return p.usual(line)
}

func (p *peer) say(c net.Conn, line, usual string) bool {
	text := p.scripted(line)
	switch text {
	case "":
		text = usual
	case "close":
		return false
	case "reset":
		_ = c.(*net.TCPConn).SetLinger(0)
		return false
	case "silent":
		_, _ = c.Read(make([]byte, 1)) // until the agent goes
		return false
	}
	if !strings.HasPrefix(text, "raw:") {
		text += "\r\n"
	}
	_, err := c.Write([]byte(strings.TrimPrefix(text, "raw:")))
	return err == nil && !strings.HasPrefix(text, "421")
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// agent is one for tests: it knows no own address, so that loopback is no loop,
// and is closed with the test.
func agent(t testing.TB, change ...func(*relay.Agent)) *relay.Agent {
	t.Helper()
	a := &relay.Agent{Hostname: "client.example.test", Addresses: noAddresses, IdleTime: -1}
	for _, f := range change {
		f(a)
	}
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return a
}

const text = "Subject: hello\r\n\r\nHi Alice\r\n"

// delivery is one of text to some recipients; it checks that what is reported
// is what is returned.
func delivery(nextHop string, recipients ...string) *mtakit.Delivery {
	d := &mtakit.Delivery{ID: "3K2x9", Attempt: 1, NextHop: nextHop, Message: mtakit.NewMessage([]byte(text)),
		Envelope: &mtakit.Envelope{Sender: "from@client.example.test"}}
	for _, r := range recipients {
		d.Recipients = append(d.Recipients, mtakit.Recipient{Address: r})
	}
	d.Envelope.Recipients = d.Recipients
	return d
}

// deliver runs a delivery, with a limit so that a test that hangs fails.
func deliver(t testing.TB, a *relay.Agent, d *mtakit.Delivery) []mtakit.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	reported := make(map[int]mtakit.Result)
	d.Report = func(i int, r mtakit.Result) {
		assert.NotContains(t, reported, i, "reported twice")
		reported[i] = r
	}
	results := a.Deliver(ctx, d)
	require.NoError(t, ctx.Err(), "the delivery did not end by itself")
	require.Len(t, results, len(d.Recipients))
	for i, r := range reported {
		assert.Equal(t, results[i], r)
	}
	assert.Len(t, reported, len(results))
	return results
}

// brief is what a result comes to: "bounced 5.1.1", and "site" or "dsn".
func brief(r mtakit.Result) string {
	s := r.Outcome.String() + " " + code(r.Status)
	if r.Site {
		s += " site"
	}
	if r.DSN {
		s += " dsn"
	}
	return s
}

func code(c smtp.EnhancedCode) string {
	digits := func(n int) string { return strings.TrimSpace(string(rune('0' + n%10))) }
	s := ""
	for i, n := range c {
		if i > 0 {
			s += "."
		}
		if n >= 10 {
			s += digits(n / 10)
		}
		s += digits(n)
	}
	return s
}

func briefs(results []mtakit.Result) []string {
	var s []string
	for _, r := range results {
		s = append(s, brief(r))
	}
	return s
}

// fixed returns the next hop of a server without MX look-up.
func fixed(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	return "[" + host + "]:" + port
}

package smtptest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the S lines of dialogues with what the server says")

const (
	patience = 30 * time.Second // for a line that must come
	silence  = 3 * time.Second  // with -update: nothing more comes
)

// Run plays the dialogue in file on connections that dial makes. A server that
// says something else fails the test, with the line of the file. With -update
// the file is rewritten instead.
//
// Connections may be of any kind; with net.Pipe the test needs no network, and
// can run in a testing/synctest bubble.
func Run(t testing.TB, dial func() net.Conn, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := parse(file, string(text))
	if err != nil {
		t.Fatal(err)
	}
	p := &player{dial: dial, update: *update}
	p.open()
	defer p.close()
	if err := p.play(steps); err != nil {
		t.Fatalf("%s:%v", file, err)
	}
	if !*update {
		return
	}
	if err := os.WriteFile(file, []byte(p.transcript.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Pipe returns a dial function for Run: each connection is a net.Pipe whose
// other end serve gets, in a goroutine of its own. When the test ends, it waits
// until all have returned, so serve must return when the client has gone.
func Pipe(t testing.TB, serve func(net.Conn)) func() net.Conn {
	return func() net.Conn {
		client, server := net.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			serve(server)
		}()
		t.Cleanup(func() {
			client.Close()
			<-done
		})
		return client
	}
}

// player is one run of a dialogue.
type player struct {
	dial       func() net.Conn
	conn       net.Conn
	in         *bufio.Reader
	sent       chan struct{} // closed when the last group was written
	update     bool
	transcript strings.Builder
}

func (p *player) open() {
	p.use(p.dial())
	p.sent = make(chan struct{})
	close(p.sent)
}

func (p *player) use(c net.Conn) {
	p.conn, p.in = c, bufio.NewReader(c)
}

func (p *player) close() {
	p.conn.Close()
	<-p.sent
}

func (p *player) play(steps []step) error {
	group, recorded := "", false
	for i, s := range steps {
		if recorded && s.kind == 'S' {
			continue
		}
		recorded = false
		var err error
		if s.kind == 'C' || s.kind == 'R' {
			group += s.bytes()
			p.keep(s)
			if i+1 < len(steps) && (steps[i+1].kind == 'C' || steps[i+1].kind == 'R') {
				continue
			}
			p.send(group)
			group = ""
		} else if err = p.step(s); err != nil {
			return fmt.Errorf("%d: %w", s.line, err)
		}
		if p.update && s.invites() {
			p.record(steps[i+1:])
			recorded = true
		}
	}
	return nil
}

// keep writes a step into the transcript as it is.
func (p *player) keep(s step) { p.transcript.WriteString(s.String() + "\n") }

// step plays what is not sent.
func (p *player) step(s step) error {
	switch s.kind {
	case 'S':
		got, err := p.readLine(patience)
		if err != nil {
			return fmt.Errorf("want %q, got %w", s.text, err)
		}
		if !matches(s.text, got) {
			if !p.update {
				return fmt.Errorf("\nwant %s\ngot  %s", s.text, got)
			}
			s.text = got
		}
	case 'X':
		p.keep(s)
		return p.special(s.text)
	}
	p.keep(s)
	return nil
}

// send writes a group without waiting for it: a server may answer before it has
// read all, and over net.Pipe nobody else takes the answers.
func (p *player) send(group string) {
	<-p.sent
	done := make(chan struct{})
	p.sent = done
	conn := p.conn
	go func() {
		defer close(done)
		io.WriteString(conn, group) // a server that has gone shows in the next read
	}()
}

// readLine reads a line, without its CR LF, within a time.
func (p *player) readLine(within time.Duration) (string, error) {
	p.conn.SetReadDeadline(time.Now().Add(within))
	l, err := p.in.ReadString('\n')
	if err != nil {
		if l != "" {
			return l, fmt.Errorf("%q and then: %w", l, err)
		}
		return "", err
	}
	if !strings.HasSuffix(l, "\r\n") {
		return "", fmt.Errorf("line without CR: %q", l)
	}
	return l[:len(l)-2], nil
}

// record writes what the server says, and keeps the lines of before that match.
func (p *player) record(before []step) {
	for {
		l, err := p.readLine(silence)
		if err != nil {
			return
		}
		if len(before) > 0 && before[0].kind == 'S' {
			if matches(before[0].text, l) {
				l = before[0].text
			}
			before = before[1:]
		}
		p.keep(step{kind: 'S', text: l})
	}
}

// special plays an X line.
func (p *player) special(text string) error {
	verb, arg, _ := strings.Cut(text, " ")
	switch verb {
	case "eof":
		return p.wantEOF()
	case "close":
		p.conn.Close()
	case "dial":
		p.close()
		p.open()
	case "tls":
		<-p.sent
		p.conn.SetDeadline(time.Now().Add(patience))
		c := tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true, ServerName: "mx.example.test"})
		if err := c.Handshake(); err != nil {
			return err
		}
		p.use(c)
	case "pause":
		d, _ := time.ParseDuration(arg) // parse has checked it
		<-p.sent
		time.Sleep(d)
	}
	return nil
}

// wantEOF waits for the server to close.
func (p *player) wantEOF() error {
	l, err := p.readLine(patience)
	switch {
	case err == nil:
		return fmt.Errorf("want the connection to be closed, got %q", l)
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("want the connection to be closed, but it is open: %w", err)
	}
	return nil
}

package smtpserver_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/smtpserver"
)

// pipeFor serves one end of a pipe; done is closed when the server has ended.
func pipeFor(t *testing.T, s *smtpserver.Server) (client net.Conn, done chan struct{}) {
	client, server := net.Pipe()
	done = make(chan struct{})
	go func() { defer close(done); s.ServeConn(server) }()
	t.Cleanup(func() { client.Close(); <-done })
	return client, done
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &mailbox{}
		s := &smtpserver.Server{Backend: b}
		idle, busy, data := dial(t, s), dial(t, s), dial(t, s)
		busy.begin()
		data.begin()
		data.ask("DATA", goAhead)
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()

		idle.want("421 4.3.2 mx.example.test Error: service shutting down")
		idle.wantEOF()
		time.Sleep(100 * time.Second)
		busy.ask("DATA", goAhead, "x\r\n.", "250 2.0.0 Ok: queued as 3K2x9")
		busy.want("421 4.3.2 mx.example.test Error: service shutting down")
		busy.wantEOF()
		data.ask("x\r\n.", "250 2.0.0 Ok: queued as 3K2x9")
		data.want("421 4.3.2 mx.example.test Error: service shutting down")
		data.wantEOF()

		require.NoError(t, <-done)
		require.Len(t, b.all(), 2)
		require.Equal(t, 3, b.logouts)
		c, _ := net.Pipe()
		require.ErrorIs(t, s.ServeConn(c), smtpserver.ErrServerClosed)
	})
}

// Shutdown gives up when its context ends; Close ends the rest.
func TestShutdownImpatient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &mailbox{}
		s := &smtpserver.Server{Backend: b}
		p := dial(t, s)
		p.begin()
		p.ask("DATA", goAhead)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded)
		require.NoError(t, s.Close())
		require.NoError(t, s.Close())
		require.Empty(t, b.all())
		require.Len(t, b.failed(), 1)
		require.Equal(t, 1, b.logouts)
	})
}

func TestServeEnds(t *testing.T) {
	t.Parallel()
	s := &smtpserver.Server{Backend: &mailbox{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	c, err := smtp.Dial(l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Hello("client.example.test"))
	require.NoError(t, s.Shutdown(t.Context()))
	require.ErrorIs(t, <-done, smtpserver.ErrServerClosed)
	_, err = net.Dial("tcp", l.Addr().String())
	require.Error(t, err)
	require.ErrorIs(t, s.Serve(l), smtpserver.ErrServerClosed)
}

// failing is a listener that runs out of descriptors, and then breaks.
type failing struct {
	net.Listener
	errs []error
}

func (f *failing) Accept() (net.Conn, error) {
	err := f.errs[0]
	f.errs = f.errs[1:]
	return nil, err
}
func (f *failing) Close() error   { return nil }
func (f *failing) Addr() net.Addr { return &net.TCPAddr{} }

type temporaryError struct{ error }

func (temporaryError) Temporary() bool { return true }

func TestServeListenerFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		full := temporaryError{errors.New("too many open files")}
		s := &smtpserver.Server{Backend: &mailbox{}}
		require.Equal(t, broken, s.Serve(&failing{errs: []error{full, full, full, broken}}))
		require.NoError(t, s.Close())
	})
}

// A panic ends one connection, is logged, and is an event.
func TestPanicIsSeen(t *testing.T) {
	t.Parallel()
	var events []mtakit.Event
	var log strings.Builder
	s := &smtpserver.Server{
		Backend: &mailbox{}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Observer: mtakit.ObserverFunc(func(_ context.Context, e mtakit.Event) { events = append(events, e) }),
	}
	p := dial(t, s)
	p.ask("MAIL FROM:<panic@example.test>", "421 4.3.0 mx.example.test Error: internal error, closing connection")
	p.wantEOF()
	require.NoError(t, s.Close())
	require.Len(t, events, 1)
	require.Equal(t, mtakit.EventPanic, events[0].Kind)
	require.NotEmpty(t, events[0].Session)
	require.ErrorContains(t, events[0].Err, "asked to")
	require.Contains(t, log.String(), "asked to")
}

// The cause of a fault goes to the log and not to the client.
func TestFaultIsLogged(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	s := &smtpserver.Server{Backend: &mailbox{}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	p := dial(t, s)
	p.ask("MAIL FROM:<fault@example.test>", "451 4.3.0 Error: temporary failure, try again later", "QUIT", "221 2.0.0 Bye")
	require.NoError(t, s.Close())
	require.Contains(t, log.String(), "disk on fire, sector 4711")
}

// A command line that trickles has the same time as any.
func TestTricklingLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := dial(t, &smtpserver.Server{Backend: &mailbox{}})
		began := time.Now()
		ended := make(chan struct{})
		defer func() { <-ended }()
		go func() {
			defer close(ended)
			for {
				if _, err := p.Conn.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		p.want("421 4.4.2 mx.example.test Error: timeout exceeded")
		require.InDelta(t, 300, time.Since(began).Seconds(), 1)
		p.wantEOF()
	})
}

// An endless line costs no memory and ends.
func TestEndlessLine(t *testing.T) {
	t.Parallel()
	p := dial(t, &smtpserver.Server{Backend: &mailbox{}})
	sent := make(chan int64)
	go func() {
		n, _ := io.Copy(p.Conn, &zeros{})
		sent <- n
	}()
	p.want("421 4.7.0 mx.example.test Error: line too long")
	require.Less(t, <-sent, int64(2<<20))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A client that does not read its replies does not hold us for ever.
func TestDeafClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &smtpserver.Server{Backend: &mailbox{}}
		client, done := pipeFor(t, s)
		began := time.Now()
		<-done
		require.InDelta(t, 300, time.Since(began).Seconds(), 1)
		client.Close()
	})
}

// A session that returns before it has read does not confuse the dialogue.
func TestLazySession(t *testing.T) {
	t.Parallel()
	p := dial(t, &smtpserver.Server{Backend: &mailbox{lazy: true}})
	for _, to := range []string{"b@example.test", "defer@late.test"} {
		want := map[string]string{"b@example.test": "250 2.0.0 Ok", "defer@late.test": "450 4.0.0 come back later"}[to]
		p.ask("MAIL FROM:<a@example.test>", "250 2.1.0 Ok", "RCPT TO:<"+to+">", "250 2.1.5 Ok", "DATA", goAhead)
		p.send(strings.Repeat("QUIT\r\n", 10000) + ".\r\n")
		p.want(want)
	}
	p.begin()
	p.send("BDAT 6\r\nQUIT\r\n")
	p.want("250 2.0.0 Ok: 6 bytes")
	p.send("BDAT 6 LAST\r\nQUIT\r\n")
	p.want("250 2.0.0 Ok")
	p.ask("MAIL FROM:<a@example.test>", "250 2.1.0 Ok", "RCPT TO:<defer@late.test>", "250 2.1.5 Ok")
	p.send("BDAT 6\r\nQUIT\r\n")
	p.want("450 4.0.0 come back later")
	p.ask("NOOP", "250 2.0.0 Ok")
}

// tcpPipe is a pipe that says it comes from an address.
type tcpPipe struct {
	net.Conn
	addr string
}

func (c tcpPipe) RemoteAddr() net.Addr {
	a, _ := net.ResolveTCPAddr("tcp", c.addr)
	return a
}

func TestMaxClientConns(t *testing.T) {
	t.Parallel()
	s := &smtpserver.Server{Backend: &mailbox{}, Hostname: "mx.example.test", MaxClientConns: 1}
	open := func(addr string) *peer {
		client, server := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); s.ServeConn(tcpPipe{server, addr}) }()
		t.Cleanup(func() { client.Close(); <-done })
		p := &peer{Conn: client, t: t}
		p.in = bufio.NewReader(client)
		return p
	}
	first := open("192.0.2.1:1000")
	first.want("220 mx.example.test ESMTP mtakit")
	second := open("[::ffff:192.0.2.1]:1001")
	second.want("421 4.7.0 mx.example.test Error: too many connections from unknown[192.0.2.1]")
	second.wantEOF()
	open("192.0.2.2:1000").want("220 mx.example.test ESMTP mtakit")
	open("[2001:db8::1]:1").want("220 mx.example.test ESMTP mtakit")
	open("[2001:db8::f:1]:1").want("421 4.7.0 mx.example.test Error: too many connections from unknown[2001:db8::f:1]")
	for range 3 {
		open("127.0.0.1:1").want("220 mx.example.test ESMTP mtakit")
	}
	first.ask("QUIT", "221 2.0.0 Bye")
	first.wantEOF()
	require.Eventually(t, func() bool {
		p := open("192.0.2.1:1002")
		l, _ := p.in.ReadString('\n')
		return strings.HasPrefix(l, "220 ")
	}, 10*time.Second, time.Millisecond)
}

// MaxConns lets further clients wait.
func TestMaxConns(t *testing.T) {
	t.Parallel()
	addr := start(t, &smtpserver.Server{Backend: &mailbox{}, MaxConns: 1, Hostname: "mx.example.test"})
	first, err := smtp.Dial(addr)
	require.NoError(t, err)
	require.NoError(t, first.Hello("first.example.test"))
	second, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer second.Close()
	second.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	_, err = second.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, first.Quit())
	second.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err = second.Read(make([]byte, 1))
	require.NoError(t, err)
}

// A client that talks before the greeting is not one.
func TestEarlyTalker(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	arrived := make(chan struct{})
	s := &smtpserver.Server{Hostname: "mx.example.test", Backend: smtpserver.BackendFunc(func(ctx context.Context, c *smtpserver.Conn) (smtp.Session, error) {
		<-arrived
		return b.NewSession(ctx, c)
	})}
	c, err := net.Dial("tcp", start(t, s))
	require.NoError(t, err)
	defer c.Close()
	fmt.Fprint(c, "EHLO spam.example.test\r\n")
	close(arrived)
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "554 5.5.0 Error: SMTP protocol synchronization\r\n", string(got))
}

// Many clients at a time, some of whom leave in the middle, while the server
// shuts down.
func TestManyClients(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	s := &smtpserver.Server{Backend: b, Hostname: "mx.example.test"}
	addr := start(t, s)
	var wg sync.WaitGroup
	var taken sync.Map
	for i := range 30 {
		wg.Go(func() {
			c, err := smtp.Dial(addr)
			if err != nil {
				return
			}
			defer c.Close()
			for n := range 10 {
				id := fmt.Sprintf("Subject: %d-%d\r\n", i, n)
				if c.Mail("a@example.test", nil) != nil || c.Rcpt("b@example.test", nil) != nil {
					return
				}
				w, err := c.Data()
				if err != nil {
					return
				}
				io.WriteString(w, id)
				if (i+n)%7 == 6 {
					return
				}
				if w.Close() == nil {
					taken.Store(id, true)
				}
			}
			c.Quit()
		})
	}
	wg.Wait()
	require.NoError(t, s.Shutdown(t.Context()))
	have := map[string]bool{}
	for _, m := range b.all() {
		have[m.Body] = true
	}
	require.NotEmpty(t, have)
	taken.Range(func(id, _ any) bool {
		require.True(t, have[id.(string)])
		return true
	})
	require.Equal(t, b.sessions, b.logouts)
}

package relay

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// session is a connection to a server. It belongs to one goroutine at a time.
type session struct {
	raw   net.Conn // has the deadlines
	conn  net.Conn // raw, or TLS over it
	in    *bufio.Reader
	out   *bufio.Writer
	host  host
	times Timeouts

	offers offers
	tls    bool
	born   time.Time
	used   bool // there was a transaction before: RSET comes first

	ctx      context.Context // of the delivery it serves now
	release  func() bool
	patience time.Duration // for every piece that is written
	writeErr error

	mu      sync.Mutex
	waiting bool      // for the reply to the end of data: it is not cut off at once
	giveUp  time.Time // when it is; zero while the delivery goes on
}

// past is a deadline that ends whatever waits.
var past = time.Unix(1, 0)

// outSize is what is written at once, and so the pace of Timeouts.DataXfer.
const outSize = 64 << 10

func newSession(conn net.Conn, h host, times Timeouts) *session {
	s := &session{raw: conn, conn: conn, host: h, times: times, born: time.Now()}
	s.in = bufio.NewReaderSize(readerFunc(func(p []byte) (int, error) { return s.conn.Read(p) }), replyLine)
	s.out = bufio.NewWriterSize(writerFunc(s.writePieces), 16<<10)
	return s
}

type (
	readerFunc func([]byte) (int, error)
	writerFunc func([]byte) (int, error)
)

func (f readerFunc) Read(p []byte) (int, error)  { return f(p) }
func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// writePieces writes p, and is patient with every piece of it.
func (s *session) writePieces(p []byte) (n int, err error) {
	for n < len(p) {
		s.deadline(s.raw.SetWriteDeadline, s.patience)
		m, err := s.conn.Write(p[n:min(len(p), n+outSize)])
		n += m
		if err != nil {
			s.writeErr = err
			return n, err
		}
	}
	return n, nil
}

// deadline sets one, unless the delivery has been given up: what waits for the
// end of ctx sets a deadline of its own, and may have done so just before.
func (s *session) deadline(set func(time.Time) error, patience time.Duration) {
	_ = set(time.Now().Add(patience))
	if s.ctx.Err() != nil {
		_ = set(past)
	}
}

// bind makes the end of ctx interrupt the session, until unbind.
func (s *session) bind(ctx context.Context) {
	s.ctx = ctx
	s.release = context.AfterFunc(ctx, s.interrupt)
}

func (s *session) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.waiting {
		_ = s.raw.SetDeadline(past)
		return
	}
	s.giveUp = time.Now().Add(s.times.Cancelled)
	_ = s.raw.SetReadDeadline(s.giveUp)
}

// readEnd waits for a reply to the end of data, for a while even when the
// delivery has been given up.
func (s *session) readEnd() (*smtp.SMTPError, error) {
	s.mu.Lock()
	if !s.waiting && s.ctx.Err() != nil {
		s.giveUp = time.Now().Add(s.times.Cancelled)
	}
	s.waiting = true
	until := time.Now().Add(s.times.DataDone)
	if !s.giveUp.IsZero() && s.giveUp.Before(until) {
		until = s.giveUp
	}
	_ = s.raw.SetReadDeadline(until)
	s.mu.Unlock()

	reply, err := readReply(s.in)

	s.mu.Lock()
	s.waiting = false
	s.mu.Unlock()
	return reply, err
}

// unbind reports whether the session was not interrupted.
func (s *session) unbind() bool { return s.release() }

// read waits for a reply.
func (s *session) read(patience time.Duration) (*smtp.SMTPError, error) {
	s.deadline(s.raw.SetReadDeadline, patience)
	return readReply(s.in)
}

// write sends commands; the reply is then waited for as long again.
func (s *session) write(text string, patience time.Duration) error {
	if s.in.Buffered() > 0 {
		return fmt.Errorf("%w: a reply came before its command", errProtocol)
	}
	s.patience = patience
	if _, err := s.out.WriteString(text); err != nil {
		return err
	}
	return s.out.Flush()
}

// ask sends one command and waits for its reply.
func (s *session) ask(command string, patience time.Duration) (*smtp.SMTPError, error) {
	if err := s.write(command+"\r\n", patience); err != nil {
		return nil, err
	}
	return s.read(patience)
}

// quit ends a session that is in order. The reply is not waited for, as Postfix
// does by default (smtp_skip_quit_response).
func (s *session) quit() {
	s.ctx = context.Background()
	_ = s.write("QUIT\r\n", time.Second)
	s.close()
}

func (s *session) close() {
	// Not by way of TLS, which would wait to say goodbye.
	_ = s.raw.Close()
}

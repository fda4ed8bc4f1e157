package relay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
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

// lost is the trouble that an error of the connection means.
func (s *session) lost(doing string, err error) *trouble {
	t := &trouble{cause: err, status: smtp.EnhancedCode{4, 4, 2}, site: true}
	switch {
	case s.ctx.Err() != nil:
		return interrupted(s.ctx)
	case errors.Is(err, errProtocol):
		t.status = smtp.EnhancedCode{4, 5, 0}
		t.text = fmt.Sprintf("host %s: %v while %s", s.host.remote, err, doing)
	case errors.Is(err, os.ErrDeadlineExceeded):
		t.text = fmt.Sprintf("conversation with %s timed out while %s", s.host.remote, doing)
	default:
		t.text = fmt.Sprintf("lost connection with %s while %s", s.host.remote, doing)
	}
	return t
}

// interrupted is the trouble of a delivery whose context has ended.
func interrupted(ctx context.Context) *trouble {
	return &trouble{cause: context.Cause(ctx), status: smtp.EnhancedCode{4, 3, 2}, text: "delivery was interrupted on this side"}
}

// said is the trouble of a reply that was not the one hoped for. What is
// neither 4xx nor 5xx is a fault of the server and temporary.
func (s *session) said(command string, reply *smtp.SMTPError) *trouble {
	t := &trouble{reply: reply, remote: s.host.remote, status: status(reply), bounce: reply.Code/100 == 5,
		text: "in reply to " + command, site: reply.Code == 421}
	if reply.Code/100 != 4 && reply.Code/100 != 5 {
		t.status = smtp.EnhancedCode{4, 5, 0}
	}
	return t
}

// soften makes a trouble temporary and the destination's.
func (t *trouble) soften() *trouble {
	t.bounce, t.site = false, true
	t.status[0] = 4
	return t
}

// dialTrouble is the trouble of a connection that could not be made. That this
// machine has no more files or memory is no fault of the destination.
func dialTrouble(ctx context.Context, h host, err error) *trouble {
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	reason := err.Error()
	var errno syscall.Errno
	var netError net.Error
	switch {
	case errors.As(err, &errno):
		reason = errno.Error()
	case errors.As(err, &netError) && netError.Timeout(), errors.Is(err, context.DeadlineExceeded):
		reason = "connection timed out"
	}
	t := &trouble{cause: err, text: "connect to " + h.remote + ": " + reason, status: smtp.EnhancedCode{4, 4, 1}, site: true}
	switch errno {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS:
		t.status, t.site = smtp.EnhancedCode{4, 3, 0}, false
	}
	return t
}

// offers is what EHLO brought.
type offers struct {
	pipelining, eightBit, dsn, utf8, startTLS, size bool

	maxSize int64    // with size; 0 means that the server did not say
	auth    []string // mechanisms, upper case
}

// parseOffers reads the lines behind the first of a reply to EHLO.
func parseOffers(text string) offers {
	var o offers
	_, text, _ = strings.Cut(text, "\n")
	for line := range strings.SplitSeq(strings.ToUpper(text), "\n") {
		// "AUTH=LOGIN" and "SIZE=1000" are old forms of some servers.
		words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '=' })
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "PIPELINING":
			o.pipelining = true
		case "8BITMIME":
			o.eightBit = true
		case "DSN":
			o.dsn = true
		case "SMTPUTF8":
			o.utf8 = true
		case "STARTTLS":
			o.startTLS = true
		case "AUTH":
			o.auth = append(o.auth, words[1:]...)
		case "SIZE":
			o.size = true
			if len(words) > 1 {
				o.maxSize = sizeValue(words[1])
			}
		}
	}
	return o
}

// sizeValue reads what SIZE announces; what is no number announces nothing.
func sizeValue(s string) int64 {
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || n > 1<<58 {
			return 0
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n
}

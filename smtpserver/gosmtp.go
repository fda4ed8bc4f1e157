package smtpserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// ErrUnguarded is why GoSMTP refuses a connection that does not come from a
// GoSMTPListener.
var ErrUnguarded = errors.New("smtpserver: go-smtp's server must serve a GoSMTPListener")

// GoSMTP is a smtp.BackendFunc: it makes an Intake the backend of go-smtp's own
// server, which must serve a GoSMTPListener.
//
//	s := smtp.NewServer(smtp.BackendFunc(intake.GoSMTP))
//	err := s.Serve(smtpserver.GoSMTPListener(listener))
//
// That server cannot do all that ours can. Under it:
//   - there is no session before HELO: a refusal at connect or HELO is the
//     answer to the first HELO, and a later one is only seen at MAIL;
//   - BeforeData comes after 354, so that a full queue refuses the message when
//     the client has sent it;
//   - replies at MAIL and RCPT have its texts, VRFY always has its 252;
//   - a 421 or 521 of a restriction does not close the connection;
//   - a client that resets between two chunks of BDAT must connect again;
//   - HELO and EHLO cannot be told apart: Received says "ESMTP" for both;
//   - an AUTH that fails for a reason of ours is not 454 for every mechanism;
//   - nothing is told to a Reporter;
//   - the lone LF and CR of a message are not normalised, and a message that
//     ends in CR CR LF "." CR LF is not seen to end there.
func (in *Intake) GoSMTP(c *smtp.Conn) (smtp.Session, error) {
	if in.Queue == nil {
		return nil, ErrNoQueue
	}
	guard := guardOf(c.Conn())
	if guard == nil {
		in.log(context.Background(), slog.LevelError, "connection refused", "err", ErrUnguarded)
		return nil, &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 5}, Message: "Error: server configuration error"}
	}
	s := &guest{conn: c, guard: guard}
	s.client = mtakit.Client{ID: sessionID(), Addr: addrPort(guard.RemoteAddr()), Server: addrPort(guard.LocalAddr())}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(context.Background())
	s.visit = &visit{in: in, ctx: ctx, host: in.hostname(nil), facts: s.facts}
	s.visit.secured = func() bool { return false }
	if in.Resolver != nil {
		s.client.Name, s.client.ReverseName = in.clientName(ctx, s.client.Addr.Addr())
	}
	err := s.visit.connect()
	if err == nil {
		err = s.hello()
	}
	if err != nil {
		s.cancel()
		return nil, plain(err)
	}
	return s, nil
}

func sessionID() string { return fmt.Sprintf("%013x", rand.Uint64()>>12) }

// guest is a session under go-smtp's server.
//
// That server reads the chunks of BDAT in one goroutine and runs Data in
// another, and calls Reset and Logout while Data runs, the latter while it holds
// its own lock. So Data holds mu; Reset, which comes after it has ended Data's
// reader, waits for it; Logout must not wait, since Data may read from a
// connection that is closed only after it, and leaves the end to Data.
type guest struct {
	*visit
	conn   *smtp.Conn
	guard  *guardedConn
	cancel context.CancelFunc
	client mtakit.Client

	mu   sync.Mutex
	gone atomic.Bool // Logout was called
	over sync.Once
}

// facts collects what go-smtp's server knows of the client.
func (s *guest) facts() mtakit.Client {
	c := s.client
	c.HELO = heloName([]byte(s.conn.Hostname()))
	c.Protocol = "ESMTP"
	if s.conn.Server().LMTP {
		c.Protocol = "LMTP"
	}
	if state, ok := s.conn.TLSConnectionState(); ok {
		c.TLS = describeTLS(state)
		c.Protocol += "S"
	}
	if c.Login != "" {
		c.Protocol += "A"
	}
	return c
}

// hello asks about the name of HELO: this server does not tell of it, so it is
// looked at before each message.
func (s *guest) hello() error {
	_, err := s.visit.HELO(s.ctx, "", "", nil)
	return err
}

// Mail begins a transaction, unless the connection is broken: then the server
// runs what it has in its buffer.
func (s *guest) Mail(from string, opts *smtp.MailOptions) error {
	s.mu.Lock()
	defer s.unlock()
	if s.guard.broken.Load() != nil {
		return &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 4, 2}, Message: "Error: connection is broken"}
	}
	if heloName([]byte(s.conn.Hostname())) != s.visit.s.HELO {
		if err := s.hello(); err != nil {
			return plain(err)
		}
	}
	address, ok := wireForm(from)
	if !ok && from != "" {
		return &smtp.SMTPError{Code: 501, EnhancedCode: smtp.EnhancedCode{5, 1, 7}, Message: "Bad sender address syntax"}
	}
	return plain(s.visit.Mail(address, opts))
}

// Rcpt adds a recipient.
func (s *guest) Rcpt(to string, opts *smtp.RcptOptions) error {
	s.mu.Lock()
	defer s.unlock()
	address, ok := wireForm(to)
	if !ok {
		return &smtp.SMTPError{Code: 501, EnhancedCode: smtp.EnhancedCode{5, 1, 3}, Message: "Bad recipient address syntax"}
	}
	return plain(s.visit.Rcpt(address, opts))
}

// Data receives a message. What was cut off is refused, and the connection ends
// with it: this server would run the rest of the message as commands.
func (s *guest) Data(r io.Reader) error {
	s.mu.Lock()
	defer s.unlock()
	if s.gone.Load() {
		return cutOff
	}
	err := s.visit.Data(&guardedReader{r: r, guard: s.guard})
	return plain(err)
}

// Reset ends the transaction.
func (s *guest) Reset() {
	s.mu.Lock()
	defer s.unlock()
	s.visit.Reset()
}

// Logout ends the session, or has the method that runs end it.
func (s *guest) Logout() error {
	s.gone.Store(true)
	s.cancel()
	s.end()
	return nil
}

// unlock ends a method.
func (s *guest) unlock() {
	s.mu.Unlock()
	if s.gone.Load() {
		s.end()
	}
}

// end does what Logout wants, unless a method runs, whose unlock will do it.
func (s *guest) end() {
	if s.mu.TryLock() {
		defer s.mu.Unlock()
		s.over.Do(func() { s.visit.Logout() })
	}
}

// Auth begins an exchange.
func (s *guest) Auth(mech string) (sasl.Server, error) {
	s.mu.Lock()
	defer s.unlock()
	server, err := s.visit.Auth(mech)
	if err != nil {
		return nil, plain(err)
	}
	return &login{server.(*exchange), s}, nil
}

// login notes who logs in, since go-smtp's server does not tell.
type login struct {
	*exchange
	s *guest
}

// Next is the mechanism's next step.
func (l *login) Next(response []byte) (challenge []byte, done bool, err error) {
	challenge, done, err = l.exchange.Next(response)
	switch {
	case err != nil && (errors.Is(err, smtp.ErrAuthFailed) || errors.Is(err, sasl.ErrUnexpectedClientResponse)):
		return nil, done, smtp.ErrAuthFailed
	case err != nil:
		if _, ok := mtakit.AsReply(err); !ok {
			err = &smtp.SMTPError{Code: 454, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "Temporary authentication failure"}
		}
		return nil, done, plain(err)
	case l.done:
		l.s.client.Login, l.s.client.Mech = l.Identity(), l.mech
	}
	return challenge, done, nil
}

// plain makes of err what go-smtp's server understands: it looks at no wrapped
// errors, takes each that is no reply for a permanent one, and shows its text.
func plain(err error) error {
	if err == nil {
		return nil
	}
	reply, ok := mtakit.AsReply(err)
	if !ok {
		reply = temporary
	}
	clean := *reply
	clean.Message = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f {
			return ' '
		}
		return r
	}, reply.Message)
	return &clean
}

// wireForm quotes the local part of an address where it must be: go-smtp's
// server hands it out without its quotes.
func wireForm(address string) (string, bool) {
	at := strings.LastIndexByte(address, '@')
	local, domain := address, ""
	if at >= 0 {
		local, domain = address[:at], address[at:]
		if !isDomain([]byte(domain[1:]), false) {
			return "", false
		}
	}
	for i := range len(local) {
		if local[i] < ' ' || local[i] == 0x7f {
			return "", false
		}
	}
	if isDotString([]byte(local)) {
		return address, true
	}
	var b bytes.Buffer
	b.WriteByte('"')
	for i := range len(local) {
		if local[i] == '"' || local[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(local[i])
	}
	b.WriteByte('"')
	return b.String() + domain, local != ""
}

// GoSMTPListener makes the connections of l safe for go-smtp's server: after the
// first error of a read nothing more can be read from one, and a message that
// was being received then is refused. Without it that server takes a BDAT chunk
// that a disconnect has cut off for a whole one, and runs the rest of a message
// whose reading timed out as commands. TLS goes above it, as STARTTLS does.
func GoSMTPListener(l net.Listener) net.Listener { return guardedListener{l} }

type guardedListener struct{ net.Listener }

// Accept waits for a connection.
func (l guardedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &guardedConn{Conn: c}, nil
}

// guardedConn is a connection that stays broken.
type guardedConn struct {
	net.Conn
	broken atomic.Pointer[error]
}

// Read reads, unless a read has failed before.
func (c *guardedConn) Read(p []byte) (int, error) {
	if err := c.broken.Load(); err != nil {
		return 0, *err
	}
	n, err := c.Conn.Read(p)
	if err != nil {
		c.poison(err)
	}
	return n, err
}

func (c *guardedConn) poison(err error) { c.broken.CompareAndSwap(nil, &err) }

// guardOf finds the guardedConn below TLS.
func guardOf(c net.Conn) *guardedConn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	guard, _ := c.(*guardedConn)
	return guard
}

// guardedReader is a message's reader that knows how its connection is.
type guardedReader struct {
	r     io.Reader
	guard *guardedConn
}

// Read makes the end of a message on a broken connection an error. An error that
// is no reply leaves an unknown part of the message behind, which must not be
// read as commands. After a reset between chunks (smtp.ErrDataReset) go-smtp
// v0.25.1 may take the result of the old message for that of the next.
func (g *guardedReader) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	if err == nil {
		return n, nil
	}
	if broken := g.guard.broken.Load(); broken != nil {
		return n, fmt.Errorf("%w: %w", cutOff, *broken)
	}
	if _, ok := mtakit.AsReply(err); err != io.EOF && !ok {
		g.guard.poison(err)
	}
	return n, err
}

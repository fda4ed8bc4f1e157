package smtpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mtakit/mtakit"
)

// ErrServerClosed is what Serve and ServeConn return after Shutdown or Close.
var ErrServerClosed = errors.New("smtpserver: server closed")

// BareNewline says what becomes of a LF without CR, and of a CR without LF, in
// a message. Neither ever ends the data: only CR LF "." CR LF does (RFC 5321,
// section 4.1.1.4), so that no message can be smuggled inside another.
type BareNewline int

const (
	// NormalizeNewlines makes a bare LF a CR LF and a bare CR a space. A line
	// that is only a dot and touches a bare LF is dropped. This is Postfix's
	// smtpd_forbid_bare_newline=normalize with cleanup_replace_stray_cr_lf=yes.
	NormalizeNewlines BareNewline = iota
	// RejectNewlines refuses the message: 550 5.5.2.
	RejectNewlines
)

// Server speaks SMTP or LMTP with the clients of its listeners. Its zero value
// with a Backend is ready to serve; the defaults are Postfix's. The fields must
// not be changed once Serve or ServeConn was called.
type Server struct {
	// Backend makes the session of each connection. It is the only required field.
	Backend Backend

	// Hostname is the name in the greeting and in replies, "mx.example.org"; ""
	// means what os.Hostname says.
	Hostname string
	// Banner is the text behind the host name in the greeting. It should start
	// with "ESMTP"; "" means "ESMTP mtakit", or "LMTP mtakit".
	Banner string
	// LMTP makes it speak LMTP (RFC 2033): LHLO, and an answer per recipient
	// after the message; false means SMTP.
	LMTP bool

	// TLSConfig is the TLS configuration; nil means no STARTTLS.
	TLSConfig *tls.Config
	// ImplicitTLS starts TLS with the first byte (port 465, RFC 8314) and needs
	// TLSConfig; false means plain text at first.
	ImplicitTLS bool
	// AllowInsecureAuth offers AUTH without TLS; false means only with TLS.
	AllowInsecureAuth bool

	// RequireHELO refuses MAIL before HELO, EHLO or LHLO; false means that it is
	// taken, as Postfix does.
	RequireHELO bool
	// Strict wants addresses as RFC 5321 spells them; false means that <> may be
	// missing, a space may follow the colon, and more.
	Strict bool
	// BareNewline is the policy for stray LF and CR; 0 means NormalizeNewlines.
	BareNewline BareNewline
	// BareNewlineAllowed are networks whose clients RejectNewlines spares: their
	// messages are normalized, and their commands may end in a bare LF; nil
	// means none.
	BareNewlineAllowed []netip.Prefix

	// MaxSize is the largest message in bytes, offered as SIZE (RFC 1870); 0
	// means no limit.
	MaxSize int64
	// MaxRecipients is how many recipients a message may have; 0 means 1000.
	MaxRecipients int
	// MaxLine is the longest command line in bytes, without its line end. AUTH
	// may have 12288 (RFC 4954, section 4.1); 0 means 2048.
	MaxLine int
	// MaxBodyLine is the longest line of a message in bytes, without its line
	// end; 0 means no limit.
	MaxBodyLine int

	// SoftErrors is the number of errors after which every reply is delayed by
	// ErrorDelay; 0 means 10.
	SoftErrors int
	// MaxErrors is the number of errors after which the connection is closed
	// with 421; 0 means 20. A message that is taken sets the count back.
	MaxErrors int
	// MaxJunk is how many commands that bring no mail on its way (HELO, EHLO,
	// NOOP, RSET, VRFY, ETRN, HELP) are free between two messages; each
	// further one counts as an error; 0 means 100.
	MaxJunk int
	// ErrorDelay is how long a reply waits after SoftErrors; 0 means a second,
	// and less than 0 none.
	ErrorDelay time.Duration

	// IdleTimeout is how long a client may take for a command line, for a part
	// of a message, and to read a reply; 0 means 300 seconds.
	IdleTimeout time.Duration
	// MinDataRate is how many bytes a second a client must send of a message on
	// the average, once IdleTimeout is used up; 0 means 500, less than 0 none.
	MinDataRate int
	// DataTimeout is how long we wait for a client's message over all; 0 means
	// an hour.
	DataTimeout time.Duration

	// MaxConns is how many connections are served at a time: further ones wait
	// to be accepted; 0 means 1000, less than 0 no limit.
	MaxConns int
	// MaxClientConns is how many of them one client may have, counted by IPv4
	// address and by IPv6 /84. Loopback is not counted; 0 means 50, less than 0
	// no limit.
	MaxClientConns int

	// Reporter is told of sessions in which something was refused, at their end,
	// with what was said; nil means that nobody is, and nothing is collected.
	Reporter Reporter
	// Logger gets faults and closed connections; nil means silence.
	Logger *slog.Logger
	// Observer is told of panics; nil means nobody is.
	Observer mtakit.Observer

	// buffers holds the big input buffers (*[]byte) that messages are read with.
	buffers sync.Pool

	mu        sync.Mutex
	ready     bool // the fields below are made
	closing   bool
	listeners map[net.Listener]struct{}
	conns     map[*Conn]struct{}
	clients   map[netip.Prefix]int
	slots     chan struct{} // one element for each connection of Serve; nil: no limit
	quit      chan struct{} // closed when Shutdown or Close begins
	drained   chan struct{} // closed when the last connection is gone after that
	ctx       context.Context
	cancel    context.CancelFunc
}

// Serve accepts the connections of l and serves each in a goroutine of its own,
// until Shutdown or Close, after which it returns ErrServerClosed, or until l
// fails for good, when it returns that error. It closes l.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.listen(l) {
		return ErrServerClosed
	}
	defer s.unlisten(l)
	for {
		if !s.acquire() {
			return ErrServerClosed
		}
		nc, err := s.accept(l)
		if err != nil {
			s.release()
			return err
		}
		c := s.newConn(nc)
		if !s.track(c) {
			s.release()
			nc.Close()
			return ErrServerClosed
		}
		go func() {
			defer s.release()
			defer s.untrack(c)
			c.serve()
		}()
	}
}

// ServeConn serves one connection that was accepted elsewhere, and closes it.
// It returns nil when the connection has ended, and ErrServerClosed without
// serving after Shutdown or Close. MaxConns does not count it.
func (s *Server) ServeConn(nc net.Conn) error {
	c := s.newConn(nc)
	if !s.track(c) {
		nc.Close()
		return ErrServerClosed
	}
	defer s.untrack(c)
	c.serve()
	return nil
}

// Shutdown closes the listeners and tells idle clients 421. A client that is in
// a transaction may finish its message, and is told 421 then. Shutdown returns
// nil when all connections have ended, or the error of ctx when that comes
// first; Close ends the rest. Neither may be called from a session's method.
func (s *Server) Shutdown(ctx context.Context) error {
	for _, c := range s.stop() {
		c.stop()
	}
	select {
	case <-s.drained:
		s.cancel()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close closes the listeners and all connections at once, ends the contexts of
// their sessions, and waits until these have returned. A message that is not
// yet acknowledged is not ours, and its client will send it again.
func (s *Server) Close() error {
	conns := s.stop()
	s.cancel()
	for _, c := range conns {
		c.netConn.Close()
	}
	<-s.drained
	return nil
}

// accept waits for a connection. Running out of descriptors passes, so it tries
// again after a while.
func (s *Server) accept(l net.Listener) (net.Conn, error) {
	for delay := 5 * time.Millisecond; ; delay = min(2*delay, time.Second) {
		nc, err := l.Accept()
		if err == nil {
			return nc, nil
		}
		var temporary interface{ Temporary() bool }
		if !errors.As(err, &temporary) || !temporary.Temporary() {
			if s.stopping() {
				err = ErrServerClosed
			}
			return nil, err
		}
		s.log().Error("accept failed", "err", err, "retry", delay)
		select {
		case <-time.After(delay):
		case <-s.quit:
			return nil, ErrServerClosed
		}
	}
}

func (s *Server) stopping() bool {
	select {
	case <-s.quit:
		return true
	default:
		return false
	}
}

func (s *Server) log() *slog.Logger {
	if s.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Logger
}

package smtpserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Conn is a client's connection, as its Backend and session see it. It belongs
// to the goroutine that serves it: only NetConn and Server may be called from
// others.
type Conn struct {
	server  *Server
	netConn net.Conn
	conn    net.Conn  // netConn, or TLS over it
	tls     *tls.Conn // nil without TLS
	client  mtakit.Client
	session smtp.Session
	ctx     context.Context
	cancel  context.CancelFunc
	tooMany bool // connections of this client

	in      input
	out     []byte    // replies that were not written yet
	broken  error     // why nothing can be written any more
	pending []byte    // a command that BDAT read and left to us
	waiting *patience // for what is being read
	line    patience

	verb      string // HELO, EHLO or LHLO; "" before it
	tx        transaction
	errors    int
	junk      int
	overshoot int  // recipients over the limit
	ending    bool // no more commands
	// transcript is what was said, when the server has a Reporter.
	transcript *transcript
	gone       bool // the client has closed the connection

	mu      sync.Mutex
	busy    bool // a transaction is open: Shutdown waits for it
	stopped bool // Shutdown or Close has begun
}

// transaction is what MAIL began (RFC 5321, section 3.3).
type transaction struct {
	mail  bool
	utf8  bool     // SMTPUTF8 was said
	rcpts int      // accepted ones
	names []string // their addresses, for LMTP
}

// Client returns what is known of the client now. ID, Addr and Server stay the
// same; HELO, Protocol, TLS, Login and Mech change with the commands, so that a
// session asks again when it needs them. Protocol does not know of SMTPUTF8,
// which belongs to a message: "ESMTPS" is "UTF8SMTPS" there (RFC 6531, section
// 4.3). Name and ReverseName are empty: the engine asks no DNS.
func (c *Conn) Client() mtakit.Client {
	client := c.client
	client.Protocol = c.protocol()
	return client
}

// protocol returns the name for Received's "with" clause (RFC 3848).
func (c *Conn) protocol() string {
	name := ""
	switch c.verb {
	case "":
		return ""
	case "HELO":
		return "SMTP"
	case "EHLO":
		name = "ESMTP"
	case "LHLO":
		name = "LMTP"
	}
	if c.tls != nil {
		name += "S"
	}
	if c.client.Login != "" {
		name += "A"
	}
	return name
}

// TLSConnectionState returns the state of TLS; ok is false without TLS.
func (c *Conn) TLSConnectionState() (state tls.ConnectionState, ok bool) {
	if c.tls == nil {
		return tls.ConnectionState{}, false
	}
	return c.tls.ConnectionState(), true
}

// NetConn returns the connection as it was accepted, below TLS. Whoever reads
// or writes it breaks the dialogue; it is there for addresses and options.
func (c *Conn) NetConn() net.Conn { return c.netConn }

// Server returns the server that serves the connection.
func (c *Conn) Server() *Server { return c.server }

func (s *Server) newConn(nc net.Conn) *Conn {
	c := &Conn{server: s, netConn: nc, conn: nc}
	c.client.ID = fmt.Sprintf("%013s", strconv.FormatUint(rand.Uint64(), 36))
	c.client.Addr = addrPort(nc.RemoteAddr())
	c.client.Server = addrPort(nc.LocalAddr())
	c.in = input{src: clientReader{c}, pool: &s.buffers}
	if s.Reporter != nil {
		c.transcript = new(transcript)
	}
	c.in.buf = make([]byte, max(smallBuffer, limit(s.MaxLine, maxLine)+2))
	return c
}

// addrPort returns the address of a TCP end; zero for any other.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// serve is the life of a connection.
func (c *Conn) serve() {
	defer c.close()
	defer c.recovered()
	if c.tooMany {
		c.hostReply(421, smtp.EnhancedCode{4, 7, 0},
			fmt.Sprintf("Error: too many connections from unknown[%s]", c.client.Addr.Addr()))
		c.flush()
		return
	}
	if c.server.ImplicitTLS && !c.handshake() {
		return
	}
	c.greet()
	for !c.ending {
		if cmd, ok := c.next(); ok {
			c.run(cmd)
		}
	}
	c.flush()
}

// greet makes the session and says 220, or what the Backend says in its place.
func (c *Conn) greet() {
	session, err := c.server.Backend.NewSession(c.ctx, c)
	if err != nil {
		c.refuse(err)
		return
	}
	c.session = session
	if talksFirst(c.conn) {
		c.unsynchronized("greeting")
		return
	}
	c.reply(220, smtp.NoEnhancedCode, c.server.hostname()+" "+c.server.banner())
}

// refuse answers with err and ends the connection. A fault of ours is 421 here:
// 451 is no greeting (RFC 5321, section 4.3.2).
func (c *Conn) refuse(err error) {
	r := c.replyOf(err)
	if r == temporary || r.Code/100 == 2 {
		r = &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 0},
			Message: c.server.hostname() + " Error: temporary failure, try again later"}
	}
	c.send(r)
	c.ending = true
}

// unsynchronized ends the connection of a client that did not wait where it
// must (RFC 2920, section 3.1): what it sent may not be meant as commands.
func (c *Conn) unsynchronized(after string) {
	c.log(slog.LevelInfo, "improper command pipelining", "after", after)
	c.reply(554, smtp.EnhancedCode{5, 5, 0}, "Error: SMTP protocol synchronization")
	c.ending = true
}

func (c *Conn) log(level slog.Level, msg string, args ...any) {
	if c.server.Logger == nil {
		return
	}
	c.server.Logger.With("session", c.client.ID, "client", c.client.Addr.String()).
		Log(c.ctx, level, msg, args...)
}

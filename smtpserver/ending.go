package smtpserver

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// lingerTime is how long a client has to read our last reply.
const lingerTime = time.Second

// lost ends the connection after a failed read, with a word to a client that is
// still there.
func (c *Conn) lost(err error) {
	c.ending = true
	switch {
	case c.unwanted():
		c.goodbye()
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.log(slog.LevelInfo, "timeout", "helo", c.client.HELO)
		c.hostReply(421, smtp.EnhancedCode{4, 4, 2}, "Error: timeout exceeded")
	default:
		c.gone = true
		c.log(slog.LevelInfo, "lost connection", "err", err)
	}
}

// goodbye is what Shutdown has idle clients told.
func (c *Conn) goodbye() {
	c.hostReply(421, smtp.EnhancedCode{4, 3, 2}, "Error: service shutting down")
}

// recovered makes a panic of the session the end of this connection, not of the
// process.
func (c *Conn) recovered() {
	r := recover()
	if r == nil {
		return
	}
	err := fmt.Errorf("panic: %v", r)
	c.log(slog.LevelError, "session panicked", "err", err, "stack", string(debug.Stack()))
	if c.server.Observer != nil {
		c.server.Observer.Observe(c.ctx, mtakit.Event{Time: time.Now(), Kind: mtakit.EventPanic,
			Session: c.client.ID, Err: err, Reason: "session panicked"})
	}
	c.hostReply(421, smtp.EnhancedCode{4, 3, 0}, "Error: internal error, closing connection")
	c.flush()
}

func (c *Conn) close() {
	c.logout()
	if c.ending && !c.gone {
		c.linger()
	}
	c.report()
	c.cancel()
	c.conn.Close()
}

// linger lets a client read our last reply. Closing a TCP connection on which it
// has sent more than we read would reset it, and the reply would be lost.
func (c *Conn) linger() {
	half, ok := c.netConn.(interface{ CloseWrite() error })
	if !ok || c.broken != nil {
		return
	}
	if c.tls != nil {
		c.tls.CloseWrite()
	}
	if half.CloseWrite() != nil {
		return
	}
	c.netConn.SetReadDeadline(time.Now().Add(lingerTime))
	io.CopyN(io.Discard, c.netConn, maxSkip)
}

// logout ends the session. A panic in it is not worth more than a line in the
// log: the client has gone.
func (c *Conn) logout() {
	s := c.session
	c.session = nil
	if s == nil {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			c.log(slog.LevelError, "logout panicked", "err", r, "stack", string(debug.Stack()))
		}
	}()
	if err := s.Logout(); err != nil {
		c.log(slog.LevelWarn, "logout failed", "err", err)
	}
}

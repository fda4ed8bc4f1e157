package smtpserver

import (
	"bytes"
	"errors"
	"io"
	"strconv"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

var chunkTooBig = &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 3, 4},
	Message: "Chunk exceeds message size limit"}

// bdat is the first BDAT of a message (RFC 3030). The session reads the message
// while its chunks come: the reader itself answers for a chunk and reads the
// next BDAT, so that there is no second goroutine.
func (c *Conn) bdat(arg []byte) {
	size, last, ok := c.bdatArgs(arg)
	if !ok {
		return
	}
	m := c.newMessage()
	m.more = func() error { return c.nextChunk(m) }
	c.beginChunk(m, size, last)
	if r := c.beforeMessage(); r != nil {
		if c.swallow(m) {
			c.send(r)
		}
		return
	}
	s := c.deliver(m)
	if r, ok := mtakit.AsReply(s.err); s.err == nil || ok && r.Code/100 == 2 {
		m.skip()
	}
	switch {
	case c.ending:
	case errors.Is(m.end, smtp.ErrDataReset):
		c.reset()
	case m.end != nil && m.end != io.EOF:
		c.lost(m.end)
	case c.swallow(m):
		c.conclude(m, s)
	}
}

// bdatArgs reads "size [LAST]". Behind a BDAT that we do not understand comes an
// unknown number of bytes that are no commands, so the connection ends.
func (c *Conn) bdatArgs(arg []byte) (size int64, last, ok bool) {
	count, rest, _ := bytes.Cut(arg, []byte{' '})
	rest = trimSpace(rest)
	last = foldEqual(rest, "LAST")
	size, err := parseSize(count)
	switch {
	case errors.Is(err, strconv.ErrRange):
		c.send(chunkTooBig)
	case err != nil || len(rest) > 0 && !last:
		c.reply(501, smtp.EnhancedCode{5, 5, 4}, "Syntax: BDAT count [LAST]")
	default:
		return size, last, true
	}
	c.ending = true
	return 0, false, false
}

// beginChunk makes m read the next chunk.
func (c *Conn) beginChunk(m *message, size int64, last bool) {
	c.in.grow()
	c.waiting = &m.patience
	m.chunk, m.left, m.last = size, size, last
	if m.maxSize > 0 && size > m.maxSize-m.size {
		m.refuse(chunkTooBig)
	}
}

// nextChunk answers for the chunk that was read and waits for the next. A client
// that resets or leaves makes it smtp.ErrDataReset.
func (c *Conn) nextChunk(m *message) error {
	c.reply(250, smtp.EnhancedCode{2, 0, 0}, "Ok: "+strconv.FormatInt(m.chunk, 10)+" bytes")
	for {
		cmd, ok := c.next()
		if c.ending {
			return io.ErrUnexpectedEOF
		}
		if !ok {
			continue
		}
		var buf [12]byte
		verb, arg := split(cmd, &buf)
		if string(verb) == "BDAT" {
			size, last, ok := c.bdatArgs(arg)
			if !ok {
				return io.ErrUnexpectedEOF
			}
			c.beginChunk(m, size, last)
			return nil
		}
		if c.leavesBDAT(verb, cmd) {
			c.pending = bytes.Clone(cmd)
			return smtp.ErrDataReset
		}
	}
}

// leavesBDAT runs a command between two chunks. It reports whether the command
// is one that ends the transaction instead.
func (c *Conn) leavesBDAT(verb, cmd []byte) bool {
	_, known := commandOf(verb)
	switch string(verb) {
	case "RSET", "QUIT", "HELO", "EHLO", "LHLO":
		return true
	case "NOOP", "HELP":
		known = false
	}
	if known {
		c.reply(503, smtp.EnhancedCode{5, 5, 1}, "Error: "+string(verb)+" after BDAT")
		return false
	}
	c.run(cmd)
	return false
}

// swallow takes what is left of the chunk. It reports whether the client is
// still there.
func (c *Conn) swallow(m *message) bool {
	c.waiting = &m.patience
	for m.left > 0 {
		if len(c.in.buffered()) == 0 {
			if err := c.in.fill(); err != nil {
				c.lost(err)
				return false
			}
		}
		m.take(int(min(m.left, int64(len(c.in.buffered())))))
	}
	return true
}

package smtpserver

import (
	"fmt"
	"log/slog"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

const (
	maxReplyLine = 510  // octets without CR LF (RFC 5321, section 4.5.3.1.5)
	maxUnsent    = 4096 // bytes of replies that wait for the end of a pipelined group

	// lastWords is how long the reply may take that ends a connection.
	lastWords = 5 * time.Second
)

// temporary is what a client is told of a fault of ours.
var temporary = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0},
	Message: "Error: temporary failure, try again later"}

// reply answers with one line of our own.
func (c *Conn) reply(code int, status smtp.EnhancedCode, text string) {
	c.send(&smtp.SMTPError{Code: code, EnhancedCode: status, Message: text})
}

// hostReply answers with our name before the text, as Postfix does where the
// reader may wonder who closes.
func (c *Conn) hostReply(code int, status smtp.EnhancedCode, text string) {
	c.reply(code, status, c.server.hostname()+" "+text)
}

// send puts a reply behind those that wait for the end of the pipelined group.
func (c *Conn) send(r *smtp.SMTPError) {
	if c.errors >= limit(c.server.SoftErrors, 10) {
		c.slowDown()
	}
	if r.Code >= 400 {
		c.errors++
	}
	if r.Code == 421 || r.Code == 521 {
		c.ending = true
	}
	start := len(c.out)
	c.out = appendReply(c.out, r)
	c.transcript.replied(r, c.out[start:])
	if len(c.out) > maxUnsent {
		c.flush()
	}
}

// answer tells what a session made of a command: ok when err is nil. It reports
// whether the client was told a success.
func (c *Conn) answer(err error, ok *smtp.SMTPError) bool {
	r := c.replyOf(err)
	if r == nil {
		r = ok
	}
	c.send(coded(r))
	return r.Code/100 == 2
}

// coded gives a reply the general status of its class when its session wants
// none: only the greeting and the answers to HELO, EHLO and LHLO may lack one
// (RFC 2034, section 4).
func coded(r *smtp.SMTPError) *smtp.SMTPError {
	if r.EnhancedCode != smtp.NoEnhancedCode {
		return r
	}
	c := *r
	c.EnhancedCode = smtp.EnhancedCode{r.Code / 100, 0, 0}
	return &c
}

// replyOf returns the reply in err, nil for nil, and a general one for a fault,
// whose cause is logged.
func (c *Conn) replyOf(err error) *smtp.SMTPError {
	if err == nil {
		return nil
	}
	r, ok := mtakit.AsReply(err)
	if ok && r.Code < 600 && (r.Code/100 == 2 || r.Code/100 == 4 || r.Code/100 == 5) {
		return r
	}
	c.log(slog.LevelError, "session failed", "err", err)
	return temporary
}

// slowDown waits for Postfix's smtpd_error_sleep_time.
func (c *Conn) slowDown() {
	delay := limit(c.server.ErrorDelay, time.Second)
	if delay <= 0 {
		return
	}
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	case <-c.server.quit:
	}
}

// flush writes all replies that wait.
func (c *Conn) flush() error {
	if len(c.out) == 0 || c.broken != nil {
		return c.broken
	}
	patience := limit(c.server.IdleTimeout, idleTimeout)
	if c.ending {
		patience = min(patience, lastWords)
	}
	c.conn.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.conn.Write(c.out); err != nil {
		c.broken = fmt.Errorf("write: %w", err)
	}
	c.out = c.out[:0]
	return c.broken
}

// appendReply writes a reply: one line for each line of its text, each with the
// enhanced code (RFC 2034, section 4).
func appendReply(b []byte, r *smtp.SMTPError) []byte {
	text := r.Message
	for {
		rest, more := "", false
		for i := range len(text) {
			if text[i] == '\n' {
				text, rest, more = text[:i], text[i+1:], true
				break
			}
		}
		b = appendLine(b, r, text, more)
		if !more {
			return b
		}
		text = rest
	}
}

func appendLine(b []byte, r *smtp.SMTPError, text string, more bool) []byte {
	start := len(b)
	b = strconv.AppendInt(b, int64(r.Code), 10)
	if more {
		b = append(b, '-')
	} else {
		b = append(b, ' ')
	}
	if r.EnhancedCode != smtp.NoEnhancedCode && r.Code/100 != 3 {
		b = appendStatus(b, r)
	}
	b = appendText(b, text, start+maxReplyLine)
	return append(b, '\r', '\n')
}

// appendStatus writes the enhanced code, whose class is always that of the
// reply code, whatever the session said (RFC 2034, section 4).
func appendStatus(b []byte, r *smtp.SMTPError) []byte {
	b = strconv.AppendInt(b, int64(r.Code/100), 10)
	for _, n := range r.EnhancedCode[1:] {
		b = append(b, '.')
		b = strconv.AppendInt(b, int64(max(n, 0)), 10)
	}
	return append(b, ' ')
}

// appendText writes text up to the length end of b, with a space for what is
// not printable: nothing that a client made us repeat becomes a line of its own.
func appendText(b []byte, text string, end int) []byte {
	for _, r := range text {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			r = ' '
		}
		if len(b)+utf8.RuneLen(r) > end {
			break
		}
		b = utf8.AppendRune(b, r)
	}
	return b
}

package smtpserver

import (
	"github.com/emersion/go-smtp"
)

// data is DATA (RFC 5321, section 4.1.1.4).
func (c *Conn) data([]byte) {
	if r := c.beforeMessage(); r != nil {
		c.send(r)
		return
	}
	c.reply(354, smtp.NoEnhancedCode, "End data with <CR><LF>.<CR><LF>")
	m := c.newMessage()
	m.dots, m.last = true, true
	s := c.deliver(m)
	if err := m.drain(); err != nil {
		// Nothing is acknowledged, and what comes further is not run as commands.
		c.lost(err)
		return
	}
	c.conclude(m, s)
}

// beforeMessage returns why there cannot be a message now, or nil.
func (c *Conn) beforeMessage() *smtp.SMTPError {
	switch {
	case !c.tx.mail:
		return &smtp.SMTPError{Code: 503, EnhancedCode: smtp.EnhancedCode{5, 5, 1}, Message: "Error: need RCPT command"}
	case c.tx.rcpts == 0:
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 5, 1}, Message: "Error: no valid recipients"}
	}
	s, ok := c.session.(BeforeDataSession)
	if !ok {
		return nil
	}
	r := c.replyOf(s.BeforeData(c.ctx))
	if r == nil || r.Code/100 == 2 {
		return nil
	}
	return coded(r)
}

// newMessage returns the reader for a message, with the big buffer under it.
func (c *Conn) newMessage() *message {
	c.in.grow()
	m := &message{
		in:       &c.in,
		patience: c.server.forMessage(),
		reject:   c.server.BareNewline == RejectNewlines && !c.bareAllowed(),
		host:     c.server.hostname(),
		maxSize:  c.server.MaxSize,
		maxLine:  c.server.MaxBodyLine,
	}
	c.waiting = &m.patience
	return m
}

// delivery is what a session said of a message: one result for all recipients,
// and under LMTP those that it gave to single ones.
type delivery struct {
	err  error
	each *statuses
}

// deliver gives the message to the session.
func (c *Conn) deliver(m *message) (d delivery) {
	lmtp, ok := c.session.(smtp.LMTPSession)
	if !c.server.LMTP || !ok {
		d.err = c.session.Data(m)
		return d
	}
	d.each = newStatuses(c.tx.names)
	d.err = lmtp.LMTPData(m, d.each)
	return d
}

// conclude answers for a message that was read to its end, or to the end of the
// chunk at which it failed, and ends the transaction.
func (c *Conn) conclude(m *message, d delivery) {
	if m.refusal != nil {
		d = delivery{err: m.refusal}
	}
	taken := false
	if c.server.LMTP && m.last {
		taken = c.answerEach(d)
	} else {
		taken = c.answer(d.err, okReply)
	}
	if taken {
		c.errors, c.junk = 0, 0
	}
	c.reset()
}

package smtpserver

import (
	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

var (
	mailReply = &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 1, 0}, Message: "Ok"}
	rcptReply = &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 1, 5}, Message: "Ok"}
)

// mail is MAIL (RFC 5321, section 4.1.1.2).
func (c *Conn) mail(arg []byte) {
	switch {
	case c.server.RequireHELO && c.verb == "":
		c.reply(503, smtp.EnhancedCode{5, 5, 1}, "Error: send HELO/EHLO first")
		return
	case c.tx.mail:
		c.reply(503, smtp.EnhancedCode{5, 5, 1}, "Error: nested MAIL command")
		return
	case len(arg) <= 5 || !foldEqual(arg[:5], "FROM:"):
		c.reply(501, smtp.EnhancedCode{5, 5, 4}, "Syntax: MAIL FROM:<address>")
		return
	}
	from, err := parsePath(arg[5:], c.server.Strict)
	if err != nil {
		c.reply(501, smtp.EnhancedCode{5, 1, 7}, "Bad sender address syntax")
		return
	}
	opts := new(smtp.MailOptions)
	extra, bad := c.mailParams(from.rest, opts)
	if bad == nil && !from.ascii && !opts.UTF8 {
		bad = unicodeReply
	}
	if bad != nil {
		c.send(bad)
		return
	}
	if err = c.extraParams("MAIL", extra); err == nil {
		err = c.session.Mail(from.address, opts)
	}
	if c.answer(err, mailReply) {
		c.tx.mail, c.tx.utf8 = true, opts.UTF8
		c.setBusy(true)
	}
}

// rcpt is RCPT (RFC 5321, section 4.1.1.3).
func (c *Conn) rcpt(arg []byte) {
	switch {
	case !c.tx.mail:
		c.reply(503, smtp.EnhancedCode{5, 5, 1}, "Error: need MAIL command")
		return
	case len(arg) <= 3 || !foldEqual(arg[:3], "TO:"):
		c.reply(501, smtp.EnhancedCode{5, 5, 4}, "Syntax: RCPT TO:<address>")
		return
	}
	to, err := parsePath(arg[3:], c.server.Strict)
	if err != nil || to.address == "" {
		c.reply(501, smtp.EnhancedCode{5, 1, 3}, "Bad recipient address syntax")
		return
	}
	opts := new(smtp.RcptOptions)
	extra, bad := c.rcptParams(to.rest, opts)
	if bad == nil && !to.ascii && !c.tx.utf8 {
		bad = unicodeReply
	}
	if bad != nil {
		c.send(bad)
		return
	}
	if c.tx.rcpts >= limit(c.server.MaxRecipients, 1000) {
		c.tooManyRecipients()
		return
	}
	if err = c.extraParams("RCPT", extra); err == nil {
		err = c.session.Rcpt(to.address, opts)
	}
	if c.answer(err, rcptReply) {
		c.tx.rcpts++
		if c.server.LMTP {
			c.tx.names = append(c.tx.names, to.address)
		}
	}
}

// maxOvershoot is Postfix's smtpd_recipient_overshoot_limit: a client with a
// long list may run into the limit in good faith, and will send the rest later.
const maxOvershoot = 1000

func (c *Conn) tooManyRecipients() {
	c.reply(452, smtp.EnhancedCode{4, 5, 3}, "Error: too many recipients")
	if c.overshoot++; c.overshoot <= maxOvershoot {
		c.errors--
	}
}

// extraParams gives the session the parameters that go-smtp has no field for.
func (c *Conn) extraParams(verb string, params []mtakit.Param) error {
	if len(params) == 0 {
		return nil
	}
	s, ok := c.session.(ParamSession)
	if !ok {
		return unsupported(params[0])
	}
	return s.Params(c.ctx, verb, params)
}

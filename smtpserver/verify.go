package smtpserver

import (
	"github.com/emersion/go-smtp"
)

// vrfy is VRFY (RFC 5321, section 4.1.1.6). RFC 6531, section 3.7.4.2, lets
// SMTPUTF8 follow the address.
func (c *Conn) vrfy(arg []byte) {
	if len(arg) == 0 {
		c.reply(501, smtp.EnhancedCode{5, 5, 4}, "Syntax: VRFY address")
		return
	}
	p, err := parsePath(arg, false)
	rest := trimSpace(p.rest)
	if err != nil || p.address == "" || len(rest) > 0 && !foldEqual(rest, "SMTPUTF8") {
		c.reply(501, smtp.EnhancedCode{5, 1, 3}, "Bad recipient address syntax")
		return
	}
	if s, ok := c.session.(VRFYSession); ok {
		err = s.VRFY(c.ctx, p.address)
	}
	c.answer(err, &smtp.SMTPError{Code: 252, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: p.address})
}

// etrn is ETRN (RFC 1985): "domain", "@domain" or "#queue".
func (c *Conn) etrn(arg []byte) {
	s, ok := c.session.(ETRNSession)
	switch {
	case !ok:
		c.send(unimplementedReply)
	case c.tx.mail:
		c.reply(503, smtp.EnhancedCode{5, 5, 1}, "Error: MAIL transaction in progress")
	case !isSite(arg):
		c.reply(501, smtp.EnhancedCode{5, 5, 4}, "Syntax: ETRN domain")
	default:
		c.answer(s.ETRN(c.ctx, string(arg)), &smtp.SMTPError{Code: 250,
			EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "Queuing started"})
	}
}

func isSite(arg []byte) bool {
	if len(arg) > 0 && (arg[0] == '@' || arg[0] == '#') {
		arg = arg[1:]
	}
	if len(arg) == 0 || len(arg) > maxDomain {
		return false
	}
	for _, ch := range arg {
		if ch <= ' ' || ch >= 0x7f {
			return false
		}
	}
	return true
}

package smtpserver

import (
	"bytes"
	"errors"
	"log/slog"

	"github.com/emersion/go-smtp"
)

// command is one verb of the protocol.
type command struct {
	run func(c *Conn, arg []byte)
	// junk commands bring no mail on its way: a client has MaxJunk of them.
	junk bool
	// last commands must end a pipelined group (RFC 2920, section 3.1): a client
	// that goes on without waiting is attacked or attacks.
	last bool
	// bare commands have no argument.
	bare bool
}

// commandOf returns the command of a verb. It is a switch, and not a map, so that
// the commands may look each other up.
func commandOf(verb []byte) (command, bool) {
	switch string(verb) {
	case "MAIL":
		return command{run: (*Conn).mail}, true
	case "RCPT":
		return command{run: (*Conn).rcpt}, true
	case "DATA":
		return command{run: (*Conn).data, last: true, bare: true}, true
	case "BDAT":
		return command{run: (*Conn).bdat}, true
	case "RSET":
		return command{run: (*Conn).rset, junk: true, bare: true}, true
	case "NOOP":
		return command{run: (*Conn).noop, junk: true}, true
	case "QUIT":
		return command{run: (*Conn).quit, bare: true}, true
	case "HELO":
		return command{run: (*Conn).helo, junk: true, last: true}, true
	case "EHLO":
		return command{run: (*Conn).ehlo, junk: true, last: true}, true
	case "LHLO":
		return command{run: (*Conn).lhlo, junk: true, last: true}, true
	case "STARTTLS":
		return command{run: (*Conn).startTLS, last: true, bare: true}, true
	case "AUTH":
		return command{run: (*Conn).auth}, true
	case "VRFY":
		return command{run: (*Conn).vrfy, junk: true}, true
	case "ETRN":
		return command{run: (*Conn).etrn, junk: true}, true
	case "HELP":
		return command{run: (*Conn).help, junk: true}, true
	case "EXPN", "SEND", "SOML", "SAML", "TURN":
		return command{run: (*Conn).unimplemented}, true
	}
	return command{}, false
}

// next reads a command. ok is false when there is none to run: it was answered,
// or the connection ends.
func (c *Conn) next() (cmd []byte, ok bool) {
	if cmd = c.pending; cmd != nil {
		c.pending = nil
		return cmd, true
	}
	if c.errors >= limit(c.server.MaxErrors, 20) {
		c.hostReply(421, smtp.EnhancedCode{4, 7, 0}, "Error: too many errors")
		return nil, false
	}
	if c.unwanted() {
		c.goodbye()
		return nil, false
	}
	c.in.shrink()
	l, err := c.readLine(limit(c.server.MaxLine, maxLine))
	switch {
	case errors.Is(err, errLineTooLong):
		c.reply(500, smtp.EnhancedCode{5, 5, 2}, "Error: line too long")
		return nil, false
	case errors.Is(err, errEndless):
		c.hostReply(421, smtp.EnhancedCode{4, 7, 0}, "Error: line too long")
		return nil, false
	case err != nil:
		c.lost(err)
		return nil, false
	}
	c.overheard(l.text)
	if l.bare && !isForbidden(l.text) && c.forbidBare() {
		return nil, false
	}
	return l.text, true
}

// overheard adds a command to the transcript, if there is one.
func (c *Conn) overheard(text []byte) {
	if c.transcript == nil {
		return
	}
	var mechs []string
	if s, ok := c.session.(smtp.AuthSession); ok && hasVerb(text, "AUTH") {
		mechs = s.AuthMechanisms()
	}
	c.transcript.said(text, mechs)
}

func (c *Conn) readLine(max int) (line, error) {
	c.line = c.server.forLine()
	c.waiting = &c.line
	return c.in.readLine(max)
}

// forbidBare answers a command that ends in a bare LF: it may be the rest of a
// message that another server saw as data, so it is not run (RFC 5321, section
// 2.3.8). RejectNewlines ends the connection too, as in Postfix.
func (c *Conn) forbidBare() bool {
	if c.bareAllowed() {
		return false
	}
	c.send(bareReply(c.server.hostname(), "<LF>"))
	c.ending = c.ending || c.server.BareNewline == RejectNewlines
	return true
}

// bareAllowed reports whether the client is on the exclusion list.
func (c *Conn) bareAllowed() bool {
	for _, p := range c.server.BareNewlineAllowed {
		if p.Contains(c.client.Addr.Addr()) {
			return true
		}
	}
	return false
}

// bareReply is Postfix's answer to a stray newline.
func bareReply(host, what string) *smtp.SMTPError {
	return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 5, 2},
		Message: host + " Error: bare " + what + " received"}
}

// split cuts a command line into its verb, in upper case in buf, and its
// argument without white space around it.
func split(text []byte, buf *[12]byte) (verb, arg []byte) {
	text = bytes.TrimLeft(text, " \t")
	n := 0
	for n < len(text) && text[n] != ' ' && text[n] != '\t' {
		n++
	}
	verb, arg = text[:n], bytes.Trim(text[n:], " \t")
	if n > len(buf) {
		return verb, arg
	}
	for i, ch := range verb {
		if 'a' <= ch && ch <= 'z' {
			ch -= 'a' - 'A'
		}
		buf[i] = ch
	}
	return buf[:n], arg
}

// run executes one command line.
func (c *Conn) run(text []byte) {
	var buf [12]byte
	verb, arg := split(text, &buf)
	cmd, known := commandOf(verb)
	switch {
	case len(verb) == 0:
		c.reply(500, smtp.EnhancedCode{5, 5, 2}, "Error: bad syntax")
		return
	case isForbidden(verb):
		c.log(slog.LevelInfo, "non-SMTP command", "line", string(text[:min(len(text), 100)]))
		c.reply(221, smtp.EnhancedCode{2, 7, 0}, "Error: I can break rules, too")
		c.ending = true
		return
	case !known:
		c.reply(500, smtp.EnhancedCode{5, 5, 2}, "Error: command not recognized")
		return
	case hasControl(arg):
		c.reply(501, smtp.EnhancedCode{5, 5, 2}, "Error: bad syntax")
		return
	case cmd.bare && len(arg) > 0:
		c.reply(501, smtp.EnhancedCode{5, 5, 4}, "Syntax: "+string(verb))
		return
	case cmd.last && len(c.in.buffered()) > 0:
		c.unsynchronized(string(verb))
		return
	}
	if cmd.junk {
		c.countJunk()
	}
	cmd.run(c, arg)
}

func (c *Conn) countJunk() {
	c.junk++
	if c.junk > limit(c.server.MaxJunk, 100) {
		c.errors++
	}
}

// isForbidden is Postfix's smtpd_forbidden_commands: a browser, a proxy, or what
// is no command at all. It goes before all else, so that these end at once. "*"
// is spared: Go's clients cancel an AUTH with it that has already failed.
func isForbidden(text []byte) bool {
	var buf [12]byte
	verb, _ := split(text, &buf)
	switch string(verb) {
	case "", "*":
		return false
	case "CONNECT", "GET", "POST":
		return true
	}
	return verb[0] < 'A' || verb[0] > 'z' || 'Z' < verb[0] && verb[0] < 'a'
}

// hasControl reports whether an argument holds a control character other than a
// tab. A CR or NUL there has no honest use.
func hasControl(arg []byte) bool {
	for _, ch := range arg {
		if ch < ' ' && ch != '\t' || ch == 0x7f {
			return true
		}
	}
	return false
}

// The replies that need no thought.
var (
	okReply   = &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "Ok"}
	byeReply  = &smtp.SMTPError{Code: 221, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "Bye"}
	helpReply = &smtp.SMTPError{Code: 214, EnhancedCode: smtp.EnhancedCode{2, 0, 0},
		Message: "Commands: AUTH BDAT DATA EHLO ETRN HELO HELP LHLO MAIL NOOP QUIT RCPT RSET STARTTLS VRFY"}
	unimplementedReply = &smtp.SMTPError{Code: 502, EnhancedCode: smtp.EnhancedCode{5, 5, 1},
		Message: "Error: command not implemented"}
)

func (c *Conn) noop([]byte) { c.send(okReply) }

func (c *Conn) help([]byte) { c.send(helpReply) }

func (c *Conn) unimplemented([]byte) { c.send(unimplementedReply) }

func (c *Conn) quit([]byte) {
	c.send(byeReply)
	c.ending = true
}

func (c *Conn) rset([]byte) {
	c.reset()
	c.send(okReply)
}

// reset forgets the transaction (RFC 5321, section 4.1.1.5).
func (c *Conn) reset() {
	c.tx = transaction{names: c.tx.names[:0]}
	c.overshoot = 0
	c.setBusy(false)
	c.session.Reset()
}

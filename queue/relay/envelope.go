package relay

import (
	"strconv"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/internal/wire"
)

// mismatch is what the message needs and the server does not offer.
func (t *transaction) mismatch() *trouble {
	s, e := t.session, t.d.Envelope
	size := t.d.Message.Size()
	switch {
	case s.offers.maxSize > 0 && size > s.offers.maxSize:
		return &trouble{bounce: true, status: smtp.EnhancedCode{5, 3, 4}, text: "message size " + strconv.FormatInt(size, 10) +
			" exceeds size limit " + strconv.FormatInt(s.offers.maxSize, 10) + " of server " + s.host.remote}
	case !s.offers.utf8 && t.needsUTF8(e):
		return &trouble{bounce: true, status: smtp.EnhancedCode{5, 6, 7},
			text: "SMTPUTF8 is required, but was not offered by host " + s.host.remote}
	}
	return nil
}

// needsUTF8 reports whether the message cannot go out without SMTPUTF8 (RFC
// 6531): 8-bit text in an address, or in a header that the sender said may have it.
func (t *transaction) needsUTF8(e *mtakit.Envelope) bool {
	if !isASCII(e.Sender) {
		return true
	}
	for _, i := range t.index {
		if !isASCII(t.d.Recipients[i].Address) {
			return true
		}
	}
	if !e.Options.UTF8 {
		return false
	}
	for _, f := range t.d.Message.Header.All() {
		if !isASCII(string(f.Raw())) {
			return true
		}
	}
	return false
}

// commands returns all of the envelope.
func (t *transaction) commands(reused bool) []command {
	times := t.session.times
	commands := make([]command, 0, len(t.index)+3)
	if reused {
		commands = append(commands, command{name: nameRSET, text: "RSET\r\n", wait: times.RSET})
	}
	commands = append(commands, command{name: nameMAIL, text: t.mail(), wait: times.Mail})
	for _, i := range t.index {
		r := &t.d.Recipients[i]
		text := "RCPT TO:<" + r.Address + ">"
		if t.session.offers.dsn {
			text += rcptParameters(r, t.session.offers.utf8)
		}
		commands = append(commands, command{name: nameRCPT, text: text + "\r\n", wait: times.Rcpt, rcpt: i})
	}
	if t.probe {
		return commands
	}
	return append(commands, command{name: nameDATA, text: "DATA\r\n", wait: times.DataInit})
}

// mail returns the MAIL command with what the server offers of its parameters.
func (t *transaction) mail() string {
	e, offers := t.d.Envelope, t.session.offers
	text := "MAIL FROM:<" + e.Sender + ">"
	if offers.size && !t.probe {
		text += " SIZE=" + strconv.FormatInt(t.d.Message.Size(), 10)
	}
	if offers.eightBit && (e.Options.Body == smtp.Body8BitMIME || e.Options.UTF8 && offers.utf8) {
		text += " BODY=8BITMIME"
	}
	if offers.utf8 && (e.Options.UTF8 || t.needsUTF8(e)) {
		text += " SMTPUTF8"
	}
	if offers.dsn {
		if ret := e.Options.Return; ret == smtp.DSNReturnFull || ret == smtp.DSNReturnHeaders {
			text += " RET=" + string(ret)
		}
		if e.Options.EnvelopeID != "" {
			text += " ENVID=" + wire.Xtext(e.Options.EnvelopeID)
		}
	}
	return text + "\r\n"
}

package relay

import (
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// How much is sent before its replies are read. What is sent and what comes
// back must fit into the buffers of the two kernels: then neither side waits
// for the other to read, even if it reads nothing while it writes (RFC 2920,
// section 3.1).
const (
	windowBytes    = 8 << 10
	windowCommands = 100
)

// transaction is MAIL, RCPT, DATA and the message, once.
type transaction struct {
	*attempt
	session *session
	index   []int // recipients, into Delivery.Recipients

	answered bool  // a reply to RCPT came: what happens now is not the site's
	refused  bool  // MAIL was
	accepted []int // recipients, in the order of RCPT
	again    []int // recipients that the server took for too many
	ready    bool  // 354
	taken    bool  // the message, for somebody
	dead     bool  // an idle session turned out to be dead
}

// command is one line and whom it is about.
type command struct {
	name string // for the texts
	text string
	wait time.Duration
	rcpt int
}

const (
	nameRSET = "RSET"
	nameMAIL = "MAIL FROM command"
	nameRCPT = "RCPT TO command"
	nameDATA = "DATA command"
	nameEND  = "end of DATA command"
)

// run reports whether the session is in order afterwards.
func (t *transaction) run() (healthy bool) {
	if fault := t.mismatch(); fault != nil {
		t.finish(t.index, fault.result())
		return true
	}
	reused := t.session.used
	t.session.used = true
	if !t.envelope(t.commands(reused)) {
		return false
	}
	switch {
	case !t.ready:
		return true
	case len(t.accepted) == 0 || t.refused:
		// RFC 2920, section 3.1: DATA was sent before it was known that nobody
		// would take it.
		_, err := t.session.ask(".", t.session.times.DataDone)
		return err == nil
	case !t.send():
		return false
	}
	return t.end()
}

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
	return append(commands, command{name: nameDATA, text: "DATA\r\n", wait: times.DataInit})
}

// mail returns the MAIL command with what the server offers of its parameters.
func (t *transaction) mail() string {
	e, offers := t.d.Envelope, t.session.offers
	text := "MAIL FROM:<" + e.Sender + ">"
	if offers.size {
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
			text += " ENVID=" + xtext(e.Options.EnvelopeID)
		}
	}
	return text + "\r\n"
}

// envelope sends commands, as many at a time as may be, and takes the replies.
// It reports whether the session is in order.
func (t *transaction) envelope(commands []command) bool {
	for len(commands) > 0 {
		if t.refused || commands[0].name == nameDATA && len(t.accepted) == 0 {
			return true // what is left makes no sense any more
		}
		n := t.window(commands)
		var group strings.Builder
		for _, c := range commands[:n] {
			group.WriteString(c.text)
		}
		if err := t.session.write(group.String(), commands[0].wait); err != nil {
			return t.lost(commands[0], err)
		}
		for _, c := range commands[:n] {
			reply, err := t.session.read(c.wait)
			if err != nil {
				return t.lost(c, err)
			}
			if !t.answer(c, reply) {
				return false
			}
		}
		commands = commands[n:]
	}
	return true
}

// window returns how many commands may be sent at once.
func (t *transaction) window(commands []command) int {
	if !t.session.offers.pipelining {
		return 1
	}
	size := 0
	for i, c := range commands {
		size += len(c.text)
		if i > 0 && (size > windowBytes || i >= windowCommands) {
			return i
		}
	}
	return len(commands)
}

// answer takes one reply. It reports whether the session is in order.
func (t *transaction) answer(c command, reply *smtp.SMTPError) bool {
	if c.name == nameRSET {
		t.dead = reply.Code/100 != 2
		return !t.dead
	}
	t.answered = t.answered || c.name == nameRCPT
	if reply.Code == 421 { // RFC 5321, section 3.8: the server goes
		t.trouble(t.open(), t.session.said(c.name, reply))
		return false
	}
	want := 2
	if c.name == nameDATA {
		want = 3
	}
	switch class := reply.Code / 100; {
	case class == want:
		t.agreed(c)
	case class == 4 || class == 5:
		t.declined(c, reply)
	default: // the server and we are not in step
		t.trouble(t.open(), t.session.said(c.name, reply))
		return false
	}
	return true
}

func (t *transaction) agreed(c command) {
	switch c.name {
	case nameRCPT:
		if !t.refused {
			t.accepted = append(t.accepted, c.rcpt)
		}
	case nameDATA:
		t.ready = true
	}
}

func (t *transaction) declined(c command, reply *smtp.SMTPError) {
	switch c.name {
	case nameMAIL:
		t.refused = true
		t.settle(t.index, c.name, reply)
	case nameRCPT:
		if t.refused {
			return // what else could it say
		}
		if reply.Code == 552 { // RFC 5321, section 4.5.3.1.10: it means 452
			reply.Code, reply.EnhancedCode = 452, smtp.EnhancedCode{4, 5, 3}
		}
		if reply.Code == 452 {
			t.again = append(t.again, c.rcpt)
		}
		t.settle([]int{c.rcpt}, c.name, reply)
	case nameDATA:
		// After "no valid recipients" everybody has a result already.
		t.settle(t.accepted, c.name, reply)
		t.accepted = nil
	}
}

// settle gives recipients the result of a reply: final when it is permanent.
func (t *transaction) settle(index []int, name string, reply *smtp.SMTPError) {
	fault := t.session.said(name, reply)
	if fault.bounce {
		t.finish(index, fault.result())
	} else {
		t.trouble(index, fault)
	}
}

// open returns the recipients that this transaction has no result for yet.
func (t *transaction) open() []int {
	var index []int
	for _, i := range t.index {
		if !t.done[i] && !t.declinedHere(i) {
			index = append(index, i)
		}
	}
	return index
}

// declinedHere reports whether this server has said 4xx of a recipient.
func (t *transaction) declinedHere(i int) bool {
	return t.met[i] && t.results[i].Reply != nil && t.results[i].Remote == t.session.host.remote && !t.results[i].Site
}

// lost tells the recipients without result that the connection is gone.
func (t *transaction) lost(c command, err error) bool {
	if c.name == nameRSET && t.session.ctx.Err() == nil {
		t.dead = true
		return false
	}
	fault := t.session.lost("sending "+c.name, err)
	fault.site = fault.site && !t.answered
	fault.remote = t.session.host.remote
	t.trouble(t.open(), fault)
	return false
}

// send writes the message and the final dot.
func (t *transaction) send() bool {
	s := t.session
	s.patience = s.times.DataXfer
	data := &dataWriter{w: s.out}
	n, err := t.d.Message.WriteTo(data)
	if s.writeErr == nil && (err != nil || n != t.d.Message.Size()) {
		// Half a message must not look like a whole one: no dot, and no other
		// host will do better.
		t.agent.log().Error("message cannot be read", "id", t.d.ID, "read", n, "size", t.d.Message.Size(), "error", err)
		t.finish(t.accepted, mtakit.Result{Status: smtp.EnhancedCode{4, 3, 0}, Diagnostic: "message cannot be read from the queue"})
		return false
	}
	if err == nil {
		err = data.Close()
	}
	if err == nil {
		err = s.out.Flush()
	}
	if err != nil {
		return t.lost(command{name: "message body"}, err)
	}
	return true
}

// end waits for what the server says of the message. Nobody is tried elsewhere
// when it says nothing: it may have taken the message.
func (t *transaction) end() bool {
	if t.agent.LMTP {
		for k, i := range t.accepted {
			if !t.final([]int{i}, t.accepted[k:]) {
				return false
			}
		}
		return true
	}
	return t.final(t.accepted, t.accepted)
}

// final reads one reply to the end of data, for these recipients; rest are those
// that are lost with the connection.
func (t *transaction) final(index, rest []int) bool {
	s := t.session
	reply, err := s.readEnd()
	if err != nil {
		fault := s.lost("sending end of data -- message may be sent more than once", err)
		fault.site, fault.remote = false, s.host.remote
		t.finish(rest, fault.result())
		return false
	}
	switch reply.Code / 100 {
	case 2:
		t.taken = true
		t.finish(index, mtakit.Result{Outcome: mtakit.Relayed, Status: status(reply), Remote: s.host.remote, Reply: reply,
			DSN: s.offers.dsn})
		return true
	case 4, 5:
		if reply.Code == 421 {
			index = rest
		}
		t.settle(index, nameEND, reply)
		return reply.Code != 421
	}
	t.finish(rest, s.said(nameEND, reply).result())
	return false
}

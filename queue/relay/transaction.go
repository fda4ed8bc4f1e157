package relay

import (
	"strings"
	"time"

	"github.com/emersion/go-smtp"
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
		t.agreed(c, reply)
	case class == 4 || class == 5:
		t.declined(c, reply)
	default: // the server and we are not in step
		t.trouble(t.open(), t.session.said(c.name, reply))
		return false
	}
	return true
}

func (t *transaction) agreed(c command, reply *smtp.SMTPError) {
	switch {
	case c.name == nameDATA:
		t.ready = true
	case c.name != nameRCPT || t.refused:
	case t.probe:
		t.finish([]int{c.rcpt}, t.deliverable(reply))
	default:
		t.accepted = append(t.accepted, c.rcpt)
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

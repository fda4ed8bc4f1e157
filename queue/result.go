package queue

import (
	"slices"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// settle notes the result of recipient i.
func (r *run) settle(i int, result mtakit.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note(i, result)
}

// settleAll notes one result for several recipients, and goes on.
func (r *run) settleAll(index []int, result mtakit.Result) {
	r.mu.Lock()
	for _, i := range index {
		r.note(i, result)
	}
	r.mu.Unlock()
	r.advance()
}

// note is settle under mu.
func (r *run) note(i int, result mtakit.Result) {
	if result.Outcome < mtakit.Deferred || result.Outcome > mtakit.Bounced {
		result.Outcome = mtakit.Deferred
	}
	if result.Status == (smtp.EnhancedCode{}) {
		result.Status = smtp.EnhancedCode{generalClass(result.Outcome), 0, 0}
	}
	bound(&result)
	r.stored.Marks[i] = Mark{Recipient: i, State: r.state(i, result), Result: result}
	r.fresh = append(r.fresh, i)
	r.left--
	r.work(-1)
	if result.Outcome == mtakit.Deferred && !result.Site {
		r.mixed = true
	}
}

// reasonLimit is how many bytes are kept of what a server said: it is written
// down for every recipient.
const reasonLimit = 2048

func bound(r *mtakit.Result) {
	if len(r.Diagnostic) > reasonLimit {
		r.Diagnostic = r.Diagnostic[:reasonLimit]
	}
	if r.Reply != nil && len(r.Reply.Message) > reasonLimit {
		reply := *r.Reply
		reply.Message = reply.Message[:reasonLimit]
		r.Reply = &reply
	}
}

func generalClass(o mtakit.Outcome) int {
	switch o {
	case mtakit.Deferred:
		return 4
	case mtakit.Bounced:
		return 5
	}
	return 2
}

// state returns where a result takes a recipient. Failed stands for everything
// that the sender is still to be told of, a success that was asked for included.
func (r *run) state(i int, result mtakit.Result) State {
	switch {
	case result.Outcome == mtakit.Deferred:
		return Pending
	case result.Outcome == mtakit.Bounced && (r.wants(i, smtp.DSNNotifyFailure) || r.copied()):
		return Failed
	case result.Outcome != mtakit.Bounced && r.wantsSuccess(i, result):
		return Failed
	}
	return Done
}

// copied reports whether the postmaster has a copy of each notification of a
// failure, which the sender's NOTIFY does not concern.
func (r *run) copied() bool {
	e := r.stored.Envelope
	return e.Sender != "" && !r.m.isDoubleBounce(e) && r.m.noticeTo(NotifyBounce) != ""
}

// wants reports whether somebody is to be told of a failure, or the sender of a
// delay. Without NOTIFY he is told of both (RFC 3461, section 4.1).
func (r *run) wants(i int, what smtp.DSNNotify) bool {
	e := r.stored.Envelope
	if e.Sender == "" {
		return what == smtp.DSNNotifyFailure && r.m.noticeTo(Notify2Bounce) != ""
	}
	if r.m.isDoubleBounce(e) {
		return false
	}
	notify := e.Recipients[i].Options.Notify
	return len(notify) == 0 || slices.Contains(notify, what)
}

// wantsSuccess is false when the next server took over the duty to tell.
func (r *run) wantsSuccess(i int, result mtakit.Result) bool {
	e := r.stored.Envelope
	return e.Sender != "" && !r.m.isDoubleBounce(e) && !(result.Outcome == mtakit.Relayed && result.DSN) &&
		slices.Contains(e.Recipients[i].Options.Notify, smtp.DSNNotifySuccess)
}

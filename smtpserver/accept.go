package smtpserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

var (
	noRecipients = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 5, 1}, Message: "Error: no valid recipients"}
	tooManyHops  = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 4, 0}, Message: "Error: too many hops"}
	tooMuchHead  = &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 3, 4}, Message: "Error: message header too big"}
	notContent   = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "Error: message content rejected"}
	writeError   = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Error: queue file write error"}
	filterError  = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Error: content filter failed, try again later"}
	cutOff       = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 4, 2}, Message: "Error: message was not received completely"}
)

// errFilterPanic is wrapped by the error of a filter that panicked.
var errFilterPanic = errors.New("filter panicked")

// BeforeData asks the restrictions and begins the message in the queue, so that
// a full queue refuses before the client has sent anything.
func (v *visit) BeforeData(context.Context) error {
	env := v.s.Envelope
	if env == nil || len(env.Recipients) == 0 && !v.discard {
		return noRecipients
	}
	v.s.DeferIfPermit = nil
	if err := v.ask(mtakit.StageData); err != nil {
		return err
	}
	v.asked = true
	if v.discard {
		return nil
	}
	draft, err := v.in.Queue.Begin(v.ctx, env.Options.Size)
	if err != nil {
		return v.refused(v.fault("queue takes no message", err, writeError), env.Sender, "")
	}
	v.draft = sink{Draft: draft}
	return nil
}

// Data receives the message. Nothing of it is left behind when it fails.
func (v *visit) Data(r io.Reader) error {
	defer v.drop()
	if !v.asked {
		if err := v.BeforeData(v.ctx); err != nil {
			return err
		}
	}
	v.asked = false
	size, err := v.receive(r)
	if err != nil {
		return err
	}
	v.s.Size, v.s.DeferIfPermit = size, nil
	if err := v.ask(mtakit.StageEndOfData); err != nil {
		return err
	}
	if v.discard {
		return v.discarded(size)
	}
	return v.accept(size)
}

// receive streams the message into the draft.
func (v *visit) receive(r io.Reader) (int64, error) {
	if v.discard {
		return skip(r)
	}
	size, err := io.Copy(&v.draft, r)
	if err == nil {
		return size, nil
	}
	if v.draft.err != nil {
		return 0, v.refused(v.fault("message could not be written", v.draft.err, writeError), v.sender(), "")
	}
	v.log(slog.LevelInfo, "message was cut off or refused", "from", v.sender(), "bytes", size, "err", err)
	return 0, fmt.Errorf("receive: %w", err)
}

// discarded says yes to a message that goes nowhere.
func (v *visit) discarded(size int64) error {
	v.log(slog.LevelInfo, "discarded", "from", v.sender(), "size", size, "transaction", v.transaction())
	v.in.observe(v.ctx, mtakit.Event{Kind: mtakit.EventDiscarded, Session: v.s.ID, Sender: v.sender(), Size: size})
	return queued(v.transaction())
}

func queued(id string) *smtp.SMTPError {
	return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "Ok: queued as " + id}
}

// accept has the message filtered and committed.
func (v *visit) accept(size int64) error {
	// What the filters do to the envelope stays with this message.
	env := v.s.Envelope.Clone()
	m, err := v.draft.Message(v.ctx)
	if err != nil {
		return v.refused(v.fault("message could not be read", err, writeError), env.Sender, "")
	}
	if m.Header.Count("Received")+1 >= limit(v.in.MaxHops, 50) {
		return v.refused(tooManyHops, env.Sender, "")
	}
	if err := v.filter(env, m); err != nil {
		return v.refused(err, env.Sender, "")
	}
	if v.discard {
		return v.discarded(size)
	}
	if err := v.settle(env); err != nil {
		return v.refused(err, env.Sender, "")
	}
	if len(env.Recipients) == 0 {
		return v.refused(noRecipients, env.Sender, "")
	}
	v.complement(env, m)
	return v.commit(env, m)
}

// commit hands the message over. From its success on it is the queue's.
func (v *visit) commit(env *mtakit.Envelope, m *mtakit.Message) error {
	size := m.Size()
	id, err := v.draft.Commit(v.ctx, env, m)
	v.draft = sink{}
	if err != nil {
		return v.refused(v.fault("message could not be queued", err, writeError), env.Sender, "")
	}
	attrs := []any{"id", id, "transaction", v.transaction(), "from", env.Sender,
		"size", size, "nrcpt", len(env.Recipients), "login", v.s.Login}
	if env.Hold != "" {
		attrs = append(attrs, "hold", env.Hold)
	}
	v.log(slog.LevelInfo, "received", attrs...)
	v.in.observe(v.ctx, mtakit.Event{Kind: mtakit.EventReceived, Session: v.s.ID, ID: id,
		Sender: env.Sender, Size: size, Attrs: env.Attrs})
	return queued(id)
}

// fault returns the reply in err, or the one that stands for a fault of ours,
// whose cause is logged.
func (v *visit) fault(what string, err error, general *smtp.SMTPError) *smtp.SMTPError {
	reply, ok := mtakit.AsReply(err)
	if !ok || reply.Code < 400 {
		reply = general
	}
	v.log(slog.LevelError, what, "err", err)
	return reply
}

// filter asks the filter, which must see the whole header, and keeps its effects.
func (v *visit) filter(env *mtakit.Envelope, m *mtakit.Message) error {
	if v.in.Filter == nil {
		return nil
	}
	if m.Header.Cut() {
		// Whoever fills the first MiB with fields would hide the others.
		return tooMuchHead
	}
	verdict, err := v.guarded(env, m)
	if err != nil {
		return v.fault("filter failed", err, filterError)
	}
	v.report(&verdict)
	switch {
	case verdict.Action == mtakit.Discard:
		v.discard = true
	case verdict.Action == mtakit.Reject && verdict.Reply != nil && verdict.Reply.Code >= 400:
		return verdict.Reply
	case verdict.Action == mtakit.Reject:
		return notContent
	case verdict.DeferIfPermit != nil:
		return verdict.DeferIfPermit
	}
	v.keep(&verdict)
	return nil
}

// guarded makes a panic of the filter an error: one message that a filter cannot
// bear must not end the process, nor be lost.
func (v *visit) guarded(env *mtakit.Envelope, m *mtakit.Message) (verdict mtakit.Verdict, err error) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		err = fmt.Errorf("%w: %v", errFilterPanic, r)
		v.log(slog.LevelError, "filter panicked", "err", r, "stack", string(debug.Stack()))
		v.in.observe(v.ctx, mtakit.Event{Kind: mtakit.EventPanic, Session: v.s.ID, Sender: env.Sender,
			Err: err, Reason: "filter panicked"})
	}()
	return v.in.Filter.Filter(v.ctx, env, m)
}

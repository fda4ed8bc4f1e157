package smtpserver

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// ask asks the restrictions at a stage and applies what they decide. The error
// is the refusal, ready for the client.
func (v *visit) ask(stage mtakit.Stage) error {
	v.s.Stage = stage
	if v.in.Restrictions == nil || v.discard {
		return nil
	}
	verdict, err := v.in.Restrictions.Check(v.ctx, &v.s)
	if err != nil {
		return v.refused(v.classified(err), v.sender(), v.subject())
	}
	v.report(&verdict)
	if verdict.Action == mtakit.Reject {
		return v.refused(rejection(&verdict), v.sender(), v.subject())
	}
	if v.s.DeferIfPermit == nil {
		v.s.DeferIfPermit = verdict.DeferIfPermit
	}
	if verdict.Action != mtakit.Discard && v.s.DeferIfPermit != nil && stage >= mtakit.StageRcpt {
		return v.refused(v.s.DeferIfPermit, v.sender(), v.subject())
	}
	v.apply(stage, &verdict)
	return nil
}

// subject is the recipient in question, or "".
func (v *visit) subject() string {
	if v.s.Recipient == nil {
		return ""
	}
	return v.s.Recipient.OriginalAddress()
}

// classified returns the reply in err, or a general one, whose cause is logged.
func (v *visit) classified(err error) *smtp.SMTPError {
	if reply, ok := mtakit.AsReply(err); ok && reply.Code >= 400 {
		return reply
	}
	v.log(slog.LevelError, "restriction failed", "stage", v.s.Stage.String(), "err", err)
	switch {
	case v.s.Recipient != nil:
		return lookupFailed(v.subject())
	case v.s.Envelope != nil:
		return lookupFailed(v.s.Envelope.Sender)
	case v.s.Stage == mtakit.StageConnect:
		// The greeting has no 451 (RFC 5321, section 4.3.2).
		return &smtp.SMTPError{Code: 421, EnhancedCode: lookupFailure, Message: v.host + " Error: temporary lookup failure"}
	}
	return lookupFailed(v.s.HELO)
}

// rejection is the reply of a verdict that refuses.
func rejection(verdict *mtakit.Verdict) *smtp.SMTPError {
	if r := verdict.Reply; r != nil && r.Code >= 400 && r.Code < 600 {
		return r
	}
	return &smtp.SMTPError{Code: 554, EnhancedCode: relayDenied, Message: "Access denied"}
}

// replyText is a refusal as the client reads it, "550 5.1.1 User unknown".
func replyText(err error) string {
	reply, ok := mtakit.AsReply(err)
	if !ok {
		return err.Error()
	}
	if c := reply.EnhancedCode; c[0] > 0 {
		return fmt.Sprintf("%d %d.%d.%d %s", reply.Code, c[0], c[1], c[2], reply.Message)
	}
	return fmt.Sprintf("%d %s", reply.Code, reply.Message)
}

// refused logs a refusal, tells the observer, and returns it.
func (v *visit) refused(err error, sender, recipient string) error {
	v.log(slog.LevelInfo, "reject", "stage", v.s.Stage.String(), "reply", replyText(err),
		"from", sender, "to", recipient, "proto", v.s.Protocol, "helo", v.s.HELO)
	v.in.observe(v.ctx, mtakit.Event{Kind: mtakit.EventRejected, Session: v.s.ID, Sender: sender,
		Recipient: recipient, Err: err, Reason: v.s.Stage.String()})
	return err
}

// report logs what a verdict wants to have logged.
func (v *visit) report(verdict *mtakit.Verdict) {
	for _, text := range verdict.Log {
		v.log(slog.LevelWarn, text, "stage", v.s.Stage.String(), "from", v.sender(), "to", v.subject(), "helo", v.s.HELO)
	}
	if verdict.Reason != "" {
		v.log(slog.LevelInfo, verdict.Reason, "stage", v.s.Stage.String(), "action", verdict.Action.String())
	}
}

// apply keeps the effects of a verdict for the end of the message. Before MAIL
// there is no message that they could mean: Postfix skips them with a warning
// too.
func (v *visit) apply(stage mtakit.Stage, verdict *mtakit.Verdict) {
	if stage <= mtakit.StageHELO {
		if hasEffects(verdict) {
			v.log(slog.LevelWarn, "verdict has no effect before MAIL", "stage", stage.String(), "action", verdict.Action.String())
		}
		return
	}
	v.keep(verdict)
	if verdict.Action == mtakit.Discard {
		v.discard = true
	}
}

func hasEffects(d *mtakit.Verdict) bool {
	return d.Action == mtakit.Discard || d.Hold != "" || d.Redirect != "" || d.Filter != "" || len(d.BCC) > 0 || len(d.Prepend) > 0
}

// keep adds effects to those of the transaction. The client's list is asked for
// each recipient, so that what it has said already is not said twice.
func (v *visit) keep(verdict *mtakit.Verdict) {
	fresh := *verdict
	fresh.BCC = unsaid(v.effects.BCC, verdict.BCC)
	fresh.Prepend = unsaid(v.effects.Prepend, verdict.Prepend)
	fresh.Log = nil
	v.effects.Merge(fresh)
}

// unsaid returns those of more that are not in said.
func unsaid(said, more []string) (fresh []string) {
	for _, s := range more {
		if !slices.Contains(said, s) {
			fresh = append(fresh, s)
		}
	}
	return fresh
}

// settle writes the effects into the envelope. A REDIRECT goes in place of all
// recipients, those of BCC too, as in Postfix.
func (v *visit) settle(env *mtakit.Envelope) error {
	e := &v.effects
	if e.Hold != "" {
		env.Hold = e.Hold
	}
	if e.Filter != "" {
		env.Filter = e.Filter
	}
	if e.Redirect != "" {
		address, err := v.complete(e.Redirect)
		if err != nil {
			return err
		}
		env.Recipients = []mtakit.Recipient{{Address: address}}
		return nil
	}
	for _, bcc := range e.BCC {
		address, err := v.complete(bcc)
		if err != nil {
			return err
		}
		// The sender does not know of them, so that nothing is to be told him.
		env.Recipients = append(env.Recipients, mtakit.Recipient{Address: address,
			Options: smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyNever}}})
	}
	return nil
}

// prepended makes fields of the PREPEND texts. What is no field is logged: it
// would end the header, or forge another one.
func (v *visit) prepended(fields []mtakit.Field) []mtakit.Field {
	for _, text := range v.effects.Prepend {
		f, err := mtakit.ParseField(text)
		if err != nil {
			v.log(slog.LevelWarn, "PREPEND skipped", "err", err)
			continue
		}
		fields = append(fields, f)
	}
	return fields
}

// now is the time in the form of RFC 5322, section 3.3, as Postfix writes it.
func now(t time.Time) string { return t.Format("Mon, _2 Jan 2006 15:04:05 -0700 (MST)") }

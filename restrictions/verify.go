package restrictions

import (
	"context"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Verifier finds out whether mail for an address would be taken: Delivered,
// Relayed or Expanded means yes, Bounced no, Deferred that it is not known yet.
// An error means that it could not be asked. It answers within seconds and bounds
// what it asks others for strangers; verify.Cache is one.
type Verifier interface {
	Verify(ctx context.Context, address string) (mtakit.Result, error)
}

// VerifierFunc is a function that is a Verifier.
type VerifierFunc func(ctx context.Context, address string) (mtakit.Result, error)

// Verify calls f.
func (f VerifierFunc) Verify(ctx context.Context, address string) (mtakit.Result, error) {
	return f(ctx, address)
}

// RejectUnverifiedSender refuses senders to whom no mail can be sent: 450 4.1.7
// "<user@example.org>: Sender address rejected: unverified address: host
// mx.example.org[192.0.2.1]:25 said: 550 5.1.1 Unknown user (in reply to RCPT TO command)"
// (Postfix: reject_unverified_sender). The null sender is not looked at.
type RejectUnverifiedSender struct {
	// Verifier is asked with the full address; nil refuses nobody.
	Verifier Verifier
	// Code is for senders that are known to be undeliverable
	// (unverified_sender_reject_code): with a 5xx the text is "undeliverable
	// address". 0 means 450.
	Code int
	// DeferCode is for senders of whom that is not known
	// (unverified_sender_defer_code); 0 means 450.
	DeferCode int
}

// Check asks the verifier.
func (r RejectUnverifiedSender) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	if r.Verifier == nil || s.Envelope == nil || s.Envelope.Sender == "" {
		return mtakit.Verdict{}, nil
	}
	return verified(ctx, r.Verifier, s.Envelope.Sender, ofSender(s), smtp.EnhancedCode{4, 1, 7}, r.Code, r.DeferCode), nil
}

// RejectUnverifiedRecipient refuses recipients to whom no mail can be sent: 450
// 4.1.1 "<user@example.org>: Recipient address rejected: unverified address: ..."
// (Postfix: reject_unverified_recipient). It stands behind what refuses to relay,
// so that strangers are not asked for strangers.
type RejectUnverifiedRecipient struct {
	// Verifier is asked with the full address; nil refuses nobody.
	Verifier Verifier
	// Code is for recipients that are known to be undeliverable
	// (unverified_recipient_reject_code): with a 5xx the text is "undeliverable
	// address". 0 means 450.
	Code int
	// DeferCode is for recipients of whom that is not known
	// (unverified_recipient_defer_code); 0 means 450.
	DeferCode int
}

// Check asks the verifier.
func (r RejectUnverifiedRecipient) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	if r.Verifier == nil || s.Recipient == nil {
		return mtakit.Verdict{}, nil
	}
	return verified(ctx, r.Verifier, s.Recipient.Address, ofRecipient(s), smtp.EnhancedCode{4, 1, 1}, r.Code, r.DeferCode), nil
}

// verified decides as Postfix's reject_unverified_address: a 4xx refuses only
// what everything else permits (unverified_*_tempfail_action).
func verified(ctx context.Context, v Verifier, address string, what subject, status smtp.EnhancedCode, code, deferCode int) mtakit.Verdict {
	result, err := v.Verify(ctx, address)
	switch {
	case err != nil:
		return mtakit.Verdict{Reason: err.Error(), DeferIfPermit: what.reply(450, status, "address verification problem")}
	case result.Outcome == mtakit.Deferred:
		code = orCode(deferCode)
	case result.Outcome == mtakit.Bounced:
		code = orCode(code)
	default:
		return mtakit.Verdict{}
	}
	text := result.Diagnostic
	if text == "" && result.Reply != nil {
		text = result.Reply.Message
	}
	if code/100 == 4 {
		return mtakit.Verdict{DeferIfPermit: what.reply(code, status, "unverified address: "+text)}
	}
	return what.reject(code, status, "undeliverable address: "+text)
}

func orCode(code int) int {
	if code == 0 {
		return 450
	}
	return code
}

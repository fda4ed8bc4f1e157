package relay

import (
	"context"

	"github.com/mtakit/mtakit"

	"github.com/emersion/go-smtp"
)

// Verify asks the servers that Deliver would send to whether they take mail for
// the recipients: MAIL and RCPT, and no DATA (Postfix's address verification
// with smtp_address_verify_target=rcpt). The results are those of Deliver up to
// there, with Delivered for a recipient that was accepted. Connections are used
// again by deliveries, and the other way round.
//
// d needs no message; the sender is Envelope.Sender, as in Deliver.
func (a *Agent) Verify(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	question := *d
	question.Message, question.Report = mtakit.NewMessage(nil), nil
	t := newAttempt(a, &question)
	t.probe = true
	return a.attempt(ctx, t)
}

// deliverable is the result of a recipient that a server would take.
func (t *transaction) deliverable(reply *smtp.SMTPError) mtakit.Result {
	return mtakit.Result{Outcome: mtakit.Delivered, Status: status(reply), Remote: t.session.host.remote, Reply: reply}
}

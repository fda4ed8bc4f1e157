package restrictions

import (
	"context"

	"github.com/mtakit/mtakit"
)

// Router says how a recipient is reached. A route with a Reply is a refusal, and an
// error is temporary. It is called from any number of goroutines. rewrite.Router is one.
type Router interface {
	Route(ctx context.Context, env *mtakit.Envelope, rcpt *mtakit.Recipient) (mtakit.Route, error)
}

// RejectUnroutableRecipient refuses recipients whose mail would come back at once, such
// as those of the error and retry transports: 550 5.1.2 "<user@example.org>: Recipient
// address rejected: no such place". Postfix does that wherever it refuses unlisted
// recipients.
type RejectUnroutableRecipient struct {
	Router Router // nil refuses nobody
	// Replaced, asked with the full address, has those whose place others take before
	// mail is routed; they are not refused. nil means none.
	Replaced Table
}

// Check asks for the route.
func (r RejectUnroutableRecipient) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	if s.Recipient == nil || r.Router == nil {
		return mtakit.Verdict{}, nil
	}
	_, replaced, err := found(ctx, r.Replaced, s.Recipient.Address)
	if replaced && err == nil {
		return mtakit.Verdict{}, nil
	}
	var route mtakit.Route
	if err == nil {
		route, err = r.Router.Route(ctx, s.Envelope, s.Recipient)
	}
	switch {
	case err != nil:
		return ofRecipient(s).unknown(err), nil
	case route.Reply == nil:
		return mtakit.Verdict{}, nil
	}
	return ofRecipient(s).reject(route.Reply.Code, route.Reply.EnhancedCode, route.Reply.Message), nil
}

package queue

import (
	"context"

	"github.com/mtakit/mtakit"
)

// Queue takes messages. The Manager is one.
type Queue interface {
	// Begin starts a message. size is what the client declared with SIZE=, in
	// bytes, 0 when it did not. When there is no room the error is a
	// *smtp.SMTPError with 452 4.3.1. It may be called from any number of
	// goroutines at once.
	Begin(ctx context.Context, size int64) (mtakit.Draft, error)
}

// DeliveryAgent makes one attempt for the recipients of one delivery.
//
// It returns one result for each of d.Recipients, in their order; a missing
// one counts as deferred. It keeps nothing of d. It may be called from any
// number of goroutines at once. When ctx ends it gives up soon and reports the
// rest as deferred; it must not give up between the end of data and the answer
// to it unless it has to, since that is where mail is doubled.
type DeliveryAgent interface {
	Deliver(ctx context.Context, d *mtakit.Delivery) []mtakit.Result
}

// DeliveryAgentFunc is a function that is a DeliveryAgent.
type DeliveryAgentFunc func(ctx context.Context, d *mtakit.Delivery) []mtakit.Result

// Deliver calls f.
func (f DeliveryAgentFunc) Deliver(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	return f(ctx, d)
}

// Router says how a recipient is reached. It is asked before each attempt, from
// any number of goroutines. An error means that it could not be found out: the
// recipient is deferred.
type Router interface {
	Route(ctx context.Context, e *mtakit.Envelope, r *mtakit.Recipient) (mtakit.Route, error)
}

// RouterFunc is a function that is a Router.
type RouterFunc func(ctx context.Context, e *mtakit.Envelope, r *mtakit.Recipient) (mtakit.Route, error)

// Route calls f.
func (f RouterFunc) Route(ctx context.Context, e *mtakit.Envelope, r *mtakit.Recipient) (mtakit.Route, error) {
	return f(ctx, e, r)
}

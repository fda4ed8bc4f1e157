package rewrite

import (
	"context"
	"errors"
	"fmt"

	"github.com/mtakit/mtakit"
)

// Generic replaces addresses of mail that leaves for other servers, as generic(5)
// does: those of local users who have another address in the world. The zero value
// replaces nothing.
//
// The keys are those of Canonical; an address is replaced once.
type Generic struct {
	Table Table // nil means empty
	Keys
	Origin func() string // domain of values without one; nil or "" means that they stay so
}

// Map returns what an address is replaced by, in whatever place it stands.
func (g *Generic) Map(ctx context.Context, _ Class, address string) (string, error) {
	if g.Table == nil || address == "" {
		return address, nil
	}
	c := Canonical{Keys: g.Keys, Origin: g.Origin}
	next, ok, err := c.once(ctx, g.Table, address)
	if err != nil {
		return "", fmt.Errorf("generic: %w", err)
	}
	if !ok {
		return address, nil
	}
	return next, nil
}

// Agent delivers mail. Every agent of package queue is one.
type Agent interface {
	Deliver(ctx context.Context, d *mtakit.Delivery) []mtakit.Result
}

// Outgoing is a delivery agent that replaces the addresses of what another one
// delivers, in envelope and header, as smtp(8) does with generic(5). What lies in
// the queue, and what reports name, stays as it is. Both fields are required.
type Outgoing struct {
	Agent  Agent
	Mapper Mapper // Generic, or any other
}

// Deliver has the agent deliver a copy of d. Where the addresses cannot be
// replaced, the recipients are deferred.
func (o *Outgoing) Deliver(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	return o.pass(ctx, d, o.Agent.Deliver)
}

// Verify has the agent find out whether it would deliver, with the addresses that
// Deliver would give it. Of an agent that cannot, nothing is known: its recipients
// are deferred.
func (o *Outgoing) Verify(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	v, ok := o.Agent.(interface {
		Verify(ctx context.Context, d *mtakit.Delivery) []mtakit.Result
	})
	if !ok {
		return deferred(d, errors.New("the transport does not verify addresses"))
	}
	return o.pass(ctx, d, v.Verify)
}

func (o *Outgoing) pass(ctx context.Context, d *mtakit.Delivery, to func(context.Context, *mtakit.Delivery) []mtakit.Result) []mtakit.Result {
	next, err := o.rewrite(ctx, d)
	if err != nil {
		return deferred(d, fmt.Errorf("addresses cannot be rewritten: %w", err))
	}
	return to(ctx, next)
}

// deferred is the same result for all recipients.
func deferred(d *mtakit.Delivery, err error) []mtakit.Result {
	results := make([]mtakit.Result, len(d.Recipients))
	for i := range results {
		results[i] = mtakit.ResultOf(err)
		results[i].Outcome = mtakit.Deferred
	}
	return results
}

// rewrite returns the delivery with other addresses. It shares what stays.
func (o *Outgoing) rewrite(ctx context.Context, d *mtakit.Delivery) (*mtakit.Delivery, error) {
	next, envelope, message := *d, *d.Envelope, *d.Message
	var err error
	if envelope.Sender, err = o.Mapper.Map(ctx, EnvelopeSender, envelope.Sender); err != nil {
		return nil, err
	}
	next.Recipients = make([]mtakit.Recipient, len(d.Recipients))
	for i := range d.Recipients {
		address, err := o.Mapper.Map(ctx, EnvelopeRecipient, d.Recipients[i].Address)
		if err != nil {
			return nil, err
		}
		next.Recipients[i] = replaced(&d.Recipients[i], address)
	}
	header, err := RewriteHeader(ctx, message.Header, o.Mapper)
	if err != nil {
		return nil, err
	}
	if header != nil {
		message.Header = header
	}
	next.Envelope, next.Message = &envelope, &message
	return &next, nil
}

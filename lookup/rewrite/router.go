package rewrite

import (
	"context"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Router says how a recipient is reached, as Postfix's trivial-rewrite resolves
// addresses: the class of the domain gives the default, Transport overrides it,
// Relocated refuses. It is asked at each attempt, so that a changed table is in
// force for what waits in the queue. The zero value sends everything to the
// mail exchangers of its domain.
//
// There are two classes: domains of Domains are ours and have mailboxes, all
// others are remote.
type Router struct {
	// Domains has our own domains, by name. nil means none.
	Domains Table
	// Mailboxes has the addresses that have a mailbox, user@domain or @domain.
	// Others in our domains are refused, 550 5.1.1: a mailbox may go after its
	// mail was accepted. nil means that every user of our domains has one.
	Mailboxes  Table
	Keys                  // for Mailboxes
	Transport  *Transport // nil means that nothing overrides the class
	Relocated  *Relocated // nil means that nobody has moved
	RelayHost  string     // next hop of remote mail: "example.net", "[192.0.2.1]:2525" (no MX); "" means the recipient's domain
	LocalName  string     // transport of our own domains; "" means "local"
	RemoteName string     // transport of other domains; "" means "smtp"
}

// Route returns the route of a recipient. The error is a table's; the recipient
// is to be deferred.
func (r *Router) Route(ctx context.Context, _ *mtakit.Envelope, rcpt *mtakit.Recipient) (mtakit.Route, error) {
	route, err := r.resolve(ctx, rcpt.Address)
	if err != nil {
		return mtakit.Route{}, err
	}
	if r.Relocated != nil {
		reply, err := r.Relocated.Reply(ctx, rcpt.Address)
		if err != nil {
			return mtakit.Route{}, err
		}
		if reply != nil {
			return mtakit.Route{Transport: "error", Reply: reply}, nil
		}
	}
	if route.Transport == r.localName() && route.Reply == nil {
		if route.Reply, err = r.mailbox(ctx, rcpt.Address); err != nil {
			return mtakit.Route{}, err
		}
	}
	return route, nil
}

// resolve returns the route of an address whether or not it exists.
func (r *Router) resolve(ctx context.Context, address string) (mtakit.Route, error) {
	_, domain := Split(address)
	if domain == "" {
		return mtakit.Route{Transport: "error", Reply: &smtp.SMTPError{
			Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 3}, Message: "Bad recipient address syntax",
		}}, nil
	}
	route, err := r.class(ctx, ASCIIDomain(domain))
	if err != nil || r.Transport == nil {
		return route, err
	}
	_, err = r.Transport.Apply(ctx, address, &route)
	return route, err
}

func (r *Router) localName() string {
	if r.LocalName == "" {
		return "local"
	}
	return r.LocalName
}

// class returns the route that a domain has by itself.
func (r *Router) class(ctx context.Context, domain string) (mtakit.Route, error) {
	ours, err := hasDomain(ctx, r.Domains, domain)
	if err != nil {
		return mtakit.Route{}, wrap("domains", err)
	}
	if ours {
		return mtakit.Route{Transport: r.localName(), NextHop: domain, Key: domain}, nil
	}
	route := mtakit.Route{Transport: r.RemoteName, NextHop: r.RelayHost}
	if route.Transport == "" {
		route.Transport = "smtp"
	}
	if route.NextHop == "" {
		route.NextHop = domain
	}
	route.Key = lower(route.NextHop)
	return route, nil
}

// mailbox returns the refusal of an address of ours without a mailbox.
func (r *Router) mailbox(ctx context.Context, address string) (*smtp.SMTPError, error) {
	if r.Mailboxes == nil {
		return nil, nil
	}
	_, ok, err := r.find(ctx, r.Mailboxes, address)
	if ok || err != nil {
		return nil, wrap("mailboxes", err)
	}
	return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "User unknown in virtual mailbox table"}, nil
}

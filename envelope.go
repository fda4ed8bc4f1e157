package mtakit

import (
	"maps"
	"slices"
	"time"

	"github.com/emersion/go-smtp"
)

// Envelope is what SMTP carries outside the message (RFC 5321, section 2.3.1).
//
// Addresses are in wire form, quoted where they must be and without angle
// brackets: "user@example.org", `"odd user"@example.org`, "user@[192.0.2.1]".
//
// An envelope belongs to one session until it is committed; a committed one
// shares nothing with its session and is never changed again by the queue.
type Envelope struct {
	Sender     string           // reverse-path; "" is the null reverse-path <>
	Options    smtp.MailOptions // what MAIL said beside the address
	Params     []Param          // MAIL parameters go-smtp has no field for (HOLDFOR, XVERP, BY, MT-PRIORITY)
	Recipients []Recipient      // in the order of their acceptance
	Client     Client           // who gave it to us; the zero value means that we made it ourselves

	Arrival   time.Time // when MAIL was accepted; zero means the time of the commit
	NotBefore time.Time // no delivery before this time; zero means at once
	Priority  int       // MT-PRIORITY (RFC 6710), -9 to 9; 0 is normal
	Hold      string    // reason to keep it in the hold queue; "" means do not hold
	Filter    string    // after-queue content filter, "transport:nexthop"; "" means none

	// Attrs are tags of the caller and of filters. They survive the queue and
	// are seen by Router, agents and events. Queues bound their size.
	Attrs map[string]string
}

// Param is one ESMTP parameter, "NAME=value" or "NAME". The name is upper case.
type Param struct{ Name, Value string }

// Recipient is one forward-path with its parameters.
type Recipient struct {
	Address string           // where the mail goes now
	Options smtp.RcptOptions // what RCPT said beside the address
	// Original is the address as the client gave it, before aliases and
	// rewriting; "" means that Address was never rewritten.
	Original string
}

// OriginalAddress returns the address as the client gave it.
func (r *Recipient) OriginalAddress() string {
	if r.Original != "" {
		return r.Original
	}
	return r.Address
}

// Clone returns a copy that shares nothing with e.
func (e *Envelope) Clone() *Envelope {
	if e == nil {
		return nil
	}
	c := *e
	if e.Options.Auth != nil {
		auth := *e.Options.Auth
		c.Options.Auth = &auth
	}
	c.Params = slices.Clone(e.Params)
	c.Recipients = slices.Clone(e.Recipients)
	for i := range c.Recipients {
		c.Recipients[i].Options = cloneRcptOptions(c.Recipients[i].Options)
	}
	c.Attrs = maps.Clone(e.Attrs)
	return &c
}

func cloneRcptOptions(o smtp.RcptOptions) smtp.RcptOptions {
	o.Notify = slices.Clone(o.Notify)
	if o.DeliverBy != nil {
		by := *o.DeliverBy
		o.DeliverBy = &by
	}
	if o.MTPriority != nil {
		priority := *o.MTPriority
		o.MTPriority = &priority
	}
	return o
}

package rewrite

import "context"

// Class says where an address stands, as Postfix's canonical_classes does. Several
// are added up: EnvelopeSender | HeaderSender.
type Class uint8

// The places of addresses. Header senders are those of From, Sender, Reply-To,
// Resent-From, Resent-Sender, Errors-To, Return-Receipt-To, Disposition-Notification-To
// and Mail-Followup-To, header recipients those of To, Cc, Bcc, their Resent- forms,
// Resent-Reply-To and Apparently-To.
const (
	EnvelopeSender Class = 1 << iota
	EnvelopeRecipient
	HeaderSender
	HeaderRecipient

	// EveryClass is all of them.
	EveryClass = EnvelopeSender | EnvelopeRecipient | HeaderSender | HeaderRecipient
)

// or returns the classes of a field, of which 0 means others.
func (c Class) or(usual Class) Class {
	if c == 0 {
		return usual
	}
	return c
}

// Mapper replaces addresses one by one, depending on where they stand. Canonical,
// Masquerade and Generic are Mappers. It is called from any number of goroutines.
type Mapper interface {
	// Map returns what an address in wire form is replaced by, which may be itself.
	// class is one place. The null sender, "", stays what it is. An error is a
	// table's, or wraps ErrExpansion or ErrSyntax, and nothing was replaced.
	Map(ctx context.Context, class Class, address string) (string, error)
}

// Mappers are Mappers one after the other: each is given what the one before made
// of an address. nil among them are left out.
type Mappers []Mapper

// Map asks them in their order.
func (all Mappers) Map(ctx context.Context, class Class, address string) (string, error) {
	for _, m := range all {
		if m == nil {
			continue
		}
		var err error
		if address, err = m.Map(ctx, class, address); err != nil {
			return "", err
		}
	}
	return address, nil
}

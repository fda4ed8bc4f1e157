package restrictions

import (
	"context"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// RejectUnlistedRecipient refuses recipients that nobody is: 550 5.1.1
// "<user@example.org>: Recipient address rejected: User unknown in virtual
// mailbox table" (Postfix: reject_unlisted_recipient).
type RejectUnlistedRecipient struct {
	// Recipients is asked with the full address; whatever value it gives is a
	// yes. nil refuses nobody.
	Recipients Table
	// Domains, asked with the domain, are those whose users Recipients has;
	// others are not looked at. nil means all.
	Domains Table
	// Name is what the reply calls Recipients; "" means "virtual mailbox table".
	Name string
}

// Check asks the tables.
func (r RejectUnlistedRecipient) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	if s.Recipient == nil || r.Recipients == nil {
		return mtakit.Verdict{}, nil
	}
	listed, err := r.listed(ctx, s.Recipient.Address)
	if err != nil {
		return ofRecipient(s).unknown(err), nil
	}
	if listed {
		return mtakit.Verdict{}, nil
	}
	return ofRecipient(s).reject(550, smtp.EnhancedCode{5, 1, 1}, "User unknown in "+or(r.Name, "virtual mailbox table")), nil
}

func (r RejectUnlistedRecipient) listed(ctx context.Context, address string) (bool, error) {
	if _, domain, _ := split(address); r.Domains != nil {
		_, ok, err := found(ctx, r.Domains, strings.TrimSuffix(domain, "."))
		if err != nil || !ok {
			return true, err
		}
	}
	_, ok, err := found(ctx, r.Recipients, address)
	return ok, err
}

// RejectRelocatedRecipient refuses recipients who have gone elsewhere: 550 5.1.6
// "<user@example.org>: Recipient address rejected: User has moved to
// user@example.net" (Postfix: relocated_maps, see relocated(5)).
type RejectRelocatedRecipient struct {
	// Relocated is asked with the full address and gives the new one, or any
	// other words. nil refuses nobody.
	Relocated Table
}

// Check asks the table.
func (r RejectRelocatedRecipient) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	if s.Recipient == nil {
		return mtakit.Verdict{}, nil
	}
	to, ok, err := found(ctx, r.Relocated, s.Recipient.Address)
	switch {
	case err != nil:
		return ofRecipient(s).unknown(err), nil
	case !ok:
		return mtakit.Verdict{}, nil
	}
	return ofRecipient(s).reject(550, smtp.EnhancedCode{5, 1, 6}, "User has moved to "+to), nil
}

// RejectNonFQDNSender refuses senders without a whole domain: 504 5.5.2
// (Postfix: reject_non_fqdn_sender). The null sender has none and is fine.
type RejectNonFQDNSender struct{}

// Check looks at the domain.
func (RejectNonFQDNSender) Check(_ context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	if s.Envelope == nil || s.Envelope.Sender == "" || whole(s.Envelope.Sender) {
		return mtakit.Verdict{}, nil
	}
	return ofSender(s).reject(504, smtp.EnhancedCode{5, 5, 2}, "need fully-qualified address"), nil
}

// RejectNonFQDNRecipient refuses recipients without a whole domain: 504 5.5.2
// (Postfix: reject_non_fqdn_recipient). It looks at the address as the client
// gave it, not at what was made of it.
type RejectNonFQDNRecipient struct{}

// Check looks at the domain.
func (RejectNonFQDNRecipient) Check(_ context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	if s.Recipient == nil || whole(s.Recipient.OriginalAddress()) {
		return mtakit.Verdict{}, nil
	}
	return ofRecipient(s).reject(504, smtp.EnhancedCode{5, 5, 2}, "need fully-qualified address"), nil
}

// whole reports whether an address has a domain with a dot in it, or a literal.
func whole(address string) bool {
	_, domain, _ := split(address)
	return strings.HasPrefix(domain, "[") || qualified(strings.TrimSuffix(domain, "."))
}

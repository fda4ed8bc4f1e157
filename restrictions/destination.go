package restrictions

import (
	"context"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// RejectUnauthDestination refuses recipients whose domain is not in Domains, a
// table that is asked with the domain: 554 5.7.1 "<user@example.org>: Relay
// access denied" (Postfix: reject_unauth_destination).
//
// An address that carries another one inside is refused in any domain, since
// another server might unpack it for a stranger: user%example.net@example.org,
// example.net!user@example.org, "user@example.net"@example.org. A recipient
// without a domain is not refused.
type RejectUnauthDestination struct {
	Domains Table // nil refuses every domain
}

// Check asks the table.
func (r RejectUnauthDestination) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	return refuseStranger(ctx, s, r.Domains, 554)
}

// DeferUnauthDestination is RejectUnauthDestination with 454 4.7.1 (Postfix:
// defer_unauth_destination).
type DeferUnauthDestination struct {
	Domains Table // nil refuses every domain
}

// Check asks the table.
func (d DeferUnauthDestination) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	return refuseStranger(ctx, s, d.Domains, 454)
}

// PermitAuthDestination permits what RejectUnauthDestination does not refuse
// (Postfix: permit_auth_destination).
type PermitAuthDestination struct {
	Domains Table // nil permits no domain
}

// Check asks the table.
func (p PermitAuthDestination) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	if s.Recipient == nil {
		return mtakit.Verdict{}, nil
	}
	ours, err := authorized(ctx, p.Domains, s.Recipient)
	if err != nil {
		return ofRecipient(s).unknown(err), nil
	}
	if ours {
		return mtakit.Verdict{Action: mtakit.Permit}, nil
	}
	return mtakit.Verdict{}, nil
}

func refuseStranger(ctx context.Context, s *mtakit.Session, domains Table, code int) (mtakit.Verdict, error) {
	if s.Recipient == nil {
		return mtakit.Verdict{}, nil
	}
	ours, err := authorized(ctx, domains, s.Recipient)
	if err != nil {
		return ofRecipient(s).unknown(err), nil
	}
	if ours {
		return mtakit.Verdict{}, nil
	}
	return relayDenied(s, code), nil
}

func relayDenied(s *mtakit.Session, code int) mtakit.Verdict {
	return mtakit.Verdict{Action: mtakit.Reject, Reply: &smtp.SMTPError{Code: code,
		EnhancedCode: smtp.EnhancedCode{code / 100, 7, 1},
		Message:      printable("<" + ofRecipient(s).name + ">: Relay access denied")}}
}

// authorized reports whether mail for r may come from anybody.
func authorized(ctx context.Context, domains Table, r *mtakit.Recipient) (bool, error) {
	if routed(r.Address) {
		return false, nil
	}
	_, domain, ok := split(r.Address)
	if !ok {
		return true, nil
	}
	_, ok, err := found(ctx, domains, strings.TrimSuffix(domain, "."))
	return ok, err
}

// split parts an address at its last @.
func split(address string) (local, domain string, ok bool) {
	i := strings.LastIndexByte(address, '@')
	if i < 0 {
		return address, "", false
	}
	return address[:i], address[i+1:], true
}

// routed reports whether the local part is itself an address: a source route, a
// bang path, the percent hack (RFC 5321, appendix F.2).
func routed(address string) bool {
	local, _, _ := split(address)
	return strings.ContainsAny(local, "@%!")
}

package rewrite

import (
	"context"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Relocated refuses the recipients of relocated(5), whose value is the new
// address or any other text to contact the user by. The zero value refuses
// nobody.
type Relocated struct {
	Table Table // user@domain or @domain to the new address; nil means empty
	Keys
	// Aliased has the addresses that canonical(5) and virtual(5) replace: they
	// are accepted, whatever Table says of them, since the mail goes elsewhere.
	// nil means none.
	Aliased Table
	// NoPrefix takes the table's value for the whole text, with its status before it:
	// "5.2.1 Gone" (relocated_prefix_enable = no). false puts "5.1.6 User has moved to"
	// before it.
	NoPrefix bool
}

// Reply returns 550 5.1.6 "User has moved to ..." for an address that has moved,
// and nil for all others. The error is a table's.
func (r *Relocated) Reply(ctx context.Context, address string) (*smtp.SMTPError, error) {
	m, ok, err := r.find(ctx, r.Table, address)
	if !ok || err != nil {
		return nil, wrap("relocated", err)
	}
	if _, aliased, err := r.find(ctx, r.Aliased, address); aliased || err != nil {
		return nil, wrap("relocated", err)
	}
	if r.NoPrefix {
		return refusal("error", m.value), nil
	}
	return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 6}, Message: "User has moved to " + clean(m.value)}, nil
}

// Check refuses the recipient of an SMTP session who has moved. It makes
// Relocated a restriction.
func (r *Relocated) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	if s.Recipient == nil {
		return mtakit.Verdict{}, nil
	}
	reply, err := r.Reply(ctx, s.Recipient.Address)
	if reply == nil || err != nil {
		return mtakit.Verdict{}, err
	}
	reply.Message = "<" + clean(s.Recipient.Address) + ">: Recipient address rejected: " + reply.Message
	return mtakit.Verdict{Action: mtakit.Reject, Reply: reply}, nil
}

// clean makes a text fit for one line of a reply.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, s)
}

package restrictions

import (
	"context"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Permit says yes (Postfix: permit).
type Permit struct{}

// Check permits.
func (Permit) Check(context.Context, *mtakit.Session) (mtakit.Verdict, error) {
	return mtakit.Verdict{Action: mtakit.Permit}, nil
}

// Reject refuses with 554 5.7.1 (Postfix: reject).
type Reject struct {
	Text string // for the peer; "" means "Access denied"
}

// Check refuses.
func (r Reject) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	what := placeOf(ctx, s).subject(s)
	return what.reject(554, smtp.EnhancedCode{5, 7, 1}, or(r.Text, "Access denied")), nil
}

// Defer refuses for now with 450 4.3.2 (Postfix: defer).
type Defer struct {
	Text string // for the peer; "" means "Try again later"
}

// Check defers.
func (d Defer) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	what := placeOf(ctx, s).subject(s)
	return what.reject(450, smtp.EnhancedCode{4, 3, 2}, or(d.Text, "Try again later")), nil
}

// DeferIfPermit defers with 450 4.7.0 what everything else permits (Postfix:
// defer_if_permit).
type DeferIfPermit struct {
	Text string // for the peer; "" means "defer_if_permit requested"
}

// Check goes on.
func (d DeferIfPermit) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	what := placeOf(ctx, s).subject(s)
	return mtakit.Verdict{DeferIfPermit: what.reply(450, smtp.EnhancedCode{4, 7, 0},
		or(d.Text, "defer_if_permit requested"))}, nil
}

// DeferIfReject makes 450 4.7.0 of a later 5xx of the list it stands in
// (Postfix: defer_if_reject).
type DeferIfReject struct {
	Text string // for the peer; "" means "defer_if_reject requested"
}

// Check goes on.
func (d DeferIfReject) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	what := placeOf(ctx, s).subject(s)
	return mtakit.Verdict{DeferIfReject: what.reply(450, smtp.EnhancedCode{4, 7, 0},
		or(d.Text, "defer_if_reject requested"))}, nil
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

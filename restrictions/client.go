package restrictions

import (
	"context"

	"github.com/mtakit/mtakit"
)

// PermitMynetworks permits clients whose address is in Networks, a table that
// is asked with the address, "192.0.2.1" or "2001:db8::1" (Postfix:
// permit_mynetworks). Whatever value it gives is a yes.
type PermitMynetworks struct {
	Networks Table // nil permits nobody
}

// Check asks the table.
func (p PermitMynetworks) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	_, ok, err := found(ctx, p.Networks, address(s))
	switch {
	case err != nil:
		return ofClient(s).unknown(err), nil
	case ok:
		return mtakit.Verdict{Action: mtakit.Permit}, nil
	}
	return mtakit.Verdict{}, nil
}

// PermitSASLAuthenticated permits clients that have logged in (Postfix:
// permit_sasl_authenticated).
type PermitSASLAuthenticated struct{}

// Check looks at the login.
func (PermitSASLAuthenticated) Check(_ context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	if s.Login == "" {
		return mtakit.Verdict{}, nil
	}
	return mtakit.Verdict{Action: mtakit.Permit}, nil
}

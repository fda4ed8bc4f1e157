package restrictions

import (
	"context"
	"fmt"
	"strings"

	"github.com/mtakit/mtakit"
)

// Named has restrictions that access tables may name in their values, in lower
// case: {"greylist": ..., "reject_unauth_destination": ...} (Postfix's
// smtpd_restriction_classes). permit, reject, defer and
// permit_sasl_authenticated need not be in it. nil has no others.
type Named map[string]Restriction

// CheckClientAccess decides by the client (Postfix: check_client_access). Table
// is asked with the host name, which is "unknown" when it could not be verified,
// and only if it has no value under that, with the address.
type CheckClientAccess struct {
	Table Table // nil has no opinion
	Named Named // restrictions for the table's values; nil means none
}

// Check asks the table.
func (c CheckClientAccess) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	return check(ctx, s, c.Table, c.Named, ofClient(s), s.Name, address(s))
}

// CheckHELOAccess decides by the HELO name (Postfix: check_helo_access).
type CheckHELOAccess struct {
	Table Table // nil has no opinion
	Named Named // restrictions for the table's values; nil means none
}

// Check asks the table.
func (c CheckHELOAccess) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	return check(ctx, s, c.Table, c.Named, subject{s.HELO, heloCommand}, strings.TrimSuffix(s.HELO, "."))
}

// CheckSenderAccess decides by the envelope sender (Postfix:
// check_sender_access). Table is asked with the full address, and with "<>" for
// the null sender.
type CheckSenderAccess struct {
	Table Table // nil has no opinion
	Named Named // restrictions for the table's values; nil means none
}

// Check asks the table.
func (c CheckSenderAccess) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	if s.Envelope == nil {
		return mtakit.Verdict{}, nil
	}
	return check(ctx, s, c.Table, c.Named, ofSender(s), or(s.Envelope.Sender, "<>"))
}

// CheckRecipientAccess decides by the recipient (Postfix:
// check_recipient_access). Table is asked with the full address. A yes for an
// address that carries another one inside (see RejectUnauthDestination) does
// not count.
type CheckRecipientAccess struct {
	Table Table // nil has no opinion
	Named Named // restrictions for the table's values; nil means none
}

// Check asks the table.
func (c CheckRecipientAccess) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	if s.Recipient == nil {
		return mtakit.Verdict{}, nil
	}
	v, err := check(ctx, s, c.Table, c.Named, ofRecipient(s), s.Recipient.Address)
	if v.Action == mtakit.Permit && routed(s.Recipient.Address) {
		v.Action = mtakit.Dunno
	}
	return v, err
}

// check asks for one key after the other; the first that is there decides, even
// with DUNNO.
func check(ctx context.Context, s *mtakit.Session, t Table, named Named, what subject, keys ...string) (mtakit.Verdict, error) {
	for _, key := range keys {
		value, ok, err := found(ctx, t, key)
		if err != nil {
			return what.misconfigured(fmt.Errorf("access table, key %q: %w", key, err)), nil
		}
		if ok {
			return apply(ctx, s, value, named, what, key)
		}
	}
	return mtakit.Verdict{}, nil
}

// apply does what a value says.
func apply(ctx context.Context, s *mtakit.Session, value string, named Named, what subject, key string) (mtakit.Verdict, error) {
	a := parseAction(value)
	switch {
	case a.word == "" && a.text == "":
		return mtakit.Verdict{Log: []string{fmt.Sprintf("access table, key %q: empty value", key)}}, nil
	case a.word == "":
		return askNamed(ctx, s, value, named, what)
	}
	v, bad := a.verdict(what)
	if bad != "" {
		v.Log = append(v.Log, printable(fmt.Sprintf("access table, key %q: %s", key, bad)))
	}
	return v, nil
}

// maxNested is Postfix's limit: a restriction may be named by the table that it
// asks.
const maxNested = 100

// askNamed asks the restrictions that a value names.
func askNamed(ctx context.Context, s *mtakit.Session, value string, named Named, what subject) (mtakit.Verdict, error) {
	p := placeOf(ctx, s)
	if p.depth++; p.depth > maxNested {
		return what.misconfigured(errNested), nil
	}
	list, err := named.list(value)
	if err != nil {
		return what.misconfigured(err), nil
	}
	p.what = what
	return list.Check(p.in(ctx), s)
}

// list reads "name, name name".
func (n Named) list(value string) (List, error) {
	var list List
	warn := false
	for word := range strings.FieldsFuncSeq(value, separator) {
		word = strings.ToLower(word)
		if word == "warn_if_reject" {
			warn = true
			continue
		}
		r := n.get(word)
		if r == nil {
			return nil, fmt.Errorf("%w: %.80q", errUnknown, word)
		}
		if warn {
			r, warn = WarnIfReject{Restriction: r}, false
		}
		list = append(list, r)
	}
	return list, nil
}

func separator(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }

// get finds a restriction that n has, or that needs no tables.
func (n Named) get(word string) Restriction {
	if r := n[word]; r != nil {
		return r
	}
	switch word {
	case "permit", "ok":
		return Permit{}
	case "reject":
		return Reject{}
	case "defer":
		return Defer{}
	case "dunno":
		return List(nil)
	case "permit_sasl_authenticated":
		return PermitSASLAuthenticated{}
	}
	return nil
}

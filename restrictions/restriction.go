package restrictions

import (
	"context"

	"github.com/mtakit/mtakit"
)

// Restriction decides about a client, a sender or a recipient.
//
// Check is called from many goroutines at once, each with a session of its own,
// which it must not change or keep. A refusal is a verdict, not an error: an
// error means that there is no decision, and the client is told to come again.
type Restriction interface {
	Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error)
}

// RestrictionFunc is a function that is a Restriction.
type RestrictionFunc func(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error)

// Check calls f.
func (f RestrictionFunc) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	return f(ctx, s)
}

// Table has the values that restrictions ask for; every table of package lookup
// is one. Restrictions ask with a full key only (an address, a host name): how
// to search for parts of it is the table's business. An error means that the
// table could not answer, which is not a miss.
type Table interface {
	Lookup(ctx context.Context, key string) (value string, ok bool, err error)
}

// TableFunc is a function that is a Table.
type TableFunc func(ctx context.Context, key string) (value string, ok bool, err error)

// Lookup calls f.
func (f TableFunc) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	return f(ctx, key)
}

// found asks a table that may be nil.
func found(ctx context.Context, t Table, key string) (value string, ok bool, err error) {
	if t == nil || key == "" {
		return "", false, nil
	}
	return t.Lookup(ctx, key)
}

// place is where in a configuration a restriction is asked, which replies show:
// with delayed evaluation the client's list is asked at RCPT. It travels in the
// context, since Session.Stage must stay what the client has just said.
type place struct {
	list  mtakit.Stage
	depth int     // lists that were named in tables
	what  subject // what the table was asked about; zero means the list's own
}

type placeKey struct{}

func placeOf(ctx context.Context, s *mtakit.Session) place {
	if p, ok := ctx.Value(placeKey{}).(place); ok {
		return p
	}
	return place{list: s.Stage}
}

// subject is what the replies of general restrictions are about.
func (p place) subject(s *mtakit.Session) subject {
	if p.what.class != "" {
		return p.what
	}
	return about(p.list, s)
}

func (p place) in(ctx context.Context) context.Context { return context.WithValue(ctx, placeKey{}, p) }

package filter

import (
	"context"

	"github.com/mtakit/mtakit"
)

// ContentFilter looks at a message and may change its envelope, its header, and
// put another body in the place of its body.
//
// Filter is called from many goroutines at once, each with a message of its
// own, which it must not keep. A refusal is a verdict, not an error: an error
// means that there is no decision, and the client is told to come again.
type ContentFilter interface {
	Filter(ctx context.Context, env *mtakit.Envelope, m *mtakit.Message) (mtakit.Verdict, error)
}

// ContentFilterFunc is a function that is a ContentFilter.
type ContentFilterFunc func(ctx context.Context, env *mtakit.Envelope, m *mtakit.Message) (mtakit.Verdict, error)

// Filter calls f.
func (f ContentFilterFunc) Filter(ctx context.Context, env *mtakit.Envelope, m *mtakit.Message) (mtakit.Verdict, error) {
	return f(ctx, env, m)
}

// Table has the actions that the checks ask for; every table of package lookup
// is one, and pattern tables are what one wants. An error means that the table
// could not answer, which is not a miss. One that has a method Empty() bool is
// not asked while that says true; lookup.File has it.
type Table interface {
	Lookup(ctx context.Context, key string) (value string, ok bool, err error)
}

// asked returns t, or nil for a table that says by a method Empty() bool that
// there is nothing in it now: then nothing is read for its sake.
func asked(t Table) Table {
	if e, ok := t.(interface{ Empty() bool }); ok && e.Empty() {
		return nil
	}
	return t
}

// TableFunc is a function that is a Table.
type TableFunc func(ctx context.Context, key string) (value string, ok bool, err error)

// Lookup calls f.
func (f TableFunc) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	return f(ctx, key)
}

// Chain is filters that look at a message one after the other, each at what the
// one before has left. Reject and Discard end everything; Permit (PASS) ends the
// chain it stands in, so that a Chain within a Chain is the place for filters
// that PASS may turn off. Effects add up. nil has no filters.
type Chain []ContentFilter

// Filter asks the chain.
func (c Chain) Filter(ctx context.Context, env *mtakit.Envelope, m *mtakit.Message) (mtakit.Verdict, error) {
	var sum mtakit.Verdict
	for _, f := range c {
		v, err := f.Filter(ctx, env, m)
		if err != nil {
			return sum, err
		}
		sum.Merge(v)
		switch v.Action {
		case mtakit.Reject, mtakit.Discard:
			sum.Action, sum.Reply, sum.Reason = v.Action, v.Reply, v.Reason
			return sum, nil
		case mtakit.Permit:
			return sum, nil
		}
	}
	return sum, nil
}

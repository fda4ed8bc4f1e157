package queue

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/mtakit/mtakit"
)

// Filter looks at a submission before it is accepted, and may change env and m.
// An error, a panic, or a Reject with a 4xx reply means that it is not accepted
// now and may come again: Submit returns the error, and a Maildrop leaves the
// file for the next look. A chain of the filter package is one, and so is
// lookup/rewrite's Cleanup.
type Filter interface {
	Filter(ctx context.Context, env *mtakit.Envelope, m *mtakit.Message) (mtakit.Verdict, error)
}

// FilterFunc is a function that is a Filter.
type FilterFunc func(ctx context.Context, env *mtakit.Envelope, m *mtakit.Message) (mtakit.Verdict, error)

// Filter calls f.
func (f FilterFunc) Filter(ctx context.Context, env *mtakit.Envelope, m *mtakit.Message) (mtakit.Verdict, error) {
	return f(ctx, env, m)
}

// filtered asks a filter, which may be nil, and does what it wants. keep is
// false for a message that is to be thrown away.
func filtered(ctx context.Context, f Filter, log *slog.Logger, env *mtakit.Envelope, m *mtakit.Message) (keep bool, err error) {
	if f == nil {
		return true, nil
	}
	if m.Header.Cut() {
		// Whoever fills what is looked at with fields would hide the others.
		return false, fmt.Errorf("%w: the header is longer than %d bytes", ErrSubmission, mtakit.MaxHeader)
	}
	v, err := ask(ctx, f, log, env, m)
	if err != nil {
		return false, fmt.Errorf("filter: %w", err)
	}
	switch {
	case v.Action == mtakit.Discard:
		return false, nil
	case v.Action == mtakit.Reject && mtakit.Temporary(v.Reply):
		return false, fmt.Errorf("refused for now: %w", v.Reply)
	case v.Action == mtakit.Reject:
		return false, fmt.Errorf("%w: refused: %w", ErrSubmission, v.Reply)
	}
	return true, apply(v, env, m)
}

// ask calls a filter. A panic is an error: the message may come again.
func ask(ctx context.Context, f Filter, log *slog.Logger, env *mtakit.Envelope, m *mtakit.Message) (v mtakit.Verdict, err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("panic in a filter", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f.Filter(ctx, env, m)
}

// apply has the effects that stand beside a verdict.
func apply(v mtakit.Verdict, env *mtakit.Envelope, m *mtakit.Message) error {
	env.Hold = cmp.Or(v.Hold, env.Hold)
	env.Filter = cmp.Or(v.Filter, env.Filter)
	if v.Redirect != "" {
		env.Recipients = []mtakit.Recipient{{Address: v.Redirect}}
	}
	for _, address := range v.BCC {
		env.Recipients = append(env.Recipients, mtakit.Recipient{Address: address})
	}
	var fields []mtakit.Field
	for _, s := range v.Prepend {
		f, err := mtakit.ParseField(s)
		if err != nil {
			return err
		}
		fields = append(fields, f)
	}
	m.Header.Prepend(fields...)
	return nil
}

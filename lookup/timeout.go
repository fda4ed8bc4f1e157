package lookup

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Timeout bounds the lookups of a table that gives up when its ctx ends.
type Timeout struct {
	Table LookupTable   // required
	Limit time.Duration // of one lookup; 0 means 10 seconds
}

// Lookup asks the table. When that takes too long the error wraps
// context.DeadlineExceeded.
func (t Timeout) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	return t.bound(ctx, func(ctx context.Context) (string, bool, error) { return t.Table.Lookup(ctx, key) })
}

// LookupPartial asks the table for a part of a key.
func (t Timeout) LookupPartial(ctx context.Context, key string) (value string, ok bool, err error) {
	return t.bound(ctx, func(ctx context.Context) (string, bool, error) { return LookupPartial(ctx, t.Table, key) })
}

func (t Timeout) bound(ctx context.Context, ask func(context.Context) (string, bool, error)) (value string, ok bool, err error) {
	limit := orElse(t.Limit, 10*time.Second)
	inner, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	value, ok, err = ask(inner)
	if err != nil && inner.Err() != nil && ctx.Err() == nil {
		if cause := inner.Err(); !errors.Is(err, cause) { // as drivers say "bad connection"
			err = fmt.Errorf("%w: %w", cause, err)
		}
		err = fmt.Errorf("no answer within %v: %w", limit, err)
	}
	return value, ok, err
}

// FullKeyOnly reports whether the table takes whole keys only.
func (t Timeout) FullKeyOnly() bool { return FullKeyOnly(t.Table) }

// Folded asks a table for keys in the one case in which fixed keys are compared,
// for tables that do not do that by themselves.
type Folded struct {
	Table LookupTable // required
}

// Lookup asks for Fold(key).
func (t Folded) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	return t.Table.Lookup(ctx, Fold(key))
}

// LookupPartial asks for Fold(key), which is a part of a key.
func (t Folded) LookupPartial(ctx context.Context, key string) (value string, ok bool, err error) {
	return LookupPartial(ctx, t.Table, Fold(key))
}

// FullKeyOnly reports whether the table takes whole keys only.
func (t Folded) FullKeyOnly() bool { return FullKeyOnly(t.Table) }

package lookup

import (
	"context"
	"math/rand/v2"
)

// PipeTable asks the first table for the key, the next for what that answered, and
// so on, as Postfix's pipemap does. A miss of any ends it. nil has no keys.
type PipeTable []LookupTable

// Pipe makes a table of tables, each of which is asked for the value of the one
// before.
func Pipe(t ...LookupTable) PipeTable { return t }

// Lookup asks the tables.
func (p PipeTable) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	return p.ask(ctx, key, LookupTable.Lookup)
}

// LookupPartial asks the first table for a part of a key.
func (p PipeTable) LookupPartial(ctx context.Context, key string) (value string, ok bool, err error) {
	return p.ask(ctx, key, func(t LookupTable, ctx context.Context, key string) (string, bool, error) {
		return LookupPartial(ctx, t, key)
	})
}

func (p PipeTable) ask(ctx context.Context, key string, first func(LookupTable, context.Context, string) (string, bool, error)) (value string, ok bool, err error) {
	if len(p) == 0 || key == "" {
		return "", false, nil
	}
	value, ok, err = first(p[0], ctx, key)
	for _, t := range p[1:] {
		if !ok || err != nil {
			return "", false, err
		}
		value, ok, err = t.Lookup(ctx, value)
	}
	return value, ok, err
}

// FullKeyOnly reports whether the first table takes whole keys only.
func (p PipeTable) FullKeyOnly() bool { return len(p) > 0 && FullKeyOnly(p[0]) }

// Rand is a table that has every key, each time with one of these values, as
// Postfix's randmap. nil has no keys.
type Rand []string

// Lookup returns one of the values for any key but the empty one.
func (t Rand) Lookup(_ context.Context, key string) (value string, ok bool, err error) {
	if len(t) == 0 || key == "" {
		return "", false, nil
	}
	return t[rand.IntN(len(t))], true, nil
}

package lookup

import (
	"context"
	"fmt"
	"runtime/debug"
)

// LookupTable maps keys to values.
//
// It may be asked from any number of goroutines at once. A found value never
// changes afterwards: a reload gives new values, it does not touch old ones.
type LookupTable interface {
	// Lookup returns the value under key. ok is false when there is none; that
	// is always so for the empty key. An error means that the table could not
	// answer, and says nothing about the key: callers defer, they never take it
	// for a miss.
	Lookup(ctx context.Context, key string) (value string, ok bool, err error)
}

// LookupTableFunc is a function that is a LookupTable.
type LookupTableFunc func(ctx context.Context, key string) (value string, ok bool, err error)

// Lookup calls f.
func (f LookupTableFunc) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	return f(ctx, key)
}

// FullKeyTable is implemented by tables that want to be asked with whole keys
// only. Regexp and CIDR tables do: a pattern that was written for
// "user@example.org" must not be tried on "example.org" or "user@", which are
// parts that a key search makes up. A table without this method takes any key.
type FullKeyTable interface {
	LookupTable
	// FullKeyOnly reports whether parts of a key are a waste of time here.
	FullKeyOnly() bool
}

// PartialTable is implemented by tables made of tables. It is asked with a part
// of a key and passes it on to those of its tables that take one.
type PartialTable interface {
	LookupTable
	LookupPartial(ctx context.Context, key string) (value string, ok bool, err error)
}

// FullKeyOnly reports whether t is a table that only whole keys may be looked
// up in.
func FullKeyOnly(t LookupTable) bool {
	f, ok := t.(FullKeyTable)
	return ok && f.FullKeyOnly()
}

// LookupPartial asks t for a part of a key: a pattern table is not asked and
// has no such key.
func LookupPartial(ctx context.Context, t LookupTable, key string) (value string, ok bool, err error) {
	if p, isPartial := t.(PartialTable); isPartial {
		return p.LookupPartial(ctx, key)
	}
	if FullKeyOnly(t) {
		return "", false, nil
	}
	return t.Lookup(ctx, key)
}

// contained asks a table from a goroutine of this package's: a panic there, which no
// caller could recover from, is an error.
func contained(ask func() (string, bool, error)) (value string, ok bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("table panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return ask()
}

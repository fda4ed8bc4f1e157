// Package tabletest checks lookup tables against their contract, as
// testing/fstest checks file systems.
//
// # Use
//
//  1. Make a table with known contents.
//  2. Call Run with the table, what is in it, and some keys that are not; or
//     Check, which gives an error in place of failing a test.
//
// # Caveats
//
// It does not break the table: that a dead server is an error and not a miss
// has to be tested by who can kill that server.
package tabletest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/mtakit/mtakit/lookup"
)

// Contents is what a table is known to answer.
type Contents struct {
	Found   map[string]string // keys with their values; required
	Missing []string          // keys that are not there; required
}

// Run checks a table against the contract of lookup.LookupTable, each part of
// it in a test of its own.
func Run(t *testing.T, table lookup.LookupTable, c Contents) {
	t.Helper()
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) {
			if err := part.check(t.Context(), table, c); err != nil {
				t.Error(err)
			}
		})
	}
}

// Check is Run outside of tests. The error is everything that is wrong with the
// table.
func Check(ctx context.Context, table lookup.LookupTable, c Contents) error {
	var errs []error
	for _, part := range parts {
		if err := part.check(ctx, table, c); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", part.name, err))
		}
	}
	return errors.Join(errs...)
}

var parts = []struct {
	name  string
	check func(context.Context, lookup.LookupTable, Contents) error
}{
	{"contents", contents}, {"found", found}, {"missing", missing}, {"odd keys", odd},
	{"concurrent", concurrent}, {"cancelled", cancelled}, {"partial", partial},
}

func contents(_ context.Context, _ lookup.LookupTable, c Contents) error {
	if len(c.Found) == 0 || len(c.Missing) == 0 {
		return errors.New("keys that are found and keys that are missing have to be given")
	}
	return nil
}

func found(ctx context.Context, table lookup.LookupTable, c Contents) error {
	for key, want := range c.Found {
		for range 2 { // the second answer may come from elsewhere
			if err := expect(ctx, table, key, want); err != nil {
				return err
			}
		}
	}
	return nil
}

func expect(ctx context.Context, table lookup.LookupTable, key, want string) error {
	got, ok, err := table.Lookup(ctx, key)
	if err != nil || !ok || got != want {
		return fmt.Errorf("key %.60q: got %q, %v, %v; want %q", key, got, ok, err, want)
	}
	return nil
}

func missing(ctx context.Context, table lookup.LookupTable, c Contents) error {
	for _, key := range append([]string{""}, c.Missing...) {
		got, ok, err := table.Lookup(ctx, key)
		switch {
		case err != nil:
			return fmt.Errorf("key %.60q: a miss is no error: %w", key, err)
		case ok:
			return fmt.Errorf("key %.60q is found", key)
		case got != "":
			return fmt.Errorf("key %.60q: a miss has the value %q", key, got)
		}
	}
	return nil
}

// odd asks for what peers make up. Any answer will do that is not an error and
// not a panic.
func odd(ctx context.Context, table lookup.LookupTable, _ Contents) error {
	keys := []string{
		" ", "\x00", "a\x00b", "\xff\xfe", "@", "@@", ".", "..", "'", `"`, `\`, "%", "%s", "$1", "<>", "a\r\nb",
		"' OR '1'='1", `\' OR 1=1 -- `, "::", "1.2.3.4.5", "300.300.300.300", "[", "[]", "user@", "@example.org",
		strings.Repeat("a", 70_000), strings.Repeat("a.", 2_000) + "org", strings.Repeat("1:", 2_000),
	}
	for _, key := range keys {
		if _, _, err := table.Lookup(ctx, key); err != nil {
			return fmt.Errorf("key %.60q: %w", key, err)
		}
	}
	return nil
}

func concurrent(ctx context.Context, table lookup.LookupTable, c Contents) error {
	const askers = 8
	errs := make([]error, askers)
	var wg sync.WaitGroup
	for i := range askers {
		wg.Go(func() {
			for range 20 {
				if errs[i] = found(ctx, table, c); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// cancelled checks that who gives up is told that, or the truth, but never that
// there is no such key.
func cancelled(ctx context.Context, table lookup.LookupTable, c Contents) error {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	for key, want := range c.Found {
		got, ok, err := table.Lookup(ctx, key)
		told := errors.Is(err, context.Canceled) && !ok
		truth := err == nil && ok && got == want
		if !told && !truth {
			return fmt.Errorf("key %.60q: who gives up is told %q, %v, %v", key, got, ok, err)
		}
	}
	return nil
}

// partial checks that a table that wants whole keys is never asked for parts.
func partial(ctx context.Context, table lookup.LookupTable, c Contents) error {
	for key, want := range c.Found {
		got, ok, err := lookup.LookupPartial(ctx, table, key)
		switch {
		case err != nil:
			return fmt.Errorf("part %.60q: %w", key, err)
		case ok && lookup.FullKeyOnly(table):
			return fmt.Errorf("part %.60q is looked up in a table of full keys", key)
		case ok && got != want:
			return fmt.Errorf("part %.60q: got %q, want %q", key, got, want)
		}
	}
	return nil
}

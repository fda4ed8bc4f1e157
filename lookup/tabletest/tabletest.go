// Package tabletest checks lookup tables against their contract, as
// testing/fstest checks file systems.
//
// # Use
//
//  1. Make a table with known contents.
//  2. Call Run with the table, what is in it, and some keys that are not.
//
// # Caveats
//
// It does not break the table: that a dead server is an error and not a miss
// has to be tested by who can kill that server.
package tabletest

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
)

// Contents is what a table is known to answer.
type Contents struct {
	Found   map[string]string // keys with their values; required
	Missing []string          // keys that are not there; required
}

// Run checks a table against the contract of lookup.LookupTable.
func Run(t *testing.T, table lookup.LookupTable, c Contents) {
	t.Helper()
	require.NotEmpty(t, c.Found, "tabletest needs keys that are found")
	require.NotEmpty(t, c.Missing, "tabletest needs keys that are missing")
	t.Run("found", func(t *testing.T) { found(t, table, c) })
	t.Run("missing", func(t *testing.T) { missing(t, table, c) })
	t.Run("odd keys", func(t *testing.T) { odd(t, table) })
	t.Run("concurrent", func(t *testing.T) { concurrent(t, table, c) })
	t.Run("cancelled", func(t *testing.T) { cancelled(t, table, c) })
	t.Run("partial", func(t *testing.T) { partial(t, table, c) })
}

func found(t *testing.T, table lookup.LookupTable, c Contents) {
	for key, want := range c.Found {
		for range 2 { // the second answer may come from elsewhere
			got, ok, err := table.Lookup(t.Context(), key)
			require.NoError(t, err, "key %q", key)
			assert.True(t, ok, "key %q is missing", key)
			assert.Equal(t, want, got, "key %q", key)
		}
	}
}

func missing(t *testing.T, table lookup.LookupTable, c Contents) {
	for _, key := range append([]string{""}, c.Missing...) {
		got, ok, err := table.Lookup(t.Context(), key)
		require.NoError(t, err, "a miss is no error: key %q", key)
		assert.False(t, ok, "key %q is found", key)
		assert.Empty(t, got, "a miss has no value: key %q", key)
	}
}

// odd asks for what peers make up. Any answer will do that is not an error and
// not a panic.
func odd(t *testing.T, table lookup.LookupTable) {
	keys := []string{
		" ", "\x00", "a\x00b", "\xff\xfe", "@", "@@", ".", "..", "'", `"`, `\`, "%", "%s", "$1", "<>", "a\r\nb",
		"' OR '1'='1", `\' OR 1=1 -- `, "::", "1.2.3.4.5", "300.300.300.300", "[", "[]", "user@", "@example.org",
		strings.Repeat("a", 70_000), strings.Repeat("a.", 2_000) + "org", strings.Repeat("1:", 2_000),
	}
	for _, key := range keys {
		_, _, err := table.Lookup(t.Context(), key)
		assert.NoError(t, err, "key %.40q", key)
	}
}

func concurrent(t *testing.T, table lookup.LookupTable, c Contents) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				for key, want := range c.Found {
					got, ok, err := table.Lookup(t.Context(), key)
					if err != nil || !ok || got != want {
						t.Errorf("key %q: got %q %v %v, want %q", key, got, ok, err, want)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

// cancelled checks that who gives up is told that, or the truth, but never that
// there is no such key.
func cancelled(t *testing.T, table lookup.LookupTable, c Contents) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for key, want := range c.Found {
		got, ok, err := table.Lookup(ctx, key)
		if err != nil {
			assert.ErrorIs(t, err, context.Canceled)
			assert.False(t, ok, "key %q: found and an error", key)
			continue
		}
		assert.True(t, ok, "key %q is missing for who gives up", key)
		assert.Equal(t, want, got)
	}
}

// partial checks that a table that wants whole keys is never asked for parts.
func partial(t *testing.T, table lookup.LookupTable, c Contents) {
	for key, want := range c.Found {
		got, ok, err := lookup.LookupPartial(t.Context(), table, key)
		require.NoError(t, err)
		if lookup.FullKeyOnly(table) {
			assert.False(t, ok, "part %q is looked up in a pattern table", key)
		} else if ok {
			assert.Equal(t, want, got, "key %q", key)
		}
	}
}

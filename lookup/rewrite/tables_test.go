package rewrite_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/rewrite"
)

var (
	_ rewrite.Table = lookup.LookupTable(nil)
	_ rewrite.Table = lookup.Tables(nil)
	_ interface {
		lookup.LookupTable
		FullKeyOnly() bool
	} = (*rewrite.Recipients)(nil)
)

// file writes a table and opens it.
func file(t *testing.T, open func(string, lookup.Options) (*lookup.File, error), text string) *lookup.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "table")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	f, err := open(name, lookup.Options{})
	require.NoError(t, err)
	return f
}

func TestWithRealTables(t *testing.T) {
	t.Parallel()
	domains := file(t, lookup.OpenHash, "example.org OK\n")
	x := &rewrite.Expander{
		Virtual: &rewrite.Virtual{
			Table: lookup.Maps(
				file(t, lookup.OpenHash, "Sales@Example.org team@example.org,\n  boss@example.net\n@old.example @example.org\n"),
				file(t, lookup.OpenRegexp, "/^(.*)-bounces@lists\\.example$/ $1@example.org\n/^@/ trap@example.org\n/^[^@]*$/ trap@example.org\n"),
			),
			Keys: rewrite.Keys{Delimiter: "+", Local: domains},
		},
		Mailboxes: file(t, lookup.OpenHash, "alice@example.org alice/\nbob@example.org bob/\n"),
		Aliases: &rewrite.Aliases{
			Table:     file(t, lookup.OpenAliases, "# people\npostmaster: root\nroot: Alice\nteam: alice, bob,\n \"odd user\"\nbob: trap\n\"odd user\": bob\n"),
			Domains:   domains,
			Delimiter: "+",
		},
	}
	for in, want := range map[string][]string{
		"SALES@example.ORG":         {"alice@example.org", "bob@example.org", "boss@example.net"},
		"sales+q@example.org":       {"alice@example.org", "bob@example.org", "boss+q@example.net"},
		"root@old.example":          {"Alice@example.org"},
		"bob-bounces@lists.example": {"bob@example.org"},
		"Postmaster@example.org":    {"Alice@example.org"},
		"nobody@example.org":        {"nobody@example.org"},
		"nobody@unknown.example":    {"nobody@unknown.example"},
	} {
		got, err := x.Expand(t.Context(), in)
		require.NoError(t, err, in)
		assert.Equal(t, want, got, in)
	}
	known := &rewrite.Recipients{Expander: x}
	for in, want := range map[string]bool{"ROOT@example.org": true, "alice@example.org": true, "nobody@example.org": false, "root@example.net": false} {
		_, ok, err := known.Lookup(t.Context(), in)
		require.NoError(t, err)
		assert.Equal(t, want, ok, in)
	}
}

// An @ in a quoted local part does not make it an address of its own.
func TestQuotedAtIsNoAddress(t *testing.T) {
	t.Parallel()
	local := table{"example.org": ""}
	tab := table{"boss@v.example": "secret@example.net", "@v.example": "all@example.net"}
	for _, in := range []string{`"boss@v.example"@example.org`, `"boss@v.example"`, `"@v.example"`, `"@v.example"@example.org`} {
		got, err := (&rewrite.Virtual{Table: tab, Keys: rewrite.Keys{Local: local}}).Expand(t.Context(), in)
		require.NoError(t, err)
		assert.Equal(t, []string{in}, got)
		got, err = (&rewrite.Aliases{Table: tab, Domains: local}).Expand(t.Context(), in)
		require.NoError(t, err)
		assert.Equal(t, []string{in}, got)
	}
}

// One recipient whose alias is not enabled must not hold up the others of a
// message, so it is known at RCPT.
func TestRecipientsKnowBrokenAliases(t *testing.T) {
	t.Parallel()
	aliases := &rewrite.Aliases{Table: lookup.Inline{"run": "|true", "list": "alice, :include:/x", "ok": "alice"}, Domains: lookup.Inline{"example.org": "OK"}}
	r := &rewrite.Recipients{Expander: &rewrite.Expander{Aliases: aliases}}
	for _, user := range []string{"run", "list"} {
		_, _, err := r.Lookup(t.Context(), user+"@example.org")
		assert.ErrorIs(t, err, rewrite.ErrDisabled, user)
	}
	_, ok, err := r.Lookup(t.Context(), "ok@example.org")
	assert.NoError(t, err)
	assert.True(t, ok)
}

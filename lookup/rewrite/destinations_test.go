package rewrite_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup/rewrite"
)

func TestDestinations(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	write("list", "# members\nalice,\n bob@there\n")
	write("evil", "alice\n\"|reboot\"\n")
	a := &rewrite.Aliases{
		Table: table{
			"cmd": `"|/usr/bin/vacation -a \"x y\" alice", alice`, "file": "/var/mail/archive, /srv/box/", "own": `\own, other`,
			"list": ":include:" + filepath.Join(dir, "list"), "evil": ":include:" + filepath.Join(dir, "evil"),
			"odd": `"|x"@there, </etc/passwd@there>`, "broken": `a b@`,
		},
		Domains: table{"here": "OK"}, Includes: rewrite.IncludeDirs{dir},
	}
	for address, want := range map[string][]string{
		"cmd@here":  {`|/usr/bin/vacation -a "x y" alice`, "alice@here"},
		"file@here": {"/var/mail/archive", "/srv/box/"},
		"own@here":  {`\own@here`, "other@here"},
		"list@here": {"alice@here", "bob@there"},
		"odd@here":  {`"|x"@there`, `"/etc/passwd"@there`},
	} {
		got, ok, err := a.Destinations(t.Context(), address)
		require.NoError(t, err, address)
		assert.True(t, ok, address)
		assert.Equal(t, want, got, address)
	}
	_, _, err := a.Destinations(t.Context(), "evil@here")
	assert.ErrorIs(t, err, rewrite.ErrDisabled, "whoever keeps a list is not who keeps the aliases")
	_, _, err = a.Destinations(t.Context(), "broken@here")
	assert.ErrorIs(t, err, rewrite.ErrSyntax)
	for _, address := range []string{"nobody@here", "cmd@there"} {
		_, ok, err := a.Destinations(t.Context(), address)
		assert.NoError(t, err)
		assert.False(t, ok, address)
	}

	got, err := a.Expand(t.Context(), "list@here")
	require.NoError(t, err)
	assert.Equal(t, []string{"alice@here", "bob@there"}, got)
	_, err = a.Expand(t.Context(), "cmd@here")
	assert.ErrorIs(t, err, rewrite.ErrDisabled)
	a.Commands = true
	got, err = a.Expand(t.Context(), "cmd@here")
	require.NoError(t, err)
	assert.Equal(t, []string{"cmd@here"}, got, "the agent's")
	known := rewrite.Recipients{Expander: &rewrite.Expander{Aliases: a}}
	_, ok, err := known.Lookup(t.Context(), "file@here")
	require.NoError(t, err)
	assert.True(t, ok)

	// What only the agent can do is left to it.
	led := &rewrite.Aliases{Table: table{"list": "alice, bob", "owner-list": "carol", "plain": "alice", "self": "Self, bob", "own": `\alice, bob`, "more": "list, self, zoe"},
		Domains: table{"here": "OK"}, Delimiter: "+", Agent: true}
	for address, want := range map[string][]string{"list@here": {"list@here"}, "list+x@here": {"list+x@here"}, "owner-list@here": {"carol@here"}, "plain@here": {"alice@here"},
		"self@here": {"self@here"}, "own@here": {"own@here"}, "more@here": {"list@here", "self@here", "zoe@here"}} {
		got, err := led.Expand(t.Context(), address)
		require.NoError(t, err)
		assert.Equal(t, want, got, address)
	}

	list, err := a.Forward("alice@here", "# away\n\\alice, bob@there\n|exec vacation\n\"|a, b\",\n  carol\n")
	require.NoError(t, err)
	assert.Equal(t, []string{`\alice@here`, "bob@there", "|exec vacation", "|a, b", "carol@here"}, list)
	list, err = a.Forward("alice@here", "  bob@there\n")
	require.NoError(t, err)
	assert.Equal(t, []string{"bob@there"}, list, "a first line that begins with white space is one")
	for _, long := range []string{strings.Repeat("bob@there, ", 1<<17), strings.Repeat("bob@there,\n ", 1<<17)} {
		_, err = a.Forward("alice@here", long+"carol@there\n")
		assert.ErrorIs(t, err, rewrite.ErrSyntax, "or who stands at its end would get no mail")
	}
	_, err = a.Forward("alice@here", "bob@there\na b@\n")
	assert.ErrorIs(t, err, rewrite.ErrSyntax)
	assert.ErrorContains(t, err, "line 2")
}

// TestOwnMailbox has an address behind a backslash go to that user's mailbox, and no
// further, while the same without one is followed.
func TestOwnMailbox(t *testing.T) {
	t.Parallel()
	a := &rewrite.Aliases{
		Table:   table{"a": `\b`, "b": "c", "both": `\b, b, a`, "again": `b, \b`, "self": `\self, b`, "far": `\b@there`, "ext": "\\b+x"},
		Domains: table{"here": ""}, Delimiter: "+",
	}
	x := &rewrite.Expander{Virtual: &rewrite.Virtual{Table: table{"v@here": `\b`, "@old": "@here"}, Origin: func() string { return "here" }}, Aliases: a}
	for address, want := range map[string][]string{
		"a@here": {"b@here"}, "b@here": {"c@here"}, "both@here": {"b@here", "c@here"}, "again@here": {"c@here", "b@here"}, "self@here": {"self@here", "c@here"},
		"far@here": {"b@there"}, "ext@here": {"b+x@here"}, "v@here": {"c@here"}, `\b@old`: {"c@here"},
	} {
		got, err := x.Expand(t.Context(), address)
		require.NoError(t, err, address)
		assert.Equal(t, want, got, address)
	}
	a.Agent = true
	got, err := x.Expand(t.Context(), "both@here")
	require.NoError(t, err)
	assert.Equal(t, []string{"both@here"}, got, "only the agent can do it")
}

package rewrite_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/lookup/rewrite"
)

func TestVirtual(t *testing.T) {
	t.Parallel()
	v := &rewrite.Virtual{
		Table: table{
			"sales@v.example":  "alice@example.org, bob",
			"two@v.example":    "sales@v.example, sales@v.example, extra@example.net",
			"self@v.example":   "Self@v.example, copy@example.net",
			"@old.example":     "@new.example",
			"@new.example":     "@new.example",
			"info@catch":       "info@catch",
			"@catch":           "all@example.org",
			"ext@v.example":    "e1@example.org, e2@example.org",
			"dom@v.example":    "@w.example",
			"a@loop.example":   "b@loop.example",
			"b@loop.example":   "a@loop.example",
			"c@loop.example":   "d@loop.example, out@example.org",
			"d@loop.example":   "c@loop.example",
			"cmd@v.example":    "|cat",
			"late@v.example":   "x@y.example, @z.example",
			"none@v.example":   " , ",
			"broken@v.example": "two words@",
			"long@v.example":   strings.Repeat("x", 1000) + "@y.example",
		},
		Keys:   rewrite.Keys{Delimiter: "+"},
		Origin: origin,
	}
	tests := []struct {
		in   string
		want []string
	}{
		{"nobody@v.example", []string{"nobody@v.example"}},
		{"Sales@V.Example", []string{"alice@example.org", "bob@example.org"}},
		{"two@v.example", []string{"alice@example.org", "bob@example.org", "extra@example.net"}},
		{"self@v.example", []string{"Self@v.example", "copy@example.net"}},
		{"user@old.example", []string{"user@new.example"}},
		{"user+x@old.example", []string{"user+x@new.example"}},
		{`"o u"@old.example`, []string{`"o u"@new.example`}},
		{"info@catch", []string{"info@catch"}},
		{"other@catch", []string{"all@example.org"}},
		{"ext+tag@v.example", []string{"e1+tag@example.org", "e2+tag@example.org"}},
		{"dom+tag@v.example", []string{"dom+tag@w.example"}},
		{"c@loop.example", []string{"out@example.org"}},
	}
	for _, tt := range tests {
		got, err := v.Expand(t.Context(), tt.in)
		require.NoError(t, err, tt.in)
		assert.Equal(t, tt.want, got, tt.in)
	}
	for in, want := range map[string]error{
		"a@loop.example": rewrite.ErrExpansion, "none@v.example": rewrite.ErrExpansion, "long@v.example": rewrite.ErrExpansion,
		"cmd@v.example": rewrite.ErrSyntax, "late@v.example": rewrite.ErrSyntax, "broken@v.example": rewrite.ErrSyntax,
	} {
		_, err := v.Expand(t.Context(), in)
		require.ErrorIs(t, err, want, in)
		assert.True(t, mtakit.Temporary(err), in)
	}
}

func TestAliases(t *testing.T) {
	t.Parallel()
	a := &rewrite.Aliases{
		Table: table{
			"postmaster":       "root",
			"root":             "alice",
			"team":             `alice, bob@example.net, "carol"`,
			"only@example.org": "alice",
			"keep":             `\keep, away@example.net`,
			"odd user":         "alice",
			"list+special":     "bob",
			"list":             "alice",
			"cmd":              `"|/bin/cat"`,
			"file":             "alice, /var/mail/x",
			"incl":             ":include:/etc/list",
		},
		Domains:   table{"example.org": "", "example.com": ""},
		Delimiter: "+",
	}
	tests := []struct {
		in   string
		want []string
	}{
		{"Postmaster@example.com", []string{"alice@example.com"}},
		{"team@example.org", []string{"alice@example.org", "bob@example.net", "carol@example.org"}},
		{"team@other.example", []string{"team@other.example"}},
		{"only@example.org", []string{"alice@example.org"}},
		{"only@example.com", []string{"only@example.com"}},
		{"keep@example.org", []string{"keep@example.org", "away@example.net"}},
		{`"odd user"@example.org`, []string{"alice@example.org"}},
		{"list+special@example.org", []string{"bob@example.org"}},
		{"list+other@example.org", []string{"alice@example.org"}},
		{"team", []string{"team"}},
	}
	for _, tt := range tests {
		got, err := a.Expand(t.Context(), tt.in)
		require.NoError(t, err, tt.in)
		assert.Equal(t, tt.want, got, tt.in)
	}
	for _, user := range []string{"cmd", "file", "incl"} {
		_, err := a.Expand(t.Context(), user+"@example.org")
		require.ErrorIs(t, err, rewrite.ErrDisabled)
		_, isReply := mtakit.AsReply(err)
		assert.False(t, isReply, "the peer is not told what stands in our files")
	}
	open := &rewrite.Aliases{Table: a.Table}
	got, err := open.Expand(t.Context(), "postmaster@example.org")
	require.NoError(t, err)
	assert.Equal(t, []string{"postmaster@example.org"}, got, "no domain is ours")
}

func TestExpanderPrecedence(t *testing.T) {
	t.Parallel()
	x := &rewrite.Expander{
		Virtual:   &rewrite.Virtual{Table: table{"sales@example.org": "team@example.org", "info@example.org": "info@example.org"}},
		Mailboxes: table{"alice@example.org": "alice/", "@example.org": "rest/"},
		Aliases: &rewrite.Aliases{
			Table:   table{"alice": "mallory@evil.example", "sales": "mallory", "info": "mallory", "team": "alice, dave@example.org"},
			Domains: table{"example.org": ""},
		},
		Keys: rewrite.Keys{Delimiter: "+"},
	}
	for in, want := range map[string][]string{
		"alice@example.org":   {"alice@example.org"},
		"Alice+x@example.org": {"Alice+x@example.org"},
		"sales@example.org":   {"alice@example.org", "dave@example.org"},
		"info@example.org":    {"mallory@example.org"},
		"team@example.org":    {"alice@example.org", "dave@example.org"},
		"other@example.org":   {"other@example.org"},
	} {
		got, err := x.Expand(t.Context(), in)
		require.NoError(t, err, in)
		assert.Equal(t, want, got, in)
	}
}

func TestExpansionIsBounded(t *testing.T) {
	t.Parallel()
	everything := func(value func(user, domain string) string) (*rewrite.Virtual, *int) {
		asked := 0
		return &rewrite.Virtual{Table: rewrite.TableFunc(func(_ context.Context, key string) (string, bool, error) {
			asked++
			user, domain := rewrite.Split(key)
			return value(user, domain), true, nil
		})}, &asked
	}
	tests := []struct {
		name  string
		value func(user, domain string) string
	}{
		{"for ever another", func() func(user, domain string) string {
			n := 0
			return func(_, domain string) string {
				n++
				return fmt.Sprintf("u%d@%s", n, domain)
			}
		}()},
		{"always longer", func(user, domain string) string { return user + "x@" + domain }},
		{"a tree", func(user, domain string) string { return "0" + user + "@" + domain + ", 1" + user + "@" + domain }},
		{"a big list", func(_, _ string) string { return strings.Repeat("u@example.net, ", 100_000) }},
		{"a circle", func(user, domain string) string {
			if user == "a" {
				return "b@" + domain
			}
			return "a@" + domain
		}},
	}
	for _, tt := range tests {
		v, asked := everything(tt.value)
		_, err := v.Expand(t.Context(), "a@b.example")
		require.ErrorIs(t, err, rewrite.ErrExpansion, tt.name)
		assert.LessOrEqual(t, *asked, 12_000, tt.name)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	list := make([]string, 1001)
	for i := range list {
		list[i] = fmt.Sprintf("u%d@example.net", i)
	}
	tab := table{
		"full@v": strings.Join(list[:1000], ","), "over@v": strings.Join(list, ","), "sum@v": "full@v, one@more",
		"d0@v": "d1@v", "d1@v": "d2@v", "d2@v": "d3@v",
	}
	expand := func(v *rewrite.Virtual, address string) (int, error) {
		got, err := v.Expand(t.Context(), address)
		return len(got), err
	}
	n, err := expand(&rewrite.Virtual{Table: tab}, "full@v")
	require.NoError(t, err)
	assert.Equal(t, 1000, n)
	for _, address := range []string{"over@v", "sum@v"} {
		_, err = expand(&rewrite.Virtual{Table: tab}, address)
		require.ErrorIs(t, err, rewrite.ErrExpansion, address)
		n, err = expand(&rewrite.Virtual{Table: tab, Limit: 1001}, address)
		require.NoError(t, err, address)
		assert.Equal(t, 1001, n)
	}
	_, err = expand(&rewrite.Virtual{Table: tab, Depth: 3}, "d0@v")
	require.NoError(t, err)
	_, err = expand(&rewrite.Virtual{Table: tab, Depth: 2}, "d0@v")
	require.ErrorIs(t, err, rewrite.ErrExpansion)
}

func TestExpanderTableErrors(t *testing.T) {
	t.Parallel()
	domains := table{"b": ""}
	aliases := &rewrite.Aliases{Table: table{}, Domains: domains}
	for name, x := range map[string]*rewrite.Expander{
		"virtual":   {Virtual: &rewrite.Virtual{Table: broken}},
		"mailboxes": {Mailboxes: broken, Aliases: aliases},
		"domains":   {Aliases: &rewrite.Aliases{Table: table{}, Domains: broken}},
		"aliases":   {Aliases: &rewrite.Aliases{Table: broken, Domains: domains}},
	} {
		_, err := x.Expand(t.Context(), "a@b")
		require.ErrorIs(t, err, errTable, name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := (&rewrite.Virtual{Table: table{"a@b": "c@d"}}).Expand(ctx, "a@b")
	require.ErrorIs(t, err, context.Canceled)
}

// Users whose names differ beyond ASCII, or are no UTF-8 at all, are not one.
func TestExpanderKeepsUsersApart(t *testing.T) {
	t.Parallel()
	v := &rewrite.Virtual{Table: table{"all@v": "\xfea@b, \xffa@b, k@b, \u212a@b, K@b"}}
	got, err := v.Expand(t.Context(), "all@v")
	require.NoError(t, err)
	assert.Equal(t, []string{"\xfea@b", "\xffa@b", "k@b", "\u212a@b"}, got)
}

package lookup_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/tabletest"
)

// asked is a table that has nothing and keeps what it was asked for.
type asked struct {
	keys []string
	full bool
}

func (a *asked) Lookup(_ context.Context, key string) (string, bool, error) {
	a.keys = append(a.keys, key)
	return "", false, nil
}

func (a *asked) FullKeyOnly() bool { return a.full }

func TestSearchKeys(t *testing.T) {
	t.Parallel()
	long := "2001:db8:1:2:3:4:5:6"
	cases := []struct {
		name string
		make func(lookup.LookupTable) lookup.LookupTable
		key  string
		want []string
	}{
		{"address", address("+", nil), "user+ext@example.org", []string{"user+ext@example.org", "user@example.org", "@example.org"}},
		{"address of a local domain", address("+", lookup.Inline{"example.org": "OK"}), "user+ext@Example.ORG",
			[]string{"user+ext@Example.ORG", "user@Example.ORG", "user+ext", "user", "@Example.ORG"}},
		{"address of another domain", address("+", lookup.Inline{"example.org": "OK"}), "user@example.net", []string{"user@example.net", "@example.net"}},
		{"address without a delimiter", address("", nil), "user+ext@example.org", []string{"user+ext@example.org", "@example.org"}},
		{"address with many delimiters", address("+-", nil), "user-a+b@example.org", []string{"user-a+b@example.org", "user@example.org", "@example.org"}},
		{"address without a domain", address("+", nil), "user+ext", []string{"user+ext", "user"}},
		{"address without a user", address("+", nil), "@example.org", []string{"@example.org"}},
		{"address of a daemon", address("-", nil), "MAILER-DAEMON@example.org", []string{"MAILER-DAEMON@example.org", "@example.org"}},
		{"address of a list's owner", address("-", nil), "owner-list@example.org", []string{"owner-list@example.org", "@example.org"}},
		{"address of a list", address("-", nil), "list-request@example.org", []string{"list-request@example.org", "@example.org"}},
		{"address that starts with a delimiter", address("+", nil), "+ext@example.org", []string{"+ext@example.org", "@example.org"}},
		{"quoted address", address("+", nil), `"odd user+ext"@example.org`,
			[]string{`"odd user+ext"@example.org`, "odd user+ext@example.org", `"odd user"@example.org`, "odd user@example.org", "@example.org"}},
		{"quoted at sign", address("+", nil), `"a@b"@example.org`, []string{`"a@b"@example.org`, "a@b@example.org", "@example.org"}},

		{"access", access("+", false), "user+ext@mail.example.org",
			[]string{"user+ext@mail.example.org", "user@mail.example.org", "mail.example.org", "example.org", "org", "user+ext@", "user@"}},
		{"access with dots", access("", true), "user@mail.example.org",
			[]string{"user@mail.example.org", "mail.example.org", ".example.org", ".org", "user@"}},
		{"access of a literal", access("", false), "user@[192.0.2.1]", []string{"user@[192.0.2.1]", "[192.0.2.1]", "user@"}},
		{"access of the null sender", access("+", false), "<>", []string{"<>"}},
		{"access without a domain", access("+", false), "postmaster", []string{"postmaster", "postmaster@"}},

		{"client address", client(false), "192.0.2.1", []string{"192.0.2.1", "192.0.2", "192.0", "192"}},
		{"client address of IPv6", client(false), "2001:db8::1", []string{"2001:db8::1", "2001:db8:", "2001:db8", "2001"}},
		{"whole client address of IPv6", client(false), long,
			[]string{long, "2001:db8:1:2:3:4:5", "2001:db8:1:2:3:4", "2001:db8:1:2:3", "2001:db8:1:2", "2001:db8:1", "2001:db8", "2001"}},
		{"client address in capitals", client(false), "2001:DB8::1", []string{"2001:DB8::1", "2001:db8::1", "2001:db8:", "2001:db8", "2001"}},
		{"client address in two forms", client(false), "::ffff:192.0.2.1", []string{"::ffff:192.0.2.1", "192.0.2.1", "192.0.2", "192.0", "192"}},
		{"client address with a zone", client(false), "fe80::1%eth0", []string{"fe80::1%eth0", "fe80::1", "fe80:", "fe80"}},
		{"client name", client(false), "mx.example.org", []string{"mx.example.org", "example.org", "org"}},
		{"client name with dots", client(true), "mx.example.org", []string{"mx.example.org", ".example.org", ".org"}},
		{"client unknown", client(false), "unknown", []string{"unknown"}},

		{"domain", domain(false), "mx.example.org", []string{"mx.example.org", "example.org", "org"}},
		{"domain with a dot", domain(false), "mx.example.org.", []string{"mx.example.org.", "mx.example.org", "example.org", "org"}},
		{"domain that is a literal", domain(false), "[192.0.2.1]", []string{"[192.0.2.1]"}},
		{"domain that is an address", domain(false), "192.0.2.1", []string{"192.0.2.1"}},
		{"domain of dots", domain(false), "..", []string{"..", "."}},

		{"tag", func(t lookup.LookupTable) lookup.LookupTable { return lookup.Client(lookup.Tag("Connect:", t)) }, "192.0.2.1",
			[]string{"connect:192.0.2.1", "192.0.2.1", "connect:192.0.2", "192.0.2", "connect:192.0", "192.0", "connect:192", "192"}},
		{"tag only", func(t lookup.LookupTable) lookup.LookupTable {
			return lookup.Domain(lookup.TagTable{Tag: "Helo:", Table: t, TaggedOnly: true})
		}, "MX.org", []string{"helo:mx.org", "helo:org"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var fixed, other asked
			get(t, c.make(lookup.Maps(&fixed, &other)), c.key)
			assert.Equal(t, c.want, fixed.keys)
			assert.Equal(t, c.want, other.keys)
		})
	}
}

func address(delimiters string, local lookup.LookupTable) func(lookup.LookupTable) lookup.LookupTable {
	return func(t lookup.LookupTable) lookup.LookupTable {
		return &lookup.AddressTable{Tables: lookup.Maps(t), Delimiters: delimiters, Local: local}
	}
}

func access(delimiters string, dotted bool) func(lookup.LookupTable) lookup.LookupTable {
	return func(t lookup.LookupTable) lookup.LookupTable {
		return &lookup.AccessAddressTable{Tables: lookup.Maps(t), Delimiters: delimiters, Dotted: dotted}
	}
}

func client(dotted bool) func(lookup.LookupTable) lookup.LookupTable {
	return func(t lookup.LookupTable) lookup.LookupTable {
		return &lookup.ClientTable{Tables: lookup.Maps(t), Dotted: dotted}
	}
}

func domain(dotted bool) func(lookup.LookupTable) lookup.LookupTable {
	return func(t lookup.LookupTable) lookup.LookupTable {
		return &lookup.DomainTable{Tables: lookup.Maps(t), Dotted: dotted}
	}
}

// TestSearchOrder: each key in all tables before the next key.
func TestSearchOrder(t *testing.T) {
	t.Parallel()
	first := lookup.Inline{"example.org": "first", "@example.org": "catch-all"}
	second := lookup.Inline{"mx.example.org": "second", "user@example.org": "second"}
	assert.Equal(t, "second", get(t, lookup.Client(first, second), "mx.example.org"))
	assert.Equal(t, "second", get(t, lookup.Address(first, second), "user@example.org"))
	assert.Equal(t, "second", get(t, lookup.AccessAddress(first, second), "user@mx.example.org"))
	assert.Equal(t, "first", get(t, lookup.Domain(first, second), "a.example.org"))
}

// TestSearchLeavesPatternsAlone also through tables made of tables.
func TestSearchLeavesPatternsAlone(t *testing.T) {
	t.Parallel()
	searches := map[string]func(...lookup.LookupTable) lookup.LookupTable{
		"user+x@mx.example.org": func(t ...lookup.LookupTable) lookup.LookupTable { return lookup.AccessAddress(t...) },
		"user@mx.example.org":   func(t ...lookup.LookupTable) lookup.LookupTable { return lookup.Address(t...) },
		"mx.example.org":        func(t ...lookup.LookupTable) lookup.LookupTable { return lookup.Domain(t...) },
		"192.0.2.1":             func(t ...lookup.LookupTable) lookup.LookupTable { return lookup.Client(t...) },
	}
	for key, search := range searches {
		pattern, fixed := &asked{full: true}, &asked{}
		get(t, search(lookup.Tag("To:", lookup.Union(lookup.Maps(nil, pattern, fixed)))), key)
		assert.Equal(t, []string{key}, pattern.keys)
		assert.Greater(t, len(fixed.keys), 2)
		assert.True(t, lookup.FullKeyOnly(search(fixed)), "a search is asked with the full key only")

		alone := &asked{full: true}
		get(t, search(alone), key)
		assert.Equal(t, []string{key}, alone.keys)
	}
}

func TestSearchStopsAtErrors(t *testing.T) {
	t.Parallel()
	behind := lookup.Inline{"user@example.org": "x", "example.org": "x", "@example.org": "x", "192.0": "x"}
	partOnly := lookup.LookupTableFunc(func(ctx context.Context, key string) (string, bool, error) {
		if key == "example.org" || key == "@example.org" || key == "192.0.2" {
			return "", false, errBroken
		}
		return "", false, nil
	})
	for _, table := range []lookup.LookupTable{
		lookup.Maps(broken, behind), lookup.Union(behind, broken), lookup.Address(broken, behind),
		lookup.AccessAddress(broken, behind), lookup.Tag("To:", lookup.Maps(broken, behind)),
		&lookup.AddressTable{Tables: lookup.Maps(lookup.Inline{"@example.org": "x"}), Local: broken},
	} {
		_, ok, err := table.Lookup(t.Context(), "user@example.org")
		require.ErrorIs(t, err, errBroken, "%T", table)
		assert.False(t, ok)
	}
	for key, table := range map[string]lookup.LookupTable{
		"a@example.org": lookup.Address(partOnly, behind), "b@x.example.org": lookup.AccessAddress(partOnly, behind),
		"x.example.org": lookup.Domain(partOnly, behind), "192.0.2.1": lookup.Client(partOnly, behind),
	} {
		_, ok, err := table.Lookup(t.Context(), key)
		require.ErrorIs(t, err, errBroken, "%T", table)
		assert.False(t, ok)
	}
}

func TestAddressPropagatesExtensions(t *testing.T) {
	t.Parallel()
	table := &lookup.AddressTable{Delimiters: "+", Propagate: true, Tables: lookup.Maps(lookup.Inline{
		"user@example.org":  `a@example.net, "b c"@example.net,d, @example.net`,
		"own+x@example.org": "own@example.net",
		"@example.org":      "all@example.net",
	})}
	for key, want := range map[string]string{
		"user+ext@example.org": `a+ext@example.net, "b c+ext"@example.net, d+ext, @example.net`,
		"user@example.org":     `a@example.net, "b c"@example.net,d, @example.net`,
		"own+x@example.org":    "own@example.net",
		"any+y@example.org":    "all+y@example.net",
	} {
		assert.Equal(t, want, get(t, table, key), key)
	}
	table.Propagate = false
	assert.Equal(t, "all@example.net", get(t, table, "any+y@example.org"))
}

func TestSearchesConform(t *testing.T) {
	t.Parallel()
	values := lookup.Inline{"user@example.org": "1", "@example.net": "2", "example.com": "3", "192.0.2": "4", "root": "5", "to:x@example.org": "6"}
	for name, c := range map[string]struct {
		table   lookup.LookupTable
		found   map[string]string
		missing []string
	}{
		"address": {lookup.Address(values), map[string]string{"user@example.org": "1", "x@example.net": "2", "root": "5"}, []string{"x@example.org"}},
		"access":  {lookup.AccessAddress(values), map[string]string{"user@example.org": "1", "x@mx.example.com": "3"}, []string{"x@example.org"}},
		"client":  {lookup.Client(values), map[string]string{"192.0.2.9": "4", "mx.example.com": "3"}, []string{"192.0.3.1", "::1"}},
		"domain":  {lookup.Domain(values), map[string]string{"mx.example.com": "3"}, []string{"example.org"}},
		"tag":     {lookup.Tag("To:", values), map[string]string{"X@example.org": "6", "root": "5"}, []string{"y@example.org"}},
		"maps":    {lookup.Maps(lookup.Inline{}, nil, values), map[string]string{"root": "5"}, []string{"x"}},
		"union":   {lookup.Union(values, nil, lookup.Inline{"root": "", "x": ""}, lookup.Inline{"root": "7"}), map[string]string{"root": "5,7", "x": ""}, []string{"y"}},
		"inline":  {values, map[string]string{"ROOT": "5"}, []string{"x"}},
		"none":    {lookup.Maps(nil, lookup.Tag("To:", nil), lookup.Static("x")), map[string]string{"x": "x"}, []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tabletest.Run(t, c.table, tabletest.Contents{Found: c.found, Missing: c.missing})
		})
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for plain, quoted := range map[string]string{
		"user": "user", "a.b": "a.b", "odd user": `"odd user"`, `a"b\c`: `"a\"b\\c"`, ".a": `".a"`, "a..b": `"a..b"`, "": `""`, "gr\u00fc\u00dfe": "gr\u00fc\u00dfe",
	} {
		assert.Equal(t, quoted, lookup.Quote(plain))
		assert.Equal(t, plain, lookup.Unquote(quoted))
	}
}

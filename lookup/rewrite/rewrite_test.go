package rewrite_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/lookup/rewrite"
)

// table is a table of whole strings.
type table map[string]string

func (t table) Lookup(_ context.Context, key string) (string, bool, error) {
	v, ok := t[key]
	return v, ok, nil
}

// pattern is a table that wants full keys only, and remembers them.
type pattern struct {
	suffix, value string
	keys          *[]string
}

func (p pattern) FullKeyOnly() bool { return true }

func (p pattern) Lookup(_ context.Context, key string) (string, bool, error) {
	*p.keys = append(*p.keys, key)
	return p.value, strings.HasSuffix(key, p.suffix), nil
}

var errTable = errors.New("the database is gone")

// broken cannot answer.
var broken = rewrite.TableFunc(func(context.Context, string) (string, bool, error) { return "", false, errTable })

// spy remembers the keys of a table that has none of them.
func spy(keys *[]string) rewrite.Table {
	return rewrite.TableFunc(func(_ context.Context, key string) (string, bool, error) {
		*keys = append(*keys, key)
		return "", false, nil
	})
}

func origin() string { return "example.org" }

// Example puts the tables of a small site together and sends a list's mail
// through them.
func Example() {
	domains := table{"example.org": ""}
	mailboxes := table{"alice@example.org": "alice/", "bob@example.org": "bob/"}
	expander := &rewrite.Expander{
		Virtual:   &rewrite.Virtual{Table: table{"sales@example.org": "alice@example.org, boss@example.net"}},
		Mailboxes: mailboxes,
		Aliases:   &rewrite.Aliases{Table: table{"team": "alice, bob, sales"}, Domains: domains},
	}
	cleanup := &rewrite.Cleanup{Expander: expander}
	router := &rewrite.Router{Domains: domains, Mailboxes: mailboxes}

	ctx := context.Background()
	env := &mtakit.Envelope{Recipients: []mtakit.Recipient{{Address: "team@example.org"}}}
	if _, err := cleanup.Filter(ctx, env, mtakit.NewMessage([]byte("Subject: hi\r\n\r\n"))); err != nil {
		fmt.Println(err)
	}
	for _, r := range env.Recipients {
		route, err := router.Route(ctx, env, &r)
		fmt.Println(r.Address, r.Original, route.Transport, route.NextHop, err)
	}
	// Output:
	// alice@example.org team@example.org local example.org <nil>
	// bob@example.org team@example.org local example.org <nil>
	// boss@example.net team@example.org smtp example.net <nil>
}

func TestTrivial(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"", ""},
		{"user@example.com", "user@example.com"},
		{"postmaster", "postmaster@example.org"},
		{"User@Example.COM", "User@Example.COM"},
		{"odd user", `"odd user"@example.org`},
		{`"odd user"`, `"odd user"@example.org`},
		{`"a@b"`, `"a@b"@example.org`},
		{"user@example.com.", "user@example.com"},
		{"user@example.com..", "user@example.com.."},
		{"user@.", "user@"},
		{"user@", "user@"},
		{"@", "@"},
		{"@a,@b:user@c", "user@c"},
		{"@a:user", "user@example.org"},
		{"@a", "@a"},
		{"user@[192.0.2.1]", "user@[192.0.2.1]"},
		{"user@[IPv6:2001:db8::1]", "user@[IPv6:2001:db8::1]"},
		{"user@one@two", "user@one@two"},
	}
	trivial := &rewrite.Trivial{Origin: origin}
	for _, tt := range tests {
		got, err := trivial.Rewrite(t.Context(), tt.in)
		require.NoError(t, err)
		assert.Equal(t, tt.want, got, tt.in)
		again, err := trivial.Rewrite(t.Context(), got)
		require.NoError(t, err)
		assert.Equal(t, got, again, "twice: %s", tt.in)
	}
	for _, bare := range []*rewrite.Trivial{{}, {Origin: func() string { return "" }}} {
		got, err := bare.Rewrite(t.Context(), "postmaster")
		require.NoError(t, err)
		assert.Equal(t, "postmaster", got)
	}
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	c := &rewrite.Canonical{
		Sender:    table{"alice@example.org": "alice.sender@example.org"},
		Recipient: table{"alice@example.org": "alice.rcpt@example.org"},
		Both: table{
			"alice.sender@example.org": "Alice.Example@example.org",
			"bob@example.org":          "robert@example.org", "robert@example.org": "rob",
			"rob@example.org":   "rob@example.org",
			"carol":             "carola@example.net",
			"@old.example":      "@new.example",
			"loop1@l.example":   "loop2@l.example",
			"loop2@l.example":   "loop1@l.example",
			"two@example.org":   "a@example.org, b@example.org",
			"bad@example.org":   "|cat",
			`"o d"@b.example`:   "odd@b.example",
			"plain x@b.example": "px@b.example",
		},
		Keys:   rewrite.Keys{Delimiter: "+", Local: table{"example.org": ""}},
		Origin: origin,
	}
	tests := []struct{ in, sender, rcpt string }{
		{"", "", ""},
		{"nobody@example.org", "nobody@example.org", "nobody@example.org"},
		{"alice@example.org", "Alice.Example@example.org", "alice.rcpt@example.org"},
		{"bob@example.org", "rob@example.org", "rob@example.org"},
		{"Bob+x@Example.ORG", "rob+x@example.org", "rob+x@example.org"},
		{"carol@example.org", "carola@example.net", "carola@example.net"},
		{"carol@example.com", "carol@example.com", "carol@example.com"},
		{"u+e@old.example", "u+e@new.example", "u+e@new.example"},
		{`"o d"@b.example`, "odd@b.example", "odd@b.example"},
		{`"plain x"@b.example`, "px@b.example", "px@b.example"},
	}
	for _, tt := range tests {
		got, err := c.RewriteSender(t.Context(), tt.in)
		require.NoError(t, err)
		assert.Equal(t, tt.sender, got, tt.in)
		got, err = c.RewriteRecipient(t.Context(), tt.in)
		require.NoError(t, err)
		assert.Equal(t, tt.rcpt, got, tt.in)
	}
	for address, want := range map[string]error{
		"loop1@l.example": rewrite.ErrExpansion, "two@example.org": rewrite.ErrSyntax, "bad@example.org": rewrite.ErrSyntax,
	} {
		_, err := c.RewriteRecipient(t.Context(), address)
		assert.ErrorIs(t, err, want, address)
		assert.True(t, mtakit.Temporary(err))
	}
	_, err := (&rewrite.Canonical{Both: broken}).RewriteSender(t.Context(), "a@b")
	assert.ErrorIs(t, err, errTable)
}

func TestKeyOrder(t *testing.T) {
	t.Parallel()
	ctx, local := t.Context(), table{"example.org": ""}
	tests := []struct {
		name string
		ask  func(rewrite.Table) error
		want []string
	}{
		{"canonical", func(s rewrite.Table) error {
			_, err := (&rewrite.Canonical{Both: s, Keys: rewrite.Keys{Delimiter: "+", Local: local}}).RewriteSender(ctx, "User+Ext@Example.org")
			return err
		}, []string{"User+Ext@Example.org", "user+ext@example.org", "user@example.org", "user+ext", "user", "@example.org"}},
		{"quoted first", func(s rewrite.Table) error {
			_, err := (&rewrite.Virtual{Table: s}).Expand(ctx, `"a b"@example.com`)
			return err
		}, []string{`"a b"@example.com`, "a b@example.com", "@example.com"}},
		{"no extension", func(s rewrite.Table) error {
			_, err := (&rewrite.Virtual{Table: s}).Expand(ctx, "user+ext@example.com")
			return err
		}, []string{"user+ext@example.com", "@example.com"}},
		{"aliases", func(s rewrite.Table) error {
			_, err := (&rewrite.Aliases{Table: s, Domains: local, Delimiter: "+"}).Expand(ctx, "user+ext@example.org")
			return err
		}, []string{"user+ext@example.org", "user@example.org", "user+ext", "user"}},
		{"aliases, other domain", func(s rewrite.Table) error {
			_, err := (&rewrite.Aliases{Table: s, Domains: local}).Expand(ctx, "user@example.com")
			return err
		}, nil},
		{"transport", func(s rewrite.Table) error {
			_, err := (&rewrite.Transport{Table: s, Delimiter: "+"}).Apply(ctx, "user+ext@a.b.Example", &mtakit.Route{})
			return err
		}, []string{"user+ext@a.b.Example", "user+ext@a.b.example", "user@a.b.example", "a.b.example", ".b.example", ".example", "*"}},
		{"transport, literal", func(s rewrite.Table) error {
			_, err := (&rewrite.Transport{Table: s}).Apply(ctx, "user@[192.0.2.1]", &mtakit.Route{})
			return err
		}, []string{"user@[192.0.2.1]", "[192.0.2.1]", "*"}},
	}
	for _, tt := range tests {
		var keys []string
		require.NoError(t, tt.ask(spy(&keys)), tt.name)
		assert.Equal(t, tt.want, keys, tt.name)
		assert.NotContains(t, keys, "", tt.name)
	}
}

func TestPatternTablesGetFullKeysOnly(t *testing.T) {
	t.Parallel()
	var keys []string
	p := pattern{"@never.example", "", &keys}
	ctx, k := t.Context(), rewrite.Keys{Delimiter: "+", Local: table{"example.org": ""}}
	const address = "User+Ext@Example.org"
	_, err := (&rewrite.Virtual{Table: p, Keys: k}).Expand(ctx, address)
	require.NoError(t, err)
	_, err = (&rewrite.Transport{Table: p, Delimiter: "+"}).Apply(ctx, address, &mtakit.Route{})
	require.NoError(t, err)
	_, err = (&rewrite.Relocated{Table: p, Keys: k}).Reply(ctx, address)
	require.NoError(t, err)
	assert.Equal(t, []string{address, address, address}, keys)

	keys = nil
	_, err = (&rewrite.Aliases{Table: p, Domains: k.Local, Delimiter: "+"}).Expand(ctx, address)
	require.NoError(t, err)
	assert.Equal(t, []string{address, "user+ext"}, keys, "the local part is a full key of aliases(5)")
}

func TestRelocated(t *testing.T) {
	t.Parallel()
	r := &rewrite.Relocated{
		Table:   table{"old@example.org": "new@example.net", "@gone.example": "+1 555\n0100", "kept@example.org": "x"},
		Aliased: table{"kept@example.org": "y@example.org"},
	}
	reply, err := r.Reply(t.Context(), "Old@example.org")
	require.NoError(t, err)
	assert.Equal(t, "SMTP error 550: User has moved to new@example.net", reply.Error())
	reply, err = r.Reply(t.Context(), "any@gone.example")
	require.NoError(t, err)
	assert.Equal(t, "User has moved to +1 555 0100", reply.Message)
	for _, address := range []string{"kept@example.org", "other@example.org", ""} {
		reply, err = r.Reply(t.Context(), address)
		require.NoError(t, err)
		assert.Nil(t, reply, address)
	}
	v, err := r.Check(t.Context(), &mtakit.Session{Recipient: &mtakit.Recipient{Address: "old@example.org"}})
	require.NoError(t, err)
	assert.Equal(t, mtakit.Reject, v.Action)
	assert.Equal(t, "<old@example.org>: Recipient address rejected: User has moved to new@example.net", v.Reply.Message)
	assert.Equal(t, [3]int{5, 1, 6}, [3]int(v.Reply.EnhancedCode))
	v, err = r.Check(t.Context(), &mtakit.Session{})
	require.NoError(t, err)
	assert.Equal(t, mtakit.Verdict{}, v)
	for _, r := range []*rewrite.Relocated{{Table: broken}, {Table: r.Table, Aliased: broken}} {
		_, err = r.Check(t.Context(), &mtakit.Session{Recipient: &mtakit.Recipient{Address: "old@example.org"}})
		assert.ErrorIs(t, err, errTable)
	}
}

func TestRecipients(t *testing.T) {
	t.Parallel()
	domains := table{"example.org": ""}
	r := &rewrite.Recipients{
		Canonical: &rewrite.Canonical{Recipient: table{"c@example.org": "alice@example.org"}},
		Expander: &rewrite.Expander{
			Virtual:   &rewrite.Virtual{Table: table{"v@example.org": "x@example.net"}},
			Mailboxes: table{"alice@example.org": "alice/", "@catch.example": "all/"},
			Aliases:   &rewrite.Aliases{Table: table{"team": "alice"}, Domains: domains},
		},
	}
	for address, want := range map[string]bool{
		"c@example.org": true, "v@example.org": true, "Alice@example.org": true, "any@catch.example": true,
		"team@example.org": true, "team@example.com": false, "nobody@example.org": false, "": false,
	} {
		_, ok, err := r.Lookup(t.Context(), address)
		require.NoError(t, err)
		assert.Equal(t, want, ok, address)
	}
	for _, r := range []*rewrite.Recipients{
		{Canonical: &rewrite.Canonical{Both: broken}},
		{Expander: &rewrite.Expander{Virtual: &rewrite.Virtual{Table: broken}}},
		{Expander: &rewrite.Expander{Mailboxes: broken}},
		{Expander: &rewrite.Expander{Aliases: &rewrite.Aliases{Table: broken, Domains: domains}}},
		{Expander: &rewrite.Expander{Aliases: &rewrite.Aliases{Table: domains, Domains: broken}}},
	} {
		_, ok, err := r.Lookup(t.Context(), "nobody@example.org")
		assert.ErrorIs(t, err, errTable)
		assert.False(t, ok)
	}
	_, ok, err := (&rewrite.Recipients{}).Lookup(t.Context(), "a@b")
	require.NoError(t, err)
	assert.False(t, ok)
	assert.True(t, r.FullKeyOnly())
}

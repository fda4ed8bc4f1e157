package rewrite_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/rewrite"
)

func TestTrivialHacks(t *testing.T) {
	t.Parallel()
	all := &rewrite.Trivial{Origin: func() string { return "example.org" }, Domain: func() string { return "example.net" }, BangPaths: true, PercentHack: true}
	none := &rewrite.Trivial{}
	for _, c := range []struct{ in, all, none string }{
		{"user", "user@example.org", "user"},
		{"user@host", "user@host.example.net", "user@host"},
		{"user@example.com", "user@example.com", "user@example.com"},
		{"user@example.com.", "user@example.com", "user@example.com"},
		{"user@host.", "user@host", "user@host"},
		{"user@example.com..", "user@example.com..", "user@example.com.."},
		{"host!user", "user@host.example.net", "host!user"},
		{"a.example!b!user", "b!user@a.example", "a.example!b!user"},
		{"user%a.example", "user@a.example", "user%a.example"},
		{"user%b%a.example", "user%b@a.example", "user%b%a.example"},
		{"user%a.example@example.com", "user%a.example@example.com", "user%a.example@example.com"},
		{"host!user@example.com", "host!user@example.com", "host!user@example.com"},
		{`"a!b"`, `a!b@example.org`, `"a!b"`},
		{`"a%b"`, `a%b@example.org`, `"a%b"`},
		{"!user", "!user@example.org", "!user"},
		{"user%", "user%@example.org", "user%"},
		{"@a.example,@b.example:user@host", "user@host.example.net", "user@host"},
		{"user@[192.0.2.1]", "user@[192.0.2.1]", "user@[192.0.2.1]"},
		{"user@", "user@", "user@"},
		{"@host", "@host", "@host"},
		{"", "", ""},
	} {
		got, err := all.Rewrite(t.Context(), c.in)
		require.NoError(t, err)
		assert.Equal(t, c.all, got, c.in)
		got, err = none.Rewrite(t.Context(), c.in)
		require.NoError(t, err)
		assert.Equal(t, c.none, got, c.in)
	}
}

// TestCanonicalClasses has each table heeded in its places only.
func TestCanonicalClasses(t *testing.T) {
	t.Parallel()
	tables := func() *rewrite.Canonical {
		return &rewrite.Canonical{Sender: lookup.Inline{"a@example.org": "sender@example.org"}, Recipient: lookup.Inline{"a@example.org": "recipient@example.org"},
			Both: lookup.Inline{"a@example.org": "both@example.org", "sender@example.org": "s@example.org"}}
	}
	ask := func(c *rewrite.Canonical) (all []string) {
		for _, class := range []rewrite.Class{rewrite.EnvelopeSender, rewrite.EnvelopeRecipient, rewrite.HeaderSender, rewrite.HeaderRecipient} {
			address, err := c.Map(t.Context(), class, "a@example.org")
			require.NoError(t, err)
			all = append(all, address)
		}
		return all
	}
	assert.Equal(t, []string{"s@example.org", "recipient@example.org", "s@example.org", "recipient@example.org"}, ask(tables()))
	c := tables()
	c.SenderClasses, c.RecipientClasses, c.BothClasses = rewrite.EnvelopeSender, rewrite.HeaderRecipient, rewrite.HeaderSender|rewrite.EnvelopeRecipient
	assert.Equal(t, []string{"sender@example.org", "both@example.org", "both@example.org", "recipient@example.org"}, ask(c))
}

func TestMasquerade(t *testing.T) {
	t.Parallel()
	m := &rewrite.Masquerade{Domains: []string{"!lists.example.org", "example.org", "a.example.net", "example.net"}, Exceptions: lookup.Inline{"root": "", "odd user": "x"}}
	for in, want := range map[string]string{
		"user@host.example.org": "user@example.org", "user@a.b.Example.ORG": "user@example.org", "user@example.org": "user@example.org", "User@EXAMPLE.org": "User@EXAMPLE.org",
		"user@lists.example.org": "user@lists.example.org", "user@x.lists.example.org": "user@x.lists.example.org",
		"user@b.a.example.net": "user@a.example.net", "user@c.example.net": "user@example.net", "user@badexample.org": "user@badexample.org",
		"root@host.example.org": "root@host.example.org", "ROOT@host.example.org": "ROOT@host.example.org", `"odd user"@host.example.org`: `"odd user"@host.example.org`,
		"user": "user", "": "", `"a@b"@host.example.org`: `"a@b"@example.org`, "user@[192.0.2.1]": "user@[192.0.2.1]",
	} {
		got, err := m.Map(t.Context(), rewrite.HeaderSender, in)
		require.NoError(t, err)
		assert.Equal(t, want, got, in)
		got, err = m.Map(t.Context(), rewrite.EnvelopeRecipient, in)
		require.NoError(t, err)
		assert.Equal(t, in, got, "envelope recipients stay")
	}
	m.Classes = rewrite.EnvelopeRecipient
	got, err := m.Map(t.Context(), rewrite.EnvelopeRecipient, "user@host.example.org")
	require.NoError(t, err)
	assert.Equal(t, "user@example.org", got)
	m.Exceptions = lookup.Fail{}
	_, err = m.Map(t.Context(), rewrite.EnvelopeRecipient, "user@host.example.org")
	require.ErrorIs(t, err, lookup.ErrFail)
	got, err = (&rewrite.Masquerade{}).Map(t.Context(), rewrite.HeaderSender, "user@host.example.org")
	require.NoError(t, err)
	assert.Equal(t, "user@host.example.org", got)
}

func TestBCC(t *testing.T) {
	t.Parallel()
	b := &rewrite.BCC{Always: "archive", Sender: lookup.Inline{"boss@example.org": "legal@example.org"},
		Recipient: lookup.Inline{"shop@example.org": "sales@example.org, owner", "@example.net": "net@example.org"}, Origin: func() string { return "example.org" }}
	recipients := []mtakit.Recipient{{Address: "shop@example.org"}, {Address: "x@example.net"}, {Address: "sales@example.org"}}
	got, err := b.Add(t.Context(), "boss@example.org", recipients)
	require.NoError(t, err)
	var all []string
	for i, r := range got {
		all = append(all, r.Address)
		if i >= 3 {
			assert.Equal(t, []smtp.DSNNotify{smtp.DSNNotifyNever}, r.Options.Notify)
		}
	}
	assert.Equal(t, []string{"shop@example.org", "x@example.net", "sales@example.org", "archive@example.org", "legal@example.org", "owner@example.org", "net@example.org"}, all)
	assert.Len(t, recipients, 3)
	got, err = b.Add(t.Context(), "", nil)
	require.NoError(t, err)
	assert.Empty(t, got)
	_, err = (&rewrite.BCC{Recipient: lookup.Fail{}}).Add(t.Context(), "a@b", recipients)
	require.ErrorIs(t, err, lookup.ErrFail)
	got, err = (&rewrite.BCC{}).Add(t.Context(), "a@b", recipients)
	require.NoError(t, err)
	assert.Equal(t, recipients, got)
}

// TestCleanupInOrder has canonical, masquerading, copies and virtual meet.
func TestCleanupInOrder(t *testing.T) {
	t.Parallel()
	c := &rewrite.Cleanup{
		Canonical:  &rewrite.Canonical{Both: lookup.Inline{"old@example.org": "new@host.example.org"}},
		Masquerade: &rewrite.Masquerade{Domains: []string{"example.org"}},
		BCC:        &rewrite.BCC{Recipient: lookup.Inline{"new@host.example.org": "copy@example.org"}},
		Expander:   &rewrite.Expander{Virtual: &rewrite.Virtual{Table: lookup.Inline{"copy@example.org": "one@example.net, two@example.net", "new@host.example.org": "box@example.net"}}},
	}
	env := &mtakit.Envelope{Sender: "old@example.org", Recipients: []mtakit.Recipient{{Address: "old@example.org"}}}
	m := mtakit.NewMessage([]byte("From: old@example.org\r\nTo: Old <old@example.org>\r\n\r\n"))
	v, err := c.Filter(t.Context(), env, m)
	require.NoError(t, err)
	require.Nil(t, v.Reply)
	assert.Equal(t, "new@example.org", env.Sender)
	var all []string
	for _, r := range env.Recipients {
		all = append(all, r.Address)
	}
	assert.Equal(t, []string{"box@example.net", "one@example.net", "two@example.net"}, all)
	assert.Equal(t, "old@example.org", env.Recipients[0].Original)
	from, _ := m.Header.Get("From")
	to, _ := m.Header.Get("To")
	assert.Equal(t, "new@example.org", from)
	assert.Equal(t, "Old <new@example.org>", to)
}

// TestCopiesAreRecipients has the addresses of copies rewritten as those of recipients,
// and nobody get two.
func TestCopiesAreRecipients(t *testing.T) {
	t.Parallel()
	c := &rewrite.Cleanup{
		Trivial:    &rewrite.Trivial{Domain: func() string { return "example.org" }},
		Canonical:  &rewrite.Canonical{Both: lookup.Inline{"archive@log.example.org": "kept@example.org"}},
		Masquerade: &rewrite.Masquerade{Domains: []string{"example.net"}, Classes: rewrite.EnvelopeRecipient},
		BCC:        &rewrite.BCC{Always: "archive@log", Recipient: lookup.Inline{"team@example.org": "alice@example.org, host@a.example.net, dave@example.org"}},
		Expander:   &rewrite.Expander{Virtual: &rewrite.Virtual{Table: lookup.Inline{"team@example.org": "alice@example.org, bob@example.org", "kept@example.org": "final@example.com, bob@example.org"}}},
	}
	loud := smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyFailure}}
	env := &mtakit.Envelope{Sender: "x@example.com", Recipients: []mtakit.Recipient{{Address: "team@example.org"}, {Address: "dave@example.org", Options: loud}, {Address: "dave@example.org"}}}
	_, err := c.Filter(t.Context(), env, mtakit.NewMessage([]byte("Subject: x\r\n\r\n")))
	require.NoError(t, err)
	var all []string
	for _, r := range env.Recipients {
		all = append(all, fmt.Sprint(r.Address, r.Options.Notify))
	}
	assert.Equal(t, []string{"alice@example.org[]", "bob@example.org[]", "dave@example.org[FAILURE]", "dave@example.org[]", "final@example.com[NEVER]", "host@example.net[NEVER]"}, all)
}

// noted is an agent that notes what it is given.
type noted struct{ got *mtakit.Delivery }

func (n *noted) Deliver(_ context.Context, d *mtakit.Delivery) []mtakit.Result {
	n.got = d
	return make([]mtakit.Result, len(d.Recipients))
}

func TestOutgoing(t *testing.T) {
	t.Parallel()
	agent := new(noted)
	o := &rewrite.Outgoing{Agent: agent, Mapper: &rewrite.Generic{Table: lookup.Inline{"alice@localhost.example": "alice@example.org", "alice@example.org": "never@example.org", "@localhost.example": "@example.org"}}}
	d := &mtakit.Delivery{
		Envelope: &mtakit.Envelope{Sender: "alice@localhost.example"}, Recipients: []mtakit.Recipient{{Address: "bob@localhost.example"}, {Address: "carol@example.net"}},
		Message: mtakit.NewMessage([]byte("From: Alice <alice@localhost.example>\r\nCc: bob@localhost.example\r\nSubject: alice@localhost.example\r\n\r\nbody\r\n")),
	}
	require.Len(t, o.Deliver(t.Context(), d), 2)
	assert.Equal(t, "alice@example.org", agent.got.Envelope.Sender)
	assert.Equal(t, "bob@example.org", agent.got.Recipients[0].Address)
	assert.Equal(t, "bob@localhost.example", agent.got.Recipients[0].OriginalAddress())
	assert.Equal(t, "carol@example.net", agent.got.Recipients[1].Address)
	from, _ := agent.got.Message.Header.Get("From")
	subject, _ := agent.got.Message.Header.Get("Subject")
	assert.Equal(t, "Alice <alice@example.org>", from)
	assert.Equal(t, "alice@localhost.example", subject)
	// What lies in the queue is as it was.
	assert.Equal(t, "alice@localhost.example", d.Envelope.Sender)
	assert.Equal(t, "bob@localhost.example", d.Recipients[0].Address)
	from, _ = d.Message.Header.Get("From")
	assert.Equal(t, "Alice <alice@localhost.example>", from)

	agent.got, o.Mapper = nil, &rewrite.Generic{Table: lookup.Fail{Reason: &smtp.SMTPError{Code: 550, Message: "a table must not bounce"}}}
	for _, r := range o.Deliver(t.Context(), d) {
		assert.Equal(t, mtakit.Deferred, r.Outcome)
	}
	assert.Nil(t, agent.got)
	_, err := rewrite.Mappers{nil, &rewrite.Generic{}, &rewrite.Generic{Table: lookup.Fail{}}}.Map(t.Context(), rewrite.HeaderSender, "a@b")
	require.True(t, errors.Is(err, lookup.ErrFail))
}

// probed is an agent that can be asked without delivering.
type probed struct{ noted }

func (p *probed) Verify(_ context.Context, d *mtakit.Delivery) []mtakit.Result {
	p.got = d
	return []mtakit.Result{{Outcome: mtakit.Bounced, Diagnostic: d.Recipients[0].Address}}
}

// Address probes go through Outgoing with the addresses that mail would have.
func TestOutgoingVerify(t *testing.T) {
	t.Parallel()
	agent := new(probed)
	o := &rewrite.Outgoing{Agent: agent, Mapper: &rewrite.Generic{Table: lookup.Inline{"@localhost.example": "@example.org"}}}
	d := &mtakit.Delivery{Envelope: &mtakit.Envelope{Sender: "double-bounce@localhost.example"},
		Recipients: []mtakit.Recipient{{Address: "bob@localhost.example"}}, Message: mtakit.NewMessage(nil)}
	results := o.Verify(t.Context(), d)
	require.Len(t, results, 1)
	assert.Equal(t, mtakit.Bounced, results[0].Outcome)
	assert.Equal(t, "bob@example.org", results[0].Diagnostic)
	assert.Equal(t, "double-bounce@example.org", agent.got.Envelope.Sender)

	agent.got, o.Mapper = nil, &rewrite.Generic{Table: lookup.Fail{}}
	results = o.Verify(t.Context(), d)
	require.Len(t, results, 1)
	assert.Equal(t, mtakit.Deferred, results[0].Outcome)
	assert.Nil(t, agent.got, "a table that fails lets nothing through")

	o = &rewrite.Outgoing{Agent: new(noted), Mapper: &rewrite.Generic{}}
	results = o.Verify(t.Context(), d)
	require.Len(t, results, 1)
	assert.Equal(t, mtakit.Deferred, results[0].Outcome, "nothing is known of an agent that cannot verify")
}

// Trivial rewriting comes before canonical mapping; other people's headers are
// completed with a domain that is not ours, or not at all.
func TestCleanupTrivial(t *testing.T) {
	t.Parallel()
	const raw = "From: Al <al>\r\nTo: bob@host, \"c (d)\"@x.example. (e)\r\nSubject: al\r\n\r\n"
	ours := &mtakit.Envelope{Sender: "al", Recipients: []mtakit.Recipient{{Address: "@a,@b:bob@host"}}}
	theirs := ours.Clone()
	theirs.Client.Addr = netip.MustParseAddrPort("192.0.2.1:25")
	c := &rewrite.Cleanup{
		Trivial:   &rewrite.Trivial{Origin: func() string { return "example.org" }, Domain: func() string { return "example.org" }},
		Canonical: &rewrite.Canonical{Both: lookup.Inline{"al@example.org": "alice@example.org"}},
	}
	for _, test := range []struct {
		name, domain string
		env          *mtakit.Envelope
		want         string
	}{
		{"ours", "", ours, "From: Al <alice@example.org>\r\nTo: bob@host.example.org, \"c (d)\"@x.example (e)\r\nSubject: al\r\n\r\n"},
		{"ours, whatever theirs get", "domain.invalid", ours, "From: Al <alice@example.org>\r\nTo: bob@host.example.org, \"c (d)\"@x.example (e)\r\nSubject: al\r\n\r\n"},
		{"theirs", "", theirs, raw},
		{"theirs, completed", "domain.invalid", theirs, "From: Al <al@domain.invalid>\r\nTo: bob@host.domain.invalid, \"c (d)\"@x.example (e)\r\nSubject: al\r\n\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := *c
			c.RemoteDomain = test.domain
			env, m := test.env.Clone(), mtakit.NewMessage([]byte(raw))
			v, err := c.Filter(t.Context(), env, m)
			require.NoError(t, err)
			require.Nil(t, v.Reply)
			assert.Equal(t, "alice@example.org", env.Sender)
			assert.Equal(t, "bob@host.example.org", env.Recipients[0].Address)
			assert.Equal(t, test.want, string(m.Header.Bytes()))
		})
	}
}

func ExampleMasquerade() {
	m := &rewrite.Masquerade{Domains: []string{"example.org"}, Exceptions: lookup.Inline{"root": "yes"}}
	for _, address := range []string{"alice@mail.example.org", "root@mail.example.org"} {
		fmt.Println(m.Map(context.Background(), rewrite.HeaderSender, address))
	}
	// Output:
	// alice@example.org <nil>
	// root@mail.example.org <nil>
}

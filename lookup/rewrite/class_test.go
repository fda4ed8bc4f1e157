package rewrite_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/rewrite"
)

func TestAddressClasses(t *testing.T) {
	t.Parallel()
	r := &rewrite.Router{
		Aliased: lookup.Inline{"aliased.example": "OK"}, Domains: lookup.Inline{"example.org": "OK"}, Mailboxes: lookup.Inline{"alice@example.org": "alice/"},
		Relayed: lookup.Inline{"relayed.example": "OK", "open.example": "OK"}, RelayRecipients: lookup.Inline{"bob@relayed.example": "OK", "@open.example": "OK"},
		Local: lookup.Inline{"host.example": "OK", "[192.0.2.1]": "OK"}, LocalRecipients: lookup.Inline{"root": "x", "news@host.example": "x", "odd user": "x"}, MailboxName: "virtual",
		RelayName: "relay", RelayHost: "[smart.example]",
		Transport:       &rewrite.Transport{Table: lookup.Inline{"slow.example": "slow:", "gone.example": "error:5.1.2 no such place"}},
		SenderRelayHost: lookup.Inline{"boss@example.org": "[fast.example]:587", "@example.org": "dunno", "<>": "[bounces.example]"},
		SenderTransport: lookup.Inline{"news@example.org": "bulk:", "list@example.org": "bulk:[lists.example]", "evil@example.org": "error:5.7.1 not from you", "x@example.org": ":[x.example]"},
	}
	for _, c := range []struct{ sender, to, want string }{
		{"a@b", "Root@Host.example", "local host.example"},
		{"a@b", "root@[192.0.2.1]", "local [192.0.2.1]"},
		{"a@b", "news@host.example", "local host.example"},
		{"a@b", `"odd user"@host.example`, "local host.example"},
		{"a@b", "Postmaster@host.example", "local host.example"},
		{"a@b", "MAILER-DAEMON@[192.0.2.1]", "local [192.0.2.1]"},
		{"a@b", "news@[192.0.2.1]", "550 5.1.1 User unknown in local recipient table"},
		{"a@b", "nobody@host.example", "550 5.1.1 User unknown in local recipient table"},
		{"a@b", "postmaster@example.org", "550 5.1.1 User unknown in virtual mailbox table"},
		{"a@b", "root@example.org", "550 5.1.1 User unknown in virtual mailbox table"},
		{"a@b", "alice@example.org", "virtual example.org"},
		{"a@b", "nobody@example.org", "550 5.1.1 User unknown in virtual mailbox table"},
		{"a@b", "any@aliased.example", "550 5.1.1 User unknown in virtual alias table"},
		{"a@b", "bob@relayed.example", "relay [smart.example]"},
		{"a@b", "carol@relayed.example", "550 5.1.1 User unknown in relay recipient table"},
		{"boss@example.org", "carol@open.example", "relay [fast.example]:587"},
		{"a@b", "x@example.net", "smtp [smart.example]"},
		{"Boss@example.org", "x@example.net", "smtp [fast.example]:587"},
		{"other@example.org", "x@example.net", "smtp [smart.example]"},
		{"", "x@example.net", "smtp [bounces.example]"},
		{"news@example.org", "x@example.net", "bulk [smart.example]"},
		{"list@example.org", "x@example.net", "bulk [lists.example]"},
		{"x@example.org", "x@example.net", "smtp [x.example]"},
		{"evil@example.org", "x@example.net", "550 5.7.1 not from you"},
		{"evil@example.org", "bob@relayed.example", "relay [smart.example]"},
		{"list@example.org", "x@slow.example", "slow slow.example"},
		{"a@b", "x@gone.example", "550 5.1.2 no such place"},
	} {
		route, err := r.Route(t.Context(), &mtakit.Envelope{Sender: c.sender}, &mtakit.Recipient{Address: c.to})
		require.NoError(t, err)
		got := route.Transport + " " + route.NextHop
		if e := route.Reply; e != nil {
			got = fmt.Sprintf("%d %d.%d.%d %s", e.Code, e.EnhancedCode[0], e.EnhancedCode[1], e.EnhancedCode[2], e.Message)
		}
		assert.Equal(t, c.want, got, "%s to %s", c.sender, c.to)
	}
	r.Unknown = "No such user"
	route, err := r.Route(t.Context(), nil, &mtakit.Recipient{Address: "nobody@example.org"})
	require.NoError(t, err)
	assert.Equal(t, r.Unknown, route.Reply.Message)
	for _, broken := range []*rewrite.Router{{Aliased: lookup.Fail{}}, {Local: lookup.Fail{}}, {Local: lookup.Inline{"b": ""}, LocalRecipients: lookup.Fail{}}, {Relayed: lookup.Fail{}}, {SenderRelayHost: lookup.Fail{}}, {SenderTransport: lookup.Fail{}},
		{Relayed: lookup.Inline{"b": ""}, RelayRecipients: lookup.Fail{}}} {
		_, err := broken.Route(t.Context(), &mtakit.Envelope{Sender: "x@y"}, &mtakit.Recipient{Address: "a@b"})
		require.ErrorIs(t, err, lookup.ErrFail)
	}
}

func TestRelocatedWithoutPrefix(t *testing.T) {
	t.Parallel()
	r := &rewrite.Relocated{NoPrefix: true, Table: lookup.Inline{"a@b": "5.2.1 Mailbox is closed", "c@d": "gone"}}
	for address, want := range map[string]string{"a@b": "550 5.2.1 Mailbox is closed", "c@d": "550 5.0.0 gone"} {
		e, err := r.Reply(t.Context(), address)
		require.NoError(t, err)
		assert.Equal(t, want, fmt.Sprintf("%d %d.%d.%d %s", e.Code, e.EnhancedCode[0], e.EnhancedCode[1], e.EnhancedCode[2], e.Message))
	}
}

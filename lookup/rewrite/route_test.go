package rewrite_test

import (
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/lookup/rewrite"
)

func reply(code int, status smtp.EnhancedCode, text string) *smtp.SMTPError {
	return &smtp.SMTPError{Code: code, EnhancedCode: status, Message: text}
}

func TestRouter(t *testing.T) {
	t.Parallel()
	r := &rewrite.Router{
		Domains:   table{"example.org": "", "xn--bcher-kva.example": "", "[192.0.2.9]": ""},
		Mailboxes: table{"alice@example.org": "alice/", "@xn--bcher-kva.example": "b/", "@bücher.example": "b/", "a@[192.0.2.9]": "a/"},
		Keys:      rewrite.Keys{Delimiter: "+"},
		Transport: &rewrite.Transport{Table: table{
			"same.example": ":", "hop.example": ":[192.0.2.1]:2525", "lmtp.example": "lmtp:unix:/run/lmtp", "bare.example": "smtp",
			"reset.example": "slow:", ".sub.example": "sub:[Gate.example.net]", "user@same.example": "discard:",
			"err.example": "error:5.1.2 no such host", "plain.example": "error:550 gone", "none.example": "error:",
			"retry.example": "retry:4.4.3 try later", "wrong.example": "retry:5.1.1 later", "alice@example.org": ":",
			"pipe@example.org": "vacation:",
		}},
		Relocated: &rewrite.Relocated{Table: table{"old@example.org": "new@example.net", "alice@same.example": "x"}},
	}
	tests := []struct {
		in   string
		want mtakit.Route
	}{
		{"alice@example.org", mtakit.Route{Transport: "local", NextHop: "example.org", Key: "example.org"}},
		{"ALICE+x@Example.ORG", mtakit.Route{Transport: "local", NextHop: "example.org", Key: "example.org"}},
		{"b@BÜCHER.example", mtakit.Route{Transport: "local", NextHop: "xn--bcher-kva.example", Key: "xn--bcher-kva.example"}},
		{"a@[192.0.2.9]", mtakit.Route{Transport: "local", NextHop: "[192.0.2.9]", Key: "[192.0.2.9]"}},
		{"bob@example.org", mtakit.Route{Transport: "local", NextHop: "example.org", Key: "example.org",
			Reply: reply(550, smtp.EnhancedCode{5, 1, 1}, "User unknown in virtual mailbox table")}},
		{"pipe@example.org", mtakit.Route{Transport: "vacation", NextHop: "example.org", Key: "example.org"}},
		{"u@Other.Example", mtakit.Route{Transport: "smtp", NextHop: "other.example", Key: "other.example"}},
		{"u@[192.0.2.1]", mtakit.Route{Transport: "smtp", NextHop: "[192.0.2.1]", Key: "[192.0.2.1]"}},
		{"u@same.example", mtakit.Route{Transport: "smtp", NextHop: "same.example", Key: "same.example"}},
		{"u@hop.example", mtakit.Route{Transport: "smtp", NextHop: "[192.0.2.1]:2525", Key: "[192.0.2.1]:2525"}},
		{"u@lmtp.example", mtakit.Route{Transport: "lmtp", NextHop: "unix:/run/lmtp", Key: "unix:/run/lmtp"}},
		{"u@bare.example", mtakit.Route{Transport: "smtp", NextHop: "bare.example", Key: "bare.example"}},
		{"u@Reset.example", mtakit.Route{Transport: "slow", NextHop: "reset.example", Key: "reset.example"}},
		{"u@a.b.sub.example", mtakit.Route{Transport: "sub", NextHop: "[Gate.example.net]", Key: "[gate.example.net]"}},
		{"u@sub.example", mtakit.Route{Transport: "smtp", NextHop: "sub.example", Key: "sub.example"}},
		{"user@same.example", mtakit.Route{Transport: "discard", NextHop: "same.example", Key: "same.example"}},
		{"u@err.example", mtakit.Route{Transport: "error", Reply: reply(550, smtp.EnhancedCode{5, 1, 2}, "no such host")}},
		{"u@plain.example", mtakit.Route{Transport: "error", Reply: reply(550, smtp.EnhancedCode{5, 0, 0}, "550 gone")}},
		{"u@none.example", mtakit.Route{Transport: "error", Reply: reply(550, smtp.EnhancedCode{5, 0, 0}, "Address is undeliverable")}},
		{"u@retry.example", mtakit.Route{Transport: "retry", Reply: reply(450, smtp.EnhancedCode{4, 4, 3}, "try later")}},
		{"u@wrong.example", mtakit.Route{Transport: "retry", Reply: reply(450, smtp.EnhancedCode{4, 1, 1}, "later")}},
		{"old@example.org", mtakit.Route{Transport: "error", Reply: reply(550, smtp.EnhancedCode{5, 1, 6}, "User has moved to new@example.net")}},
		{"alice@same.example", mtakit.Route{Transport: "error", Reply: reply(550, smtp.EnhancedCode{5, 1, 6}, "User has moved to x")}},
		{"nodomain", mtakit.Route{Transport: "error", Reply: reply(550, smtp.EnhancedCode{5, 1, 3}, "Bad recipient address syntax")}},
	}
	for _, tt := range tests {
		got, err := r.Route(t.Context(), nil, &mtakit.Recipient{Address: tt.in})
		require.NoError(t, err, tt.in)
		assert.Equal(t, tt.want, got, tt.in)
	}
}

func TestRouterRelayHost(t *testing.T) {
	t.Parallel()
	r := &rewrite.Router{Domains: table{"example.org": ""}, RelayHost: "[Relay.example.net]:587", LocalName: "lmtp", RemoteName: "relay"}
	route, err := r.Route(t.Context(), nil, &mtakit.Recipient{Address: "u@other.example"})
	require.NoError(t, err)
	assert.Equal(t, mtakit.Route{Transport: "relay", NextHop: "[Relay.example.net]:587", Key: "[relay.example.net]:587"}, route)
	route, err = r.Route(t.Context(), nil, &mtakit.Recipient{Address: "u@example.org"})
	require.NoError(t, err)
	assert.Equal(t, mtakit.Route{Transport: "lmtp", NextHop: "example.org", Key: "example.org"}, route)

	r.Transport = &rewrite.Transport{Table: table{"direct.example": "relay:", "*": ":[other.example]"}}
	route, err = r.Route(t.Context(), nil, &mtakit.Recipient{Address: "u@direct.example"})
	require.NoError(t, err)
	assert.Equal(t, "direct.example", route.NextHop, "an empty next hop resets to the recipient's domain")
	route, err = r.Route(t.Context(), nil, &mtakit.Recipient{Address: "u@any.example"})
	require.NoError(t, err)
	assert.Equal(t, "[other.example]", route.NextHop)
}

func TestRouterTableErrors(t *testing.T) {
	t.Parallel()
	domains := table{"example.org": ""}
	for name, r := range map[string]*rewrite.Router{
		"domains":   {Domains: broken},
		"mailboxes": {Domains: domains, Mailboxes: broken},
		"transport": {Transport: &rewrite.Transport{Table: broken}},
		"relocated": {Relocated: &rewrite.Relocated{Table: broken}},
	} {
		route, err := r.Route(t.Context(), nil, &mtakit.Recipient{Address: "a@example.org"})
		require.ErrorIs(t, err, errTable, name)
		assert.Equal(t, mtakit.Route{}, route, name)
		assert.Equal(t, mtakit.Deferred, mtakit.ResultOf(err).Outcome, name)
	}
}

// FuzzTransport: no value makes a route that is no route, or a reply that is
// more than one line or of the wrong class.
func FuzzTransport(f *testing.F) {
	for _, seed := range []string{"", ":", "smtp", "smtp:", ":[a]:25", "error:", "error:5.1.1 x", "retry:4.9999.1", "error:5.1.1\r\n250 ok", "retry:9.9.9"} {
		f.Add(seed, "user@example.org")
	}
	f.Add("error:4.1.1", "@")
	f.Fuzz(func(t *testing.T, value, address string) {
		transport := &rewrite.Transport{Table: table{"*": value}}
		route := mtakit.Route{Transport: "smtp", NextHop: "example.org", Key: "example.org"}
		ok, err := transport.Apply(t.Context(), address, &route)
		if err != nil || ok != (address != "") {
			t.Fatalf("%q of %q: %v, %v", value, address, ok, err)
		}
		if route.Transport == "" || route.Key != rewrite.ASCIIDomain(route.NextHop) && route.Key != strings.ToLower(route.NextHop) {
			t.Fatalf("%q gives %+v", value, route)
		}
		if r := route.Reply; r != nil && (r.Code/100 != r.EnhancedCode[0] || strings.ContainsAny(r.Message, "\r\n\x00") || r.Message == "") {
			t.Fatalf("%q gives %+v", value, r)
		}
	})
}

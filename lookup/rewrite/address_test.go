package rewrite_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup/rewrite"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, local, domain string }{
		{"", "", ""},
		{"user", "user", ""},
		{"user@", "user", ""},
		{"@example.org", "", "example.org"},
		{"user@example.org", "user", "example.org"},
		{"user@one@two", "user@one", "two"},
		{`"user@one"@two`, `"user@one"`, "two"},
		{`"user@one"`, `"user@one"`, ""},
		{`"a\"@b"@c`, `"a\"@b"`, "c"},
		{`a\@b@c`, `a\@b`, "c"},
		{`"open@example.org`, `"open`, "example.org"},
		{`a@b\`, "a", `b\`},
		{"user@[IPv6:2001:db8::1]", "user", "[IPv6:2001:db8::1]"},
	}
	for _, tt := range tests {
		local, domain := rewrite.Split(tt.in)
		assert.Equal(t, tt.local, local, tt.in)
		assert.Equal(t, tt.domain, domain, tt.in)
	}
}

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"user@example.org":        "user@example.org",
		"odd user@example.org":    `"odd user"@example.org`,
		`"plain"@example.org`:     "plain@example.org",
		`"a"."b"@example.org`:     "a.b@example.org",
		`"a\"b"@example.org`:      `"a\"b"@example.org`,
		`""@example.org`:          `""@example.org`,
		"a..b@example.org":        `"a..b"@example.org`,
		".a@example.org":          `".a"@example.org`,
		"user":                    "user",
		"jörg@exämple.org":        "jörg@exämple.org",
		`"odd\ user"@example.org`: `"odd user"@example.org`,
	} {
		a, err := rewrite.ParseAddress(in)
		require.NoError(t, err, in)
		assert.Equal(t, want, a.String(), in)
	}
	for _, in := range []string{"", "@example.org", "a\r\nb@c", "a@b\r\nRCPT TO:<x>", "a@b c", "a@b>", "\"a\x00\"@b", "a\x7f@b"} {
		_, err := rewrite.ParseAddress(in)
		assert.ErrorIs(t, err, rewrite.ErrSyntax, "%q", in)
	}
}

func TestSplitExtension(t *testing.T) {
	t.Parallel()
	tests := []struct{ local, delimiters, user, extension string }{
		{"user+list", "+", "user", "+list"},
		{"user+list", "", "user+list", ""},
		{"user-a+b", "+-", "user", "-a+b"},
		{"+list", "+", "+list", ""},
		{"user+", "+", "user", "+"},
		{"mailer-daemon", "-", "mailer-daemon", ""},
		{"Double-Bounce", "-", "Double-Bounce", ""},
		{"owner-list", "-", "owner-list", ""},
		{"list-request", "-", "list-request", ""},
		{"owner-list+x", "+", "owner-list", "+x"},
	}
	for _, tt := range tests {
		user, extension := rewrite.SplitExtension(tt.local, tt.delimiters)
		assert.Equal(t, tt.user, user, tt.local)
		assert.Equal(t, tt.extension, extension, tt.local)
	}
}

func TestASCIIDomain(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "Example.ORG": "example.org", "BÜCHER.example": "xn--bcher-kva.example", "[IPv6:2001:DB8::1]": "[ipv6:2001:db8::1]",
		"a_b.example": "a_b.example", "xn--bcher-kva.example": "xn--bcher-kva.example", "\xff.Example": "\xff.example",
	} {
		assert.Equal(t, want, rewrite.ASCIIDomain(in), "%q", in)
	}
}

// FuzzAddress: what is split is put together again, what is quoted is unquoted
// again, and no wire form can hold a second command.
func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"a@b", `"a b"@c`, `"a\"b@c"@d`, "a@b@c", `"`, `\`, `a\`, "@", `""@x`, "jörg@ö", "a@b>\r\nDATA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		local, domain := rewrite.Split(s)
		if joined := local + "@" + domain; joined != s && joined != s+"@" {
			t.Fatalf("%q is split to %q and %q", s, local, domain)
		}
		if got := rewrite.Unquote(rewrite.Quote(s)); got != s {
			t.Fatalf("%q is %q after quoting and unquoting", s, got)
		}
		a, err := rewrite.ParseAddress(s)
		if err != nil {
			return
		}
		wire := a.String()
		if strings.ContainsAny(wire, "\r\n\x00") {
			t.Fatalf("%q has the wire form %q", s, wire)
		}
		again, err := rewrite.ParseAddress(wire)
		if err != nil || again != a {
			t.Fatalf("%q -> %+v -> %q -> %+v, %v", s, a, wire, again, err)
		}
	})
}

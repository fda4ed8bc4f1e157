package rewrite_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup/rewrite"
)

func TestParseStrict(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"a@b", "a.b+c@example.org", `"odd user"@example.org`, `"a\"b\\"@example.org`, `""@example.org`, "a@[192.0.2.1]", "a@[IPv6:2001:db8::1]",
		"a@[ipv6:::1]", strings.Repeat("a", 64) + "@b", "a@" + strings.Repeat("b", 63) + ".org", "a@1.2", "a!b%c@example.org"} {
		a, err := rewrite.ParseStrict(s, false)
		require.NoError(t, err, s)
		lenient, err := rewrite.ParseAddress(s)
		require.NoError(t, err, s)
		assert.Equal(t, lenient, a, s)
	}
	for _, s := range []string{"", "a", "@b", "a@", "a b@c", ".a@b", "a.@b", "a..b@c", `a"b"@c`, `"a"b@c`, `"a""b"@c`, `"a@b`, "\"a\x00\"@b", `"a\`, "a@b@c", "a@-b", "a@b-", "a@b..c", "a@b.",
		"a@.b", "a@b_c", "a@[1.2.3]", "a@[192.0.2.1", "a@[2001:db8::1]", "a@[IPv6:192.0.2.1]", "a@[IPv6:fe80::1%eth0]", "a@[x:y]", strings.Repeat("a", 65) + "@b",
		"a@" + strings.Repeat("b", 64), "a@" + strings.Repeat("b.", 127) + "cc", "@x:a@b", "ä@b", "a@bücher.example", "a\xff@b"} {
		_, err := rewrite.ParseStrict(s, false)
		assert.ErrorIs(t, err, rewrite.ErrSyntax, s)
	}
	for s, good := range map[string]bool{"ä@b": true, "a@bücher.example": true, `"ü ü"@b`: true, "a\xff@b": false, "a@\u200d.example": false, "a@-ü.example": false,
		strings.Repeat("ä", 33) + "@b": false} {
		_, err := rewrite.ParseStrict(s, true)
		assert.Equal(t, good, err == nil, "%s: %v", s, err)
	}
}

func TestAddressForms(t *testing.T) {
	t.Parallel()
	u := rewrite.Address{Local: "a", Domain: "Bücher.example"}
	ascii, err := u.ASCII()
	require.NoError(t, err)
	assert.Equal(t, "xn--bcher-kva.example", ascii.Domain)
	assert.Equal(t, "bücher.example", ascii.Unicode().Domain)
	assert.True(t, u.Equal(ascii))
	assert.True(t, ascii.Equal(rewrite.Address{Local: "a", Domain: "XN--BCHER-KVA.example"}))
	assert.False(t, ascii.Equal(rewrite.Address{Local: "A", Domain: ascii.Domain}))
	assert.False(t, u.SMTPUTF8())
	local := rewrite.Address{Local: "ä", Domain: "b"}
	assert.True(t, local.SMTPUTF8())
	_, err = local.ASCII()
	assert.ErrorIs(t, err, rewrite.ErrSyntax)
	_, err = rewrite.Address{Local: "a", Domain: "\u200d.example"}.ASCII()
	assert.ErrorIs(t, err, rewrite.ErrSyntax)
	_, err = rewrite.Address{Local: "a", Domain: strings.Repeat("ü", 300)}.ASCII()
	assert.ErrorIs(t, err, rewrite.ErrSyntax, "one label of 306 octets")
	for _, domain := range []string{"Xn--", "\x82", strings.Repeat("ü", 600)} {
		same := rewrite.Address{Local: "a", Domain: domain}
		assert.Equal(t, same, same.Unicode())
		assert.True(t, same.Equal(same))
	}
	literal := rewrite.Address{Local: "a", Domain: "[192.0.2.1]"}
	assert.Equal(t, literal, literal.Unicode())
}

func FuzzStrict(f *testing.F) {
	for _, s := range []string{"a@b", `"a b"@example.org`, "ä@bücher.example", "a@[IPv6:::1]", `"\"@b`} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, smtputf8 bool) {
		a, err := rewrite.ParseStrict(s, smtputf8)
		lenient, lenientErr := rewrite.ParseAddress(s)
		if lenientErr != nil {
			require.Error(t, err, "what is strict is lenient too")
			return
		}
		if err == nil {
			require.Equal(t, lenient, a)
			again, err := rewrite.ParseStrict(a.String(), smtputf8)
			require.NoError(t, err, "%q", a)
			require.Equal(t, a, again)
			require.True(t, a.Equal(a.Unicode()), "%q", a.Unicode())
			_, err = rewrite.Address{Local: "a", Domain: a.Domain}.ASCII()
			require.NoError(t, err)
		}
		again, err := rewrite.ParseAddress(lenient.String())
		require.NoError(t, err)
		require.Equal(t, lenient, again)
	})
}

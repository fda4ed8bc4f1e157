package ldap

import (
	"io"
	"strings"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTighten(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		" ( & (a=b)\n ( | (c=d) (e=f) ) ( ! ( g=h) ) ) ": "(&(a=b)(|(c=d)(e=f))(!(g=h)))",
		"& (a=b) (c=d)":        "&(a=b)(c=d)",
		"(cn=Smith & Sons)":    "(cn=Smith & Sons)",
		"(cn= a | b! c& )":     "(cn= a | b! c& )",
		"(&(cn=a & b) (cn=c))": "(&(cn=a & b)(cn=c))",
		" \t":                  "",
	} {
		assert.Equal(t, want, tighten(text), text)
	}
}

// TestExpansionInEscape has templates in which a key would be half of an escape.
func TestExpansionInEscape(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`(cn=\%4%5)`, `(cn=\2%4)`, `(cn=a\%s)`} {
		_, err := parseFilter(text)
		assert.Error(t, err, text)
	}
	for _, text := range []string{`cn=\%4%5,dc=x`, `cn=\2%4`, "cn=#04%4%5", `cn=a\%s`} {
		_, err := parseBase(text)
		assert.Error(t, err, text)
	}
	for _, text := range []string{`(cn=\5c%4%5)`, `(cn=\2a%s)`} {
		_, err := parseFilter(text)
		assert.NoError(t, err, text)
	}
}

// TestURLLength has what would need more stack than there may be.
func TestURLLength(t *testing.T) {
	t.Parallel()
	_, err := parseURL("ldap:///???" + strings.Repeat("(", 8<<20))
	require.ErrorIs(t, err, ErrURL)
	assert.Less(t, len(err.Error()), 100)
	s, err := parseURL("ldap:///???(cn=" + strings.Repeat("a", 4000) + ")")
	require.NoError(t, err)
	assert.Len(t, s.filter, 4005)
}

func TestControls(t *testing.T) {
	t.Parallel()
	for size, good := range map[int]bool{0: true, 16_000: true, 17_000: false, 1 << 20: false} {
		value := goldap.NewControlString("1.2.3", false, strings.Repeat("\x05\x00", size/2)).Encode().Bytes()
		text := withControls(value)
		conn := answering(text)
		require.NoError(t, conn.Close())
		let, err := io.ReadAll(newGuard(conn))
		if good {
			require.NoError(t, err, size)
			assert.Equal(t, text, string(let))
			continue
		}
		require.ErrorIs(t, err, errMessage, size)
		assert.Empty(t, let)
	}
}

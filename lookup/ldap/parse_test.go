package ldap

import (
	"testing"

	"github.com/stretchr/testify/assert"
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

package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzIsAddress proves that what passes is one line, and that the first > outside
// quotes is the one that the command ends with.
func FuzzIsAddress(f *testing.F) {
	for _, s := range []string{"a@example.org", `"a> b\""@x`, "a\r\nb", `a\`, "a>b", `"`, "ü@example.org"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, address string) {
		if !IsAddress(address) {
			return
		}
		require.False(t, strings.ContainsFunc(address, func(r rune) bool { return r < ' ' || r == 0x7f }))
		text, quoted, end := address+">", false, -1
		for i := 0; i < len(text) && end < 0; i++ {
			switch {
			case quoted && text[i] == '\\':
				i++
			case text[i] == '"':
				quoted = !quoted
			case !quoted && text[i] == '>':
				end = i
			}
		}
		require.Equal(t, len(address), end, "%q", address)
		for _, ch := range []byte(Xtext(address)) {
			require.True(t, ch > ' ' && ch < 0x7f && ch != '=')
		}
	})
}

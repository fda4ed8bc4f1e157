package relay

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzUTF8Address proves that a server without SMTPUTF8 is told ASCII.
func FuzzUTF8Address(f *testing.F) {
	f.Add("\u00fc@example.org")
	f.Fuzz(func(t *testing.T, address string) {
		require.True(t, isASCII(utf8Address(address, false)))
	})
}

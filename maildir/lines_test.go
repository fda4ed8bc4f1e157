package maildir

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// FuzzUnixLines writes the input in two pieces and compares with the obvious.
func FuzzUnixLines(f *testing.F) {
	f.Add([]byte("a\r\nb\r\r\n\rc\n\r"), 3)
	f.Add([]byte("\r\n"), 1)
	f.Add([]byte("\r"), 0)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		cut = min(max(cut, 0), len(in))
		var out bytes.Buffer
		u := unixLines{w: &out}
		for _, p := range [][]byte{in[:cut], in[cut:]} {
			n, err := u.Write(p)
			require.NoError(t, err)
			require.Equal(t, len(p), n)
		}
		require.NoError(t, u.Flush())
		assert.Equal(t, string(bytes.ReplaceAll(in, []byte("\r\n"), []byte("\n"))), out.String())
	})
}

package relay

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stuff runs a message through the writer in pieces of n bytes.
func stuff(t testing.TB, message []byte, n int) []byte {
	t.Helper()
	var out bytes.Buffer
	w := &dataWriter{w: &out}
	for piece := message; len(piece) > 0; {
		l := min(n, len(piece))
		m, err := w.Write(piece[:l])
		require.NoError(t, err)
		require.Equal(t, l, m)
		piece = piece[l:]
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// slowStuff is the obvious way, byte by byte.
func slowStuff(message []byte) []byte {
	var out []byte
	start := true
	for i, ch := range message {
		crlf := i+1 < len(message) && message[i+1] == '\n'
		switch {
		case ch == '\r' && crlf:
			continue // written with its LF
		case ch == '\n':
			out = append(out, '\r', '\n')
			start = true
			continue
		case ch == '\r':
			ch = ' '
		case ch == '.' && start:
			out = append(out, '.')
		}
		out = append(out, ch)
		start = false
	}
	if !start {
		out = append(out, '\r', '\n')
	}
	return append(out, '.', '\r', '\n')
}

// unstuff is what a server does that knows no line end but CRLF.
func unstuff(t testing.TB, wire []byte) []byte {
	t.Helper()
	body, ok := strings.CutSuffix("\r\n"+string(wire), "\r\n.\r\n")
	require.True(t, ok, "no end of data in %q", wire)
	require.NotContains(t, body, "\r\n.\r\n", "end of data inside")
	return []byte(strings.TrimPrefix(strings.ReplaceAll(body, "\r\n.", "\r\n")+"\r\n", "\r\n"))
}

func TestDataWriter(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"", ".\r\n"},
		{"a", "a\r\n.\r\n"},
		{"a\r\n", "a\r\n.\r\n"},
		{"a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"},
		{".", "..\r\n.\r\n"},
		{"..\r\n.x\r\n", "...\r\n..x\r\n.\r\n"},
		{"\r\n", "\r\n.\r\n"},
		{"\r", " \r\n.\r\n"},
		{"a\r.\r\nb", "a .\r\nb\r\n.\r\n"},
		{"a\r\r\n.\r\r\n", "a \r\n.. \r\n.\r\n"},
		{"a\n\r.\r\n", "a\r\n .\r\n.\r\n"},
		{"\r.\r", " . \r\n.\r\n"},
		{"a\r\n\r.\r\r\nMAIL FROM:<x>\r\n", "a\r\n . \r\nMAIL FROM:<x>\r\n.\r\n"},
		{"a\x00b\n", "a\x00b\r\n.\r\n"},
	}
	for _, tt := range tests {
		for n := 1; n <= len(tt.in)+1; n++ {
			assert.Equal(t, tt.want, string(stuff(t, []byte(tt.in), n)), "%q in pieces of %d", tt.in, n)
		}
	}
}

// FuzzDataWriter proves that the writer does what the obvious one does, however
// the message is cut, and that a strict server reads the message and no other.
func FuzzDataWriter(f *testing.F) {
	for _, s := range []string{"", "a\r\n.\r\nb", "\n.\n", "\r.\r\n.\r", "a\r\r\n..\r\n", ".\r", "x\n\r\n\r.."} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, message []byte, n int) {
		wire := stuff(t, message, max(1, n))
		require.Equal(t, string(slowStuff(message)), string(wire))
		text := strings.ReplaceAll(string(wire), "\r\n", "")
		require.NotContains(t, text, "\r")
		require.NotContains(t, text, "\n")

		got := unstuff(t, wire)
		require.Equal(t, len(slowStuff(got)), len(wire), "a second time nothing is mended")
		clean := strings.NewReplacer("\r\n", "\r\n", "\n", "\r\n", "\r", " ").Replace(string(message))
		if clean != "" && !strings.HasSuffix(clean, "\r\n") {
			clean += "\r\n"
		}
		require.Equal(t, clean, string(got))
	})
}

func BenchmarkDataWriter(b *testing.B) {
	for name, line := range map[string]string{
		"text":   "The quick brown fox jumps over the lazy dog and goes on to the other side.\r\n",
		"base64": strings.Repeat("QUJD", 19) + "\r\n",
		"dots":   ".\r\n",
		"LF":     "The quick brown fox jumps over the lazy dog and goes on to the other side.\n",
	} {
		b.Run(name, func(b *testing.B) {
			message := []byte(strings.Repeat(line, 1<<20/len(line)))
			b.SetBytes(int64(len(message)))
			b.ReportAllocs()
			for b.Loop() {
				w := &dataWriter{w: io.Discard}
				_, _ = w.Write(message)
				_ = w.Close()
			}
		})
	}
}

package mtakit_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
)

func TestParseHeader(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		fields   []string
		body     string
		written  string // "" means as it was read
	}{
		{"usual", "A: 1\r\nB: 2\r\n\r\nbody\r\n", []string{"A=1", "B=2"}, "body\r\n", ""},
		{"folded", "A: 1\r\n\t2\r\n 3\r\nB:x\r\n\r\n", []string{"A=1\t2 3", "B=x"}, "", ""},
		{"line feeds only", "A: 1\nB: 2\n\nbody\n", []string{"A=1", "B=2"}, "body\n", ""},
		{"space before the colon", "A : 1\r\n\r\nb", []string{"A=1"}, "b", ""},
		{"no body", "A: 1\r\n", []string{"A=1"}, "", ""},
		{"no line end", "A: 1", []string{"A=1"}, "", ""},
		{"no header", "\r\nbody", nil, "body", ""},
		{"nothing", "", nil, "", ""},
		{"empty line missing", "A: 1\r\nbody text\r\n", []string{"A=1"}, "body text\r\n", "A: 1\r\n\r\nbody text\r\n"},
		{"starts with a continuation", " x\r\nA: 1\r\n", nil, " x\r\nA: 1\r\n", "\r\n x\r\nA: 1\r\n"},
		{"mbox line", "From a@b\r\nA: 1\r\n\r\n", nil, "From a@b\r\nA: 1\r\n\r\n", "\r\nFrom a@b\r\nA: 1\r\n\r\n"},
		{"no name", ": x\r\n\r\n", nil, ": x\r\n\r\n", "\r\n: x\r\n\r\n"},
		{"eight bits in the name", "\xc3\xa4: x\r\n\r\n", nil, "\xc3\xa4: x\r\n\r\n", "\r\n\xc3\xa4: x\r\n\r\n"},
		{"bare CR stays", "A: 1\r2\r\n\r\n", []string{"A=1\r2"}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := mtakit.NewMessage([]byte(tt.in))
			var fields []string
			for _, f := range m.Header.All() {
				fields = append(fields, f.Name()+"="+f.Value())
			}
			assert.Equal(t, tt.fields, fields)
			assert.Equal(t, tt.body, string(m.Body.(mtakit.Bytes)))
			if tt.written == "" {
				tt.written = tt.in
			}
			assert.Equal(t, tt.written, written(t, m))
		})
	}
}

func written(t *testing.T, m *mtakit.Message) string {
	t.Helper()
	var b bytes.Buffer
	n, err := m.WriteTo(&b)
	require.NoError(t, err)
	require.Equal(t, int64(b.Len()), n)
	require.Equal(t, m.Size(), n)
	return b.String()
}

func TestHeaderEdits(t *testing.T) {
	t.Parallel()
	m := mtakit.NewMessage([]byte("b: 1\r\nC:  two \r\nb: 3\r\n\r\nbody\r\n"))
	h := m.Header
	field := func(s string) mtakit.Field {
		f, err := mtakit.ParseField(s)
		require.NoError(t, err)
		return f
	}
	before := h.Clone()
	h.Prepend(field("A: 0"), field("A: 00"))
	h.Replace(3, field("C: 2\n\tfolded"))
	h.Remove(2)
	h.Insert(h.Len(), field("Z: end"))
	assert.Equal(t, "A: 0\r\nA: 00\r\nC: 2\r\n\tfolded\r\nb: 3\r\nZ: end\r\n\r\nbody\r\n", written(t, m))
	assert.Equal(t, "b: 1\r\nC:  two \r\nb: 3\r\n\r\n", string(before.Bytes()))

	set := before.Clone()
	set.SetFields([]mtakit.Field{field("Y: 1"), before.At(1)})
	assert.Equal(t, "Y: 1\r\nC:  two \r\n\r\n", string(set.Bytes()))
	assert.Equal(t, 3, before.Len())

	v, ok := h.Get("B")
	assert.True(t, ok)
	assert.Equal(t, "3", v)
	_, ok = h.Get("Bb")
	assert.False(t, ok)
	assert.Equal(t, 2, h.Count("a"))
	assert.Equal(t, "C: 2\r\n\tfolded\r\n", string(h.At(2).Raw()))
}

// A header that is longer than what is looked at stays what it is, wherever the
// look ends: in a name, in a value, in a line end, between two lines.
func TestHeaderCut(t *testing.T) {
	t.Parallel()
	const line = "X-Long: " + "0123456789" + "\r\n"
	for pad := range len(line) {
		raw := "A: " + strings.Repeat("a", pad) + "\r\n" + strings.Repeat(line, 2*mtakit.MaxHeader/len(line)) + "\r\nbody"
		h, n := mtakit.ParseStart([]byte(raw))
		require.True(t, h.Cut() && h.Clone().Cut())
		require.Greater(t, n, mtakit.MaxHeader-2*len(line))
		require.Equal(t, raw[:n], string(h.Bytes()))
		require.Equal(t, line, string(h.At(h.Len()-1).Raw()))

		short := raw[:mtakit.MaxHeader-2*len(line)-pad]
		short = short[:strings.LastIndexByte(short, '\n')+1] + "\r\n"
		for _, body := range []string{"", strings.Repeat("b", mtakit.MaxHeader), strings.Repeat("b: c\r\n", mtakit.MaxHeader/6)} {
			h, n = mtakit.ParseStart([]byte(short + body))
			require.False(t, h.Cut())
			require.Equal(t, short, string(h.Bytes()))
			require.Len(t, short, n)
		}
	}
	h, n := mtakit.ParseStart(bytes.Repeat([]byte("x"), mtakit.MaxHeader+1))
	assert.False(t, h.Cut(), "no name is so long")
	assert.Zero(t, n)
	assert.Equal(t, "\r\n", string(h.Bytes()))
}

func TestFieldRefusesInjection(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "A", ": x", "A B: x", "A: x\r\nB: y", "A: x\n\ny", "A: x\r\n", "A: x\n", "A: \x00", "A: x\ry", "\u00e4: x", "A\r\n : x"} {
		_, err := mtakit.ParseField(s)
		assert.ErrorIs(t, err, mtakit.ErrField, "%q", s)
	}
	f, err := mtakit.NewField("Subject", "a\r\n b\n\tc")
	require.NoError(t, err)
	assert.Equal(t, "Subject: a\r\n b\r\n\tc\r\n", string(f.Raw()))
	assert.Equal(t, "a b\tc", f.Value())
}

// FuzzParseHeader checks that nothing is lost or changed, and that what is
// written is read the same again.
func FuzzParseHeader(f *testing.F) {
	f.Add([]byte("A: 1\r\n b\r\nB : 2\r\n\r\nbody"))
	f.Add([]byte("A: 1\nbody"))
	f.Add([]byte(" \r\n\n\r:\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		h, n := mtakit.ParseHeader(in)
		for _, field := range h.All() {
			require.NotEmpty(t, field.Name())
			require.NotContains(t, field.Value(), "\n")
		}
		out := append(h.Bytes(), in[n:]...)
		if len(out) != len(in) { // the empty line that was missing
			require.Equal(t, len(in)+2, len(out))
			require.True(t, bytes.HasPrefix(out, in[:n]) && bytes.HasPrefix(out[n:], []byte("\r\n")))
		} else {
			require.Equal(t, in, out)
		}
		again, m := mtakit.ParseHeader(out)
		require.Equal(t, h.Len(), again.Len())
		require.Equal(t, out[m:], in[n:])
	})
}

func BenchmarkParseHeader(b *testing.B) {
	in := []byte(strings.Repeat("Received: from x by y;\r\n\tThu, 1 Jan 2026 00:00:00 +0000\r\n", 3) +
		"From: <from@example.org>\r\nTo: <to@example.org>\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\nSubject: hello\r\n\r\n")
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		mtakit.ParseHeader(in)
	}
}

package smtpserver

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// pieces is a source that gives its bytes in reads of the given sizes.
type pieces struct {
	data  []byte
	sizes []byte
	n     int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	size := len(p.data)
	if len(p.sizes) > 0 {
		size = int(p.sizes[p.n%len(p.sizes)])%7 + 1
		p.n++
	}
	n := copy(b, p.data[:min(size, len(p.data))])
	p.data = p.data[n:]
	return n, nil
}

func newInput(data, sizes []byte) *input {
	return &input{src: &pieces{data: data, sizes: sizes}, buf: make([]byte, 64), pool: new(sync.Pool)}
}

// decoded is what one message came to.
type decoded struct {
	body  string
	rest  string // what the client sent behind it
	ended bool
	stray bool
}

// slowData is DATA line by line, as one would write it down.
func slowData(in string) (d decoded) {
	var body strings.Builder
	afterBare := false
	for {
		text, rest, ok := strings.Cut(in, "\n")
		if !ok {
			return decoded{body: body.String()}
		}
		text, crlf := strings.CutSuffix(text, "\r")
		in = rest
		if text == "." && crlf && !afterBare {
			return decoded{body: body.String(), rest: rest, ended: true, stray: d.stray}
		}
		d.stray = d.stray || !crlf || strings.Contains(text, "\r")
		afterBare = !crlf
		if text != "." {
			body.WriteString(strings.ReplaceAll(strings.TrimPrefix(text, "."), "\r", " ") + "\r\n")
		}
	}
}

// slowBDAT is the same for the bytes of all chunks.
func slowBDAT(in string) (d decoded) {
	marked := strings.ReplaceAll(in, "\r\n", "\x01")
	d.stray = strings.ContainsAny(marked, "\r\n")
	d.body = strings.NewReplacer("\x01", "\r\n", "\n", "\r\n", "\r", " ").Replace(marked)
	return d
}

var newlineCases = []string{
	"", ".", ".\r", ".\r\n", "\r\n.\r\n", "a\r\n.\r\n", "a\r\n.\r\nNOOP\r\n", "a\n.\r\n\r\n.\r\n", "a\r\n.\n\r\n.\r\n",
	"a\r\r\n.\r\n", "\r.\r\n.\r\n", "..\r\n.\r\n", "..a\r\n.b\r\n.\r\n", ".\rx\r\n.\r\n", ".\r\r\n.\r\n", "\n.\n.\r\n.\r\n\r\n.\r\n",
	"\r\n\r\n\r\n.\r\n", "x\r\n.\r.\r\n.\r\n", "\x00\xff\r\n.\r\n", ".\n.\r\n.\r\n", "a\r\n..\n.\r\n.\r\n",
	strings.Repeat("long line ", 100) + "\r\n.\r\n", strings.Repeat("\r", 70) + "\r\n.\r\n", strings.Repeat(".\r\n", 1),
}

// The reader agrees with the slow one for any cutting into reads.
func FuzzData(f *testing.F) {
	for _, c := range newlineCases {
		f.Add([]byte(c), []byte{})
		f.Add([]byte(c), []byte{0})
		f.Add([]byte(c), []byte{1, 2, 0, 5})
	}
	f.Fuzz(func(t *testing.T, in, sizes []byte) { checkData(t, in, sizes) })
}

func checkData(t *testing.T, in, sizes []byte) {
	want := slowData(string(in))
	for _, reject := range []bool{false, true} {
		m := &message{in: newInput(bytes.Clone(in), sizes), dots: true, last: true, reject: reject}
		var body bytes.Buffer
		_, err := readSomehow(m, &body, sizes)
		switch {
		case !want.ended && m.refusal == nil:
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			require.NotErrorIs(t, err, io.EOF)
			require.True(t, strings.HasPrefix(body.String(), want.body), "%q", in)
			continue
		case reject && want.stray:
			require.NotNil(t, m.refusal, "%q", in)
			require.ErrorIs(t, err, error(m.refusal))
			continue
		case !want.ended:
			require.True(t, reject)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want.body, body.String(), "%q", in)
		require.Equal(t, int64(len(want.body)), m.size)
		rest, _ := io.ReadAll(io.MultiReader(bytes.NewReader(m.in.buffered()), m.in.src))
		require.Equal(t, want.rest, string(rest), "%q", in)
	}
}

// readSomehow reads by WriteTo, or by Read with small buffers.
func readSomehow(m *message, w *bytes.Buffer, sizes []byte) (int64, error) {
	if len(sizes)%2 == 0 {
		return m.WriteTo(w)
	}
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{m}, make([]byte, len(sizes)))
}

func TestDataReader(t *testing.T) {
	t.Parallel()
	for _, c := range newlineCases {
		for size := range 5 {
			checkData(t, []byte(c), []byte{byte(size)})
			checkData(t, []byte(c), []byte{byte(size), 3})
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		in := make([]byte, r.IntN(40))
		for i := range in {
			in[i] = "\r\n..a"[r.IntN(5)]
		}
		checkData(t, in, []byte{byte(r.IntN(8)), byte(r.IntN(8))}[:r.IntN(3)])
	}
}

// The same for BDAT, for any cutting into chunks and reads.
func FuzzBDAT(f *testing.F) {
	for _, c := range newlineCases {
		f.Add([]byte(c), []byte{}, []byte{3})
		f.Add([]byte(c), []byte{1, 2}, []byte{0, 1, 2})
	}
	f.Fuzz(func(t *testing.T, in, sizes, chunks []byte) {
		want := slowBDAT(string(in))
		if bytes.IndexByte(in, 1) >= 0 {
			t.Skip("the slow one marks with it")
		}
		left := len(in)
		n := 0
		m := &message{in: newInput(bytes.Clone(in), sizes)}
		m.more = func() error {
			size := left
			if n < len(chunks) {
				size = min(left, int(chunks[n])%9)
			}
			m.last = n >= len(chunks)
			n++
			left -= size
			m.left = int64(size)
			return nil
		}
		var body bytes.Buffer
		_, err := readSomehow(m, &body, sizes)
		require.NoError(t, err)
		require.Equal(t, want.body, body.String(), "%q", in)
	})
}

func TestBodyLine(t *testing.T) {
	t.Parallel()
	for in, ok := range map[string]bool{
		"1234567890\r\n.\r\n": true, "12345678901\r\n.\r\n": false, "1\r\n1234567890\r\n1\r\n.\r\n": true,
		"1\r\n123456789012": false, "..23456789\r\n.\r\n": true,
	} {
		for size := range 4 {
			m := &message{in: newInput([]byte(in), []byte{byte(size)}), dots: true, maxLine: 10}
			_, err := m.WriteTo(io.Discard)
			require.Equal(t, ok, err == nil, "%q %v", in, err)
			require.Equal(t, !ok, errors.Is(err, error(lineTooLongReply)), "%q %v", in, err)
		}
	}
}

// endless gives the same message again and again.
type endless struct {
	data []byte
	n    int
}

func (e *endless) Read(b []byte) (int, error) {
	n := copy(b, e.data[e.n:])
	e.n = (e.n + n) % len(e.data)
	return n, nil
}

func BenchmarkData(b *testing.B) {
	line := strings.Repeat("x", 70) + "\r\n"
	body := []byte(strings.Repeat(line, 1<<20/len(line)) + ".\r\n")
	in := &input{src: &endless{data: body}, buf: make([]byte, bigBuffer)}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		m := message{in: in, dots: true, last: true}
		if _, err := m.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

package filter_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/filter"
)

var errBroken = errors.New("disk on fire")

// table finds a value by the beginning of a key.
type table map[string]string

func (t table) Lookup(_ context.Context, key string) (string, bool, error) {
	for prefix, v := range t {
		if strings.HasPrefix(key, prefix) {
			if v == "!" {
				return "", false, errBroken
			}
			return v, true, nil
		}
	}
	return "", false, nil
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

const nested = `Subject: hello
 world
X-A: 1
Content-Type: multipart/mixed; (c)
	boundary="b b"

prologue
--b b
Content-Type: text/plain;
	name=a.exe
X-Part: p

first
Subject: no header
--b b
Content-Type: message/rfc822

Subject: inner
Content-Type: multipart/digest; boundary=in

--in

Subject: digested

text
--in--
epilogue
--b b
no header
--b b--
end`

func filtered(t *testing.T, f filter.ContentFilter, raw string) (mtakit.Verdict, string) {
	t.Helper()
	m := mtakit.NewMessage([]byte(raw))
	v, err := f.Filter(t.Context(), &mtakit.Envelope{}, m)
	require.NoError(t, err)
	var b bytes.Buffer
	_, err = m.WriteTo(&b)
	require.NoError(t, err)
	require.Equal(t, m.Size(), int64(b.Len()))
	return v, b.String()
}

// recorder notes all that it is asked for.
func recorder(name string, into *[]string) filter.Table {
	return filter.TableFunc(func(_ context.Context, key string) (string, bool, error) {
		*into = append(*into, name+" "+key)
		return "", false, nil
	})
}

func TestUnits(t *testing.T) {
	t.Parallel()
	var asked []string
	f := filter.Chain{filter.HeaderChecks{Table: recorder("header", &asked), MIME: recorder("mime", &asked), Nested: recorder("nested", &asked)},
		filter.BodyChecks{Table: recorder("body", &asked)}}
	_, out := filtered(t, f, crlf(nested))
	assert.Equal(t, crlf(nested), out)
	assert.Equal(t, []string{
		"header Subject: hello\n world", "header X-A: 1", "mime Content-Type: multipart/mixed; (c)\n\tboundary=\"b b\"",
		"mime Content-Type: text/plain;\n\tname=a.exe", "mime X-Part: p", "mime Content-Type: message/rfc822",
		"nested Subject: inner", "mime Content-Type: multipart/digest; boundary=in", "nested Subject: digested",
		"body prologue", "body --b b", "body first", "body Subject: no header", "body --b b", "body --in", "body text",
		"body --in--", "body epilogue", "body --b b", "body no header", "body --b b--", "body end",
	}, asked)
}

func TestActions(t *testing.T) {
	t.Parallel()
	const in = "A: 1\nB: 2\n 3\nC: 4\n\none\n\ntwo\nthree"
	tests := []struct {
		name, value, header, body string
		check                     func(t *testing.T, v mtakit.Verdict)
	}{
		{"IGNORE", "IGNORE", "A: 1\nC: 4\n\none\n\ntwo\nthree", "A: 1\nB: 2\n 3\nC: 4\n\none\n\nthree", nil},
		{"STRIP", "strip x", "A: 1\nC: 4\n\none\n\ntwo\nthree", "A: 1\nB: 2\n 3\nC: 4\n\none\n\nthree", func(t *testing.T, v mtakit.Verdict) {
			assert.Len(t, v.Log, 1)
		}},
		{"REPLACE", "REPLACE X: y", "A: 1\nX: y\nC: 4\n\none\n\ntwo\nthree", "A: 1\nB: 2\n 3\nC: 4\n\none\n\nX: y\nthree", nil},
		{"PREPEND", "PREPEND X: y", "A: 1\nX: y\nB: 2\n 3\nC: 4\n\none\n\ntwo\nthree", "A: 1\nB: 2\n 3\nC: 4\n\none\n\nX: y\ntwo\nthree", nil},
		{"REJECT", "REJECT", in, in, func(t *testing.T, v mtakit.Verdict) {
			assert.Equal(t, mtakit.Reject, v.Action)
			assert.Equal(t, "message content rejected", v.Reply.Message)
			assert.Equal(t, 550, v.Reply.Code)
		}},
		{"REJECT text", "REJECT 4.7.0 go", in, in, func(t *testing.T, v mtakit.Verdict) {
			assert.Equal(t, 450, v.Reply.Code)
			assert.Equal(t, "go", v.Reply.Message)
		}},
		{"DISCARD", "DISCARD", in, in, func(t *testing.T, v mtakit.Verdict) { assert.Equal(t, mtakit.Discard, v.Action) }},
		{"PASS", "PASS", in, in, func(t *testing.T, v mtakit.Verdict) { assert.Equal(t, mtakit.Permit, v.Action) }},
		{"HOLD", "HOLD why", in, in, func(t *testing.T, v mtakit.Verdict) { assert.Contains(t, v.Hold, "why") }},
		{"FILTER", "FILTER a:b", in, in, func(t *testing.T, v mtakit.Verdict) { assert.Equal(t, "a:b", v.Filter) }},
		{"REDIRECT", "REDIRECT a@b", in, in, func(t *testing.T, v mtakit.Verdict) { assert.Equal(t, "a@b", v.Redirect) }},
		{"BCC", "BCC a@b", in, in, func(t *testing.T, v mtakit.Verdict) { assert.Equal(t, []string{"a@b"}, v.BCC) }},
		{"WARN", "WARN hey", in, in, func(t *testing.T, v mtakit.Verdict) { assert.Contains(t, v.Log[0], "hey") }},
		{"bad", "REDIRECT nobody", in, in, func(t *testing.T, v mtakit.Verdict) { assert.Contains(t, v.Log[0], "bad action") }},
		{"unknown", "wibble", in, in, func(t *testing.T, v mtakit.Verdict) { assert.Len(t, v.Log, 1) }},
		{"DUNNO", "DUNNO", in, in, func(t *testing.T, v mtakit.Verdict) { assert.Equal(t, mtakit.Verdict{}, v) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v, out := filtered(t, filter.HeaderChecks{Table: table{"B:": tt.value}}, crlf(in))
			assert.Equal(t, crlf(tt.header), out)
			w, out := filtered(t, filter.BodyChecks{Table: table{"two": tt.value}}, crlf(in))
			assert.Equal(t, crlf(tt.body), out)
			if tt.check != nil {
				tt.check(t, v)
				tt.check(t, w)
			}
		})
	}
}

func TestPartHeadersAreEdited(t *testing.T) {
	t.Parallel()
	v, out := filtered(t, filter.HeaderChecks{Table: table{"X-Part": "REPLACE X-New: 1", "Subject: inner": "IGNORE", "Subject: dig": "PREPEND X-Seen: 1"}}, crlf(nested))
	want := strings.NewReplacer("X-Part: p\n", "X-New: 1\n", "Subject: inner\n", "", "Subject: digested", "X-Seen: 1\nSubject: digested").Replace(nested)
	assert.Equal(t, crlf(want), out)
	assert.Empty(t, v.Log)
	v, out = filtered(t, filter.HeaderChecks{Table: table{"X-Part": "REPLACE nonsense"}}, crlf(nested))
	assert.Equal(t, crlf(nested), out)
	assert.Len(t, v.Log, 1)
}

func TestTableErrors(t *testing.T) {
	t.Parallel()
	broken := table{"": "!"}
	for _, f := range []filter.ContentFilter{filter.HeaderChecks{Table: broken}, filter.BodyChecks{Table: broken}, filter.HeaderChecks{Nested: broken}} {
		_, err := filter.Chain{f}.Filter(t.Context(), &mtakit.Envelope{}, mtakit.NewMessage([]byte(crlf(nested))))
		require.ErrorIs(t, err, errBroken)
	}
}

func TestChain(t *testing.T) {
	t.Parallel()
	says := func(v mtakit.Verdict) filter.ContentFilter {
		return filter.ContentFilterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Message) (mtakit.Verdict, error) { return v, nil })
	}
	inner := filter.Chain{says(mtakit.Verdict{Action: mtakit.Permit, Hold: "h"}), says(mtakit.Verdict{Hold: "never"})}
	v, _ := filtered(t, filter.Chain{inner, says(mtakit.Verdict{Filter: "f:"}), says(mtakit.Verdict{Action: mtakit.Discard}), says(mtakit.Verdict{Hold: "never"})}, "A: 1\r\n\r\n")
	assert.Equal(t, mtakit.Verdict{Action: mtakit.Discard, Hold: "h", Filter: "f:"}, v)
}

// Long lines come in pieces of 2048 bytes, segments end after 51200.
func TestLimits(t *testing.T) {
	t.Parallel()
	var asked []string
	f := filter.BodyChecks{Table: recorder("", &asked)}
	for _, n := range []int{2046, 2047, 2048, 2049, 4096} {
		asked = nil
		filtered(t, f, "A: 1\r\n\r\n"+strings.Repeat("x", n)+"\r\nend\r\n")
		var sizes []int
		for _, s := range asked {
			sizes = append(sizes, len(s)-1)
		}
		want := map[int][]int{2046: {2046, 3}, 2047: {2047, 3}, 2048: {2048, 3}, 2049: {2048, 1, 3}, 4096: {2048, 2048, 3}}
		assert.Equal(t, want[n], sizes, n)
	}
	asked = nil
	filtered(t, f, "A: 1\r\n\r\n"+strings.Repeat("0123456789abcd\r\n", 10000))
	assert.Len(t, asked, 51200/16)
	asked = nil
	filtered(t, filter.HeaderChecks{Table: recorder("", &asked)}, "Content-Type: message/rfc822\r\n\r\nB: "+strings.Repeat("x\r\n ", 200000)+"\r\n")
	assert.Equal(t, 102400+1, len(asked[1]))
}

// As many fields as a header can have are no more work than their number: a list
// that is edited in place would take minutes.
func TestManyFields(t *testing.T) {
	t.Parallel()
	const n = mtakit.MaxHeader / 12
	raw := "A: 1\r\n" + strings.Repeat("X:\r\n", n) + "B: 2\r\n"
	for action, want := range map[string]string{
		"IGNORE": "", "PREPEND Y: z": strings.Repeat("Y: z\r\nX:\r\n", n), "REPLACE Y: z": strings.Repeat("Y: z\r\n", n),
	} {
		_, got := filtered(t, filter.HeaderChecks{Table: table{"X": action}}, raw+"\r\nbody")
		require.True(t, "A: 1\r\n"+want+"B: 2\r\n\r\nbody" == got, action)
	}
}

// A table that fails in the middle leaves the header as it was.
func TestFailureChangesNothing(t *testing.T) {
	t.Parallel()
	raw := "A: 1\r\nB: 2\r\nC: 3\r\n\r\n"
	m := mtakit.NewMessage([]byte(raw))
	_, err := filter.HeaderChecks{Table: table{"A": "IGNORE", "C": "!"}}.Filter(t.Context(), &mtakit.Envelope{}, m)
	require.ErrorIs(t, err, errBroken)
	require.Equal(t, raw, string(m.Header.Bytes()))
}

func TestEndlessEdits(t *testing.T) {
	t.Parallel()
	part := "--b\r\n\r\n" + strings.Repeat("x\r\n", 9000)
	raw := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat(part, 10)
	m := mtakit.NewMessage([]byte(raw))
	_, err := filter.BodyChecks{Table: table{"x": "REPLACE y"}}.Filter(t.Context(), &mtakit.Envelope{}, m)
	require.ErrorIs(t, err, filter.ErrTooManyEdits)
	_, out := filtered(t, filter.BodyChecks{Table: table{"x": "IGNORE"}}, raw)
	assert.NotContains(t, out, "x\r\n")
}

// slow is a body that is read byte by byte.
type slow struct{ mtakit.Bytes }

func (s slow) Open() (io.ReadCloser, error) {
	return io.NopCloser(iotest.OneByteReader(bytes.NewReader(s.Bytes))), nil
}

// FuzzBody: whatever comes, nothing is changed where nothing matches, the same
// is asked for however the body is read, and edits are what they say.
func FuzzBody(f *testing.F) {
	f.Add([]byte(crlf(nested)))
	f.Add([]byte("Content-Type: multipart/mixed; boundary=\"\\\"(\"\r\n\r\n--\"(\r\n\r\n"))
	f.Add([]byte("Content-Type: message/rfc822\n\nA: \r\n b\n\r\r\nx\r"))
	f.Add([]byte("A: 1\r\n\r\n" + strings.Repeat("x", 2047) + "\r\n" + strings.Repeat("y", 2048) + "\r"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var fast, late []string
		h, n := mtakit.ParseHeader(raw)
		for _, x := range []struct {
			body mtakit.Body
			into *[]string
		}{{mtakit.Bytes(raw[n:]), &fast}, {slow{raw[n:]}, &late}} {
			m := &mtakit.Message{Header: h.Clone(), Body: x.body}
			chain := filter.Chain{filter.HeaderChecks{Table: recorder("h", x.into)}, filter.BodyChecks{Table: recorder("b", x.into)}}
			_, err := chain.Filter(t.Context(), nil, m)
			require.NoError(t, err)
			require.Equal(t, x.body, m.Body)
			require.Equal(t, h.Bytes(), m.Header.Bytes())
		}
		require.Equal(t, fast, late)

		m := &mtakit.Message{Header: h, Body: slow{raw[n:]}}
		i := 0
		actions := []string{"IGNORE", "DUNNO", "REPLACE Z: z", "PREPEND Y: y"}
		all := filter.TableFunc(func(context.Context, string) (string, bool, error) { i++; return actions[i%4], true, nil })
		_, err := filter.Chain{filter.BodyChecks{Table: all}, filter.HeaderChecks{Table: all}}.Filter(t.Context(), nil, m)
		require.NoError(t, err)
		r, err := m.Body.Open()
		require.NoError(t, err)
		out, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Len(t, out, int(m.Body.Size()))
	})
}

// FuzzAction: whatever a table says, the reply can be sent, the log is one line,
// and the message keeps its form.
func FuzzAction(f *testing.F) {
	for _, s := range []string{"REJECT", "reject 4.7.1 later", "REJECT 5.999.999\r\nx", "REJECT 5.1.1000 x", "DISCARD x\x00y", "HOLD", "WARN a\nb", "INFO",
		"STRIP", "IGNORE", "PASS", "DUNNO", "OK", "REPLACE A: b\r\nC: d", "REPLACE", "PREPEND x", "PREPEND A: b\n c", "FILTER a:b", "FILTER :", "REDIRECT a@b",
		"REDIRECT a@b c", "BCC @", "  ", "554 no", "\xff\xfe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		all := filter.TableFunc(func(context.Context, string) (string, bool, error) { return value, true, nil })
		v, raw := filtered(t, filter.Chain{filter.HeaderChecks{Table: all}, filter.BodyChecks{Table: all}},
			"A: 1\r\nContent-Type: multipart/x; boundary=b\r\n\r\n--b\r\nC: d\r\n\r\ntext\r\n--b--\r\n")
		if v.Action == mtakit.Reject {
			require.NotNil(t, v.Reply)
			require.Contains(t, []int{450, 550}, v.Reply.Code)
			require.Equal(t, v.Reply.Code/100, v.Reply.EnhancedCode[0])
			require.NotEmpty(t, v.Reply.Message)
			require.NotRegexp(t, "[\x00-\x1f\x7f]", v.Reply.Message)
		} else {
			require.Nil(t, v.Reply)
		}
		for _, text := range append(v.Log, v.Hold, v.Reason) {
			require.NotRegexp(t, "[\x00-\x1f\x7f]", text)
		}
		for _, to := range append(v.BCC, v.Redirect) {
			require.NotContains(t, to, " ")
		}
		require.Equal(t, strings.Count(raw, "\n"), strings.Count(raw, "\r\n"))
		require.Equal(t, strings.Count(raw, "\r"), strings.Count(raw, "\r\n"))
		again := mtakit.NewMessage([]byte(raw))
		require.LessOrEqual(t, again.Header.Len(), 4)
	})
}

func BenchmarkHeaderChecks(b *testing.B) {
	raw := []byte(strings.Repeat("Received: from x by y;\r\n\tThu, 1 Jan 2026 00:00:00 +0000\r\n", 3) + "From: <a@b>\r\nTo: <a@b>\r\nSubject: hello\r\n\r\n")
	m := mtakit.NewMessage(raw)
	none := filter.TableFunc(func(context.Context, string) (string, bool, error) { return "", false, nil })
	b.ReportAllocs()
	for b.Loop() {
		_, _ = filter.HeaderChecks{Table: none}.Filter(context.Background(), nil, m)
	}
}

func BenchmarkBodyChecks(b *testing.B) {
	part := "--b\r\n\r\n" + strings.Repeat("a line of a letter that has the usual length, more or less\r\n", 800)
	m := mtakit.NewMessage([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat(part, 20)))
	none := filter.TableFunc(func(context.Context, string) (string, bool, error) { return "", false, nil })
	b.SetBytes(m.Body.Size())
	b.ReportAllocs()
	for b.Loop() {
		_, _ = filter.BodyChecks{Table: none}.Filter(context.Background(), nil, m)
	}
}

// Example refuses one message and changes another.
func Example() {
	checks := filter.Chain{
		filter.HeaderChecks{Table: table{"Subject: buy": "REJECT no advertisements", "X-Mailer:": "IGNORE"}},
		filter.BodyChecks{Table: table{"password:": "REPLACE password: ********"}},
	}
	for _, raw := range []string{"Subject: buy now\r\n\r\n", "X-Mailer: m\r\nSubject: hi\r\n\r\npassword: secret\r\n"} {
		m := mtakit.NewMessage([]byte(raw))
		v, err := checks.Filter(context.Background(), &mtakit.Envelope{}, m)
		var b strings.Builder
		_, _ = m.WriteTo(&b)
		fmt.Printf("%v %v %v %q\n", v.Action, v.Reply, err, b.String())
	}
	// Output:
	// REJECT SMTP error 550: no advertisements <nil> "Subject: buy now\r\n\r\n"
	// DUNNO <nil> <nil> "Subject: hi\r\n\r\npassword: ********\r\n"
}

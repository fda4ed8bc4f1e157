package smtpserver

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
)

func TestParsePath(t *testing.T) {
	t.Parallel()
	const no = "\x00"
	for _, c := range []struct{ in, lenient, strict string }{
		{"<a@example.test>", "a@example.test", "a@example.test"},
		{"<>", "", ""},
		{"", no, no},
		{"<", no, no},
		{"<a@example.test", no, no},
		{"a@example.test>", no, no},
		{" <a@example.test>", "a@example.test", no},
		{"a@example.test", "a@example.test", no},
		{"postmaster", "postmaster", no},
		{"<Postmaster>", "Postmaster", "Postmaster"},
		{"<user>", "user", no},
		{"<@a.test:b@c.test>", "b@c.test", "b@c.test"},
		{"<@a.test,@[192.0.2.1]:b@c.test>", "b@c.test", "b@c.test"},
		{"<@a.test>", no, no},
		{"<@a.test:>", no, no},
		{"<@:b@c.test>", no, no},
		{"<a.test:b@c.test>", no, no},
		{`<"a b"@c.test>`, `"a b"@c.test`, `"a b"@c.test`},
		{`<"ab"@c.test>`, "ab@c.test", "ab@c.test"},
		{`<"a\b"@c.test>`, "ab@c.test", "ab@c.test"},
		{`<"a\"b"@c.test>`, `"a\"b"@c.test`, `"a\"b"@c.test`},
		{`<"a\\"@c.test>`, `"a\\"@c.test`, `"a\\"@c.test`},
		{`<"a>b"@c.test>`, `"a>b"@c.test`, `"a>b"@c.test`},
		{`<"a@b"@c.test>`, `"a@b"@c.test`, `"a@b"@c.test`},
		{`<""@c.test>`, `""@c.test`, no},
		{`<"a@c.test>`, no, no},
		{`<"a"b@c.test>`, no, no},
		{`<a"b"@c.test>`, no, no},
		{`<a\ b@c.test>`, no, no},
		{"<\"a\tb\"@c.test>", no, no},
		{"<\"a\rb\"@c.test>", no, no},
		{"<a b@c.test>", no, no},
		{"<a,b@c.test>", no, no},
		{"<.a@c.test>", `".a"@c.test`, no},
		{"<a..b@c.test>", `"a..b"@c.test`, no},
		{"<a@b@c.test>", `"a@b"@c.test`, no},
		{"<@c.test>", no, no},
		{"<a@>", no, no},
		{"<a@.>", no, no},
		{"<a@c..test>", no, no},
		{"<a@.test>", no, no},
		{"<a@c.test.>", "a@c.test", no},
		{"<a@c.test..>", no, no},
		{"<a@c_d.test>", "a@c_d.test", no},
		{"<a@-c.test>", "a@-c.test", no},
		{"<a@c-.test>", "a@c-.test", no},
		{"<a@c.test->", "a@c.test-", no},
		{"<a@c!d>", no, no},
		{"<a%b@c.test>", "a%b@c.test", "a%b@c.test"},
		{"<b!a@c.test>", "b!a@c.test", "b!a@c.test"},
		{"<a@[192.0.2.1]>", "a@[192.0.2.1]", "a@[192.0.2.1]"},
		{"<a@[ipv6:2001:db8::1]>", "a@[ipv6:2001:db8::1]", "a@[ipv6:2001:db8::1]"},
		{"<a@[2001:db8::1]>", "a@[2001:db8::1]", no},
		{"<a@[IPv6:192.0.2.1]>", no, no},
		{"<a@[fe80::1%eth0]>", no, no},
		{"<a@[192.0.2.256]>", no, no},
		{"<a@[192.0.2.1>", no, no},
		{"<a@[]>", no, no},
		{"<ä@bücher.test>", "ä@bücher.test", "ä@bücher.test"},
		{"<\xff@c.test>", no, no},
		{"<" + strings.Repeat("l", 64) + "@c.test>", strings.Repeat("l", 64) + "@c.test", strings.Repeat("l", 64) + "@c.test"},
		{"<" + strings.Repeat("l", 65) + "@c.test>", strings.Repeat("l", 65) + "@c.test", no},
		{"<a@" + strings.Repeat("d", 63) + ".test>", "a@" + strings.Repeat("d", 63) + ".test", "a@" + strings.Repeat("d", 63) + ".test"},
		{"<a@" + strings.Repeat("d", 64) + ".test>", no, no},
		{"<a@" + strings.Repeat("d.", 127) + "d>", "a@" + strings.Repeat("d.", 127) + "d", no},
		{"<a@" + strings.Repeat("d.", 128) + "d>", no, no},
	} {
		for strict, want := range map[bool]string{false: c.lenient, true: c.strict} {
			p, err := parsePath([]byte(c.in), strict)
			if want == no {
				require.Error(t, err, "%q strict=%v", c.in, strict)
				continue
			}
			require.NoError(t, err, "%q strict=%v", c.in, strict)
			require.Equal(t, want, p.address, "%q strict=%v", c.in, strict)
		}
	}
}

// What comes out goes in again and stays the same, in strict mode too where it
// has no leniency left; nothing in it can end a command or a path.
func FuzzPath(f *testing.F) {
	for _, s := range []string{`<"a b"@c.test> SIZE=1`, "<@a,@b:c@d>", "a..b@[IPv6:::1]", `<"\"\\@>"@x>`, "<ä@ö> X", `<""@x>`, "<a@b@c.>"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, in []byte, strict bool) {
		if hasControl(in) {
			t.Skip("run refuses these")
		}
		p, err := parsePath(bytes.Clone(in), strict)
		if err != nil {
			return
		}
		require.True(t, utf8.ValidString(p.address))
		require.False(t, strings.ContainsAny(p.address, "\r\n\x00"))
		require.True(t, len(p.rest) == 0 || p.rest[0] == ' ' || p.rest[0] == '\t')
		again, err := parsePath([]byte("<"+p.address+"> SIZE=1"), strict)
		require.NoError(t, err, "%q", p.address)
		require.Equal(t, p.address, again.address)
		require.Equal(t, " SIZE=1", string(again.rest))
	})
}

func TestXtext(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "", "a": "a", "a+2Bb": "a+b", "+3D": "=", "+20": " "} {
		got, ok := decodeXtext(in)
		require.True(t, ok, in)
		require.Equal(t, want, got)
	}
	for _, in := range []string{"+", "+2", "+2b", "+0D", "+7F", "+80", "a=b", "a b", "ä", "+G0", "++2B"} {
		_, ok := decodeXtext(in)
		require.False(t, ok, in)
	}
	for in, want := range map[string]string{`\x{20AC}`: "€", "€": "€", `a\x{2B}`: "a+", `\x{10FFFF}`: "\U0010FFFF"} {
		got, ok := decodeUTF8Address(in)
		require.True(t, ok, in)
		require.Equal(t, want, got)
	}
	for _, in := range []string{`\x{}`, `\x{A}`, `\x{D800}`, `\x{110000}`, `\x{20`, `\`, "+", "=", "\xff", `\x{FFFFFFFFFF}`, `\x{85}`} {
		_, ok := decodeUTF8Address(in)
		require.False(t, ok, in)
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	n, err := parseSize([]byte("9223372036854775807"))
	require.NoError(t, err)
	require.Equal(t, int64(9223372036854775807), n)
	for _, in := range []string{"9223372036854775808", "18446744073709551615", "18446744073709551616", "99999999999999999999"} {
		_, err := parseSize([]byte(in))
		require.ErrorContains(t, err, "range", in)
	}
	for _, in := range []string{"", "-1", "+1", "1 ", "0x1", "١", strings.Repeat("0", 21)} {
		_, err := parseSize([]byte(in))
		require.ErrorContains(t, err, "syntax", in)
	}
}

// taker is a session that takes everything.
type taker struct{}

func (*taker) Reset()                               {}
func (*taker) Logout() error                        { return nil }
func (*taker) Mail(string, *smtp.MailOptions) error { return nil }
func (*taker) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (t *taker) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
func (*taker) Params(context.Context, string, []mtakit.Param) error { return nil }

// quiet returns a connection that runs commands without a client.
func quiet(t testing.TB) *Conn {
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close(); server.Close() })
	s := &Server{Backend: BackendFunc(func(context.Context, *Conn) (smtp.Session, error) { return new(taker), nil }),
		Hostname: "mx.example.test", MaxJunk: 1 << 30, MaxRecipients: 1 << 30}
	c := s.newConn(server)
	require.True(t, s.track(c))
	c.session, c.verb = new(taker), "EHLO"
	return c
}

// commands are what the promise about allocations is for.
var commands = []struct {
	name, text string
	before     func(*Conn)
	most       float64
}{
	{"NOOP", "NOOP", func(*Conn) {}, 0},
	{"RSET", "rset", func(*Conn) {}, 0},
	{"MAIL", "MAIL FROM:<someone@example.test> SIZE=1000 BODY=8BITMIME", func(c *Conn) { c.tx.mail = false }, 3},
	{"RCPT", "RCPT TO:<someone.else@example.test> NOTIFY=SUCCESS,FAILURE,DELAY", func(c *Conn) { c.tx.mail = true }, 3},
	{"RCPTplain", "RCPT TO:<someone.else@example.test>", func(c *Conn) { c.tx.mail = true }, 2},
}

func TestCommandAllocations(t *testing.T) {
	c := quiet(t)
	for _, cmd := range commands {
		text := []byte(cmd.text)
		n := testing.AllocsPerRun(100, func() {
			cmd.before(c)
			c.out = c.out[:0]
			c.run(text)
		})
		require.True(t, strings.HasPrefix(string(c.out), "250 "), "%s: %s", cmd.name, c.out)
		require.LessOrEqual(t, n, cmd.most, cmd.name)
	}
}

func BenchmarkCommand(b *testing.B) {
	for _, cmd := range commands {
		b.Run(cmd.name, func(b *testing.B) {
			c := quiet(b)
			text := []byte(cmd.text)
			b.ReportAllocs()
			for b.Loop() {
				cmd.before(c)
				c.out = c.out[:0]
				c.run(text)
			}
		})
	}
}

// No command line makes the parser panic or answer nothing, and no answer is
// broken by what it repeats.
func FuzzCommand(f *testing.F) {
	for _, s := range []string{"NOOP", "MAIL FROM:<a@b> SIZE=1 BODY=8BITMIME RET=FULL ENVID=x AUTH=<> X=Y", "HELO a", "EHLO \xff", "VRFY <a>",
		"RCPT TO:<\"a\\\"\"@b> NOTIFY=DELAY ORCPT=rfc822;a+2B ", "HELP x", "GET /", "*", "", "mail from:<@a:b@c>", "ETRN #x", "RCPT TO:<a@b> ORCPT=utf-8;\\x{41}"} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, text []byte, transaction bool) {
		var buf [12]byte
		verb, _ := split(text, &buf)
		switch string(verb) {
		case "DATA", "BDAT", "AUTH", "STARTTLS":
			t.Skip("these read on")
		}
		if bytes.IndexByte(text, '\n') >= 0 {
			t.Skip("not one line")
		}
		c := quiet(t)
		c.server.Strict = len(text)%2 == 0
		c.tx.mail = transaction
		c.run(text)
		out := string(c.out)
		require.True(t, strings.HasSuffix(out, "\r\n"))
		for _, l := range strings.Split(strings.TrimSuffix(out, "\r\n"), "\r\n") {
			require.Regexp(t, `^[245][0-9][0-9][ -][^\x00-\x1f\x7f]*$`, l)
			require.LessOrEqual(t, len(l), maxReplyLine)
		}
	})
}

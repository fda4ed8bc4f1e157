package ldap

import (
	"encoding/asn1"
	"errors"
	"io"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
)

// reply is a server that answers the first question with what it has, and then hangs up.
type reply struct {
	net.Conn // nil: whatever else is called is a fault
	rest     io.Reader
	asked    chan struct{}
	once     sync.Once
}

func answering(text string) *reply {
	return &reply{rest: strings.NewReader(text), asked: make(chan struct{})}
}

func (r *reply) Write(p []byte) (int, error) {
	r.once.Do(func() { close(r.asked) })
	return len(p), nil
}

func (r *reply) Read(p []byte) (int, error) {
	<-r.asked
	return r.rest.Read(p)
}

func (r *reply) Close() error {
	r.once.Do(func() { close(r.asked) })
	return nil
}

const (
	foundOne = "0\x2d\x02\x01\x01\x64\x28\x04\x04cn=a0\x20\x30\x1e\x04\x08maildrop1\x12\x04\x07a@x.org\x04\x07b@x.org"
	foundEnd = "0\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00"
)

// withControls is an end with a control.
func withControls(control []byte) string {
	controls, _ := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: control})
	message, _ := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: append([]byte(foundEnd[2:]), controls...)})
	return string(message)
}

// foundPage is an end with the control of RFC 2696.
var foundPage = withControls((&goldap.ControlPaging{PagingSize: 5}).Encode().Bytes())

var replies = []string{
	foundEnd, foundOne + foundEnd, foundOne + foundOne + foundEnd, foundOne, foundPage, foundOne + foundPage, "",
	"0\x0c\x02\x01\x01\x65\x07\x0a\x01\x20\x04\x00\x04\x00", // no such object
	"0\x0c\x02\x01\x01\x73\x07\x04\x05ldap:" + foundEnd,     // a reference
	"0\x84\x00\x00\x00\x0c\x02\x01\x01\x65\x81\x04\x0a\x01\x00\x04\x00", "0\x80\x02\x01\x01", "0\x03\x1f\x81\x00", "0\x02\x00\x00", "0\x06\x09\x01\x80\x06\x01\x80",
	"0\x1400000000000000000000", "0\x0a0\x080\x060\x040\x020\x00", "0\x84\x7f\xff\xff\xff",
}

// FuzzGuard checks that what is let through is what was sent, is counted as it is, and
// is no more than may be.
func FuzzGuard(f *testing.F) {
	for _, text := range replies {
		f.Add(text, uint16(1<<15), uint16(1<<15))
		f.Add(text, uint16(50), uint16(8))
	}
	f.Fuzz(func(t *testing.T, text string, most, elements uint16) {
		conn := answering(text)
		require.NoError(t, conn.Close())
		g := newGuard(conn)
		g.bytes.Store(int64(most))
		g.elements.Store(int64(elements))
		let, err := io.ReadAll(g)
		require.True(t, strings.HasPrefix(text, string(let)))
		require.LessOrEqual(t, len(let), int(most))
		if err == nil {
			_, err := asn1.Unmarshal([]byte(text[len(let):]), &asn1.RawValue{})
			require.Error(t, err, "a message is lost")
		} else if !errors.Is(err, errMessage) {
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		}
		total := 0
		for rest := let; len(rest) > 0; {
			var message asn1.RawValue
			if rest, err = asn1.Unmarshal(rest, &message); err != nil {
				return // a length in more bytes than it needs is none of DER
			}
			n, depth, ok := count(message.Bytes)
			if !ok {
				return
			}
			require.LessOrEqual(t, depth, maxNesting)
			total += n
		}
		require.LessOrEqual(t, total, int(elements))
	})
}

// count returns how many elements there are in DER, and how deep.
func count(elements []byte) (n, depth int, ok bool) {
	for len(elements) > 0 {
		var e asn1.RawValue
		rest, err := asn1.Unmarshal(elements, &e)
		if err != nil {
			return 0, 0, false
		}
		elements = rest
		n, depth = n+1, max(depth, 1)
		if e.IsCompound {
			inside, below, ok := count(e.Bytes)
			if !ok {
				return 0, 0, false
			}
			n, depth = n+inside, max(depth, below+1)
		}
	}
	return n, depth, true
}

// FuzzSearch checks that only a server that has said that it is done is believed to have
// said all, and that what is found can be values.
func FuzzSearch(f *testing.F) {
	for _, text := range replies {
		f.Add(text, uint(0))
		f.Add(text, uint(3))
	}
	made, err := New(Config{Limit: 3, SizeLimit: 2, Special: []string{"member"}})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, text string, cut uint) {
		text = text[:len(text)-min(int(cut%1000), len(text))]
		conn := answering(text)
		g := newGuard(conn)
		e := &expansion{table: made, key: "k@example.org", link: &link{Conn: goldap.NewConn(g, false), raw: conn, guard: g}}
		e.link.Start()
		defer e.link.close()
		err := e.run(t.Context(), search{filter: anything}, 0)
		if err != nil {
			return
		}
		require.True(t, done(text), "%q", text)
		require.LessOrEqual(t, len(e.values), 3)
		for _, v := range e.values {
			require.NotEmpty(t, v)
			require.NotContains(t, v, "\x00")
		}
	})
}

// done reports whether a server says that the first search has succeeded.
func done(text string) bool {
	for rest := []byte(text); ; {
		var message []byte
		var err error
		if _, message, rest, err = cut(rest); err != nil {
			return false
		}
		_, number, answer, _ := cut(message)
		tag, result, _, _ := cut(answer)
		_, code, _, err := cut(result)
		if err == nil && value(number) == 1 && tag&0x1f == goldap.ApplicationSearchResultDone && value(code) == 0 {
			return true
		}
	}
}

func value(integer []byte) (n int64) {
	for _, c := range integer {
		n = n<<8 | int64(c)
	}
	return n
}

var filters = []string{
	"(cn=%s)", "cn=%s", "(&(objectClass=*)(|(mail=%s)(mail=*@%d))(!(uid=%u)))", "( & (a=b) (c=%s) )", "(cn:caseExactMatch:=%s)", "(cn:dn:=%u*%d)", "(a>=%s)", "(a~=%s)",
	"(cn=%u & %d)", "(cn=\\2a%s)", "(cn=%s*%s)", "(%u=%d)", "((cn=%s))", "(cn=\\%4%5)", "(cn=%%)",
}

var keys = []string{"user@example.org", "*", ")(uid=*", `\2a`, "a\x00b@c", "\u00fc@\ufffd", "(", "a*b@*.b.c.d.e", "@", "user", "u@2.a.b.c.d"}

// FuzzFilter checks that no key changes what a filter asks, that it is but a value in it;
// and that a value means what it says.
func FuzzFilter(f *testing.F) {
	for _, text := range filters {
		for _, key := range keys {
			f.Add(text, key, "a & b")
		}
	}
	for _, value := range []string{" a | b ", "! a", "(a) & *", "a\n b", `\`, "=", "", "%s", "\ufffd"} {
		f.Add(filters[0], keys[0], value)
	}
	f.Fuzz(func(t *testing.T, text, key, value string) {
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return // not asked for
		}
		if template, err := parseFilter(text); err == nil && key != "" && !strings.Contains(text+key, string(mark)) {
			want := compiled(t, marked(template))
			if ofRule.MatchString(want) {
				return
			}
			filter, ok := template.Expand(key, key, func(part string) string {
				part = goldap.EscapeFilter(part)
				want = strings.Replace(want, string(mark), part, 1)
				return part
			})
			if ok {
				require.Equal(t, want, compiled(t, filter))
			}
		}
		literal := strings.NewReplacer("*", `\2a`, "(", `\28`, ")", `\29`, `\`, `\5c`, "\x00", `\00`, "%", "%%", "\ufffd", `\ef\bf\bd`).Replace(value)
		template, err := parseFilter("( cn=" + literal + ") ")
		require.NoError(t, err)
		filter, _ := template.Expand("", "", goldap.EscapeFilter)
		p, err := goldap.CompileFilter(filter)
		require.NoError(t, err)
		require.Equal(t, value, p.Children[1].Data.String())
	})
}

// ofRule finds an expansion in what go-ldap takes for the name of a matching rule, as in
// "(:a=b%s)". No server has one of such a name.
var ofRule = regexp.MustCompile(`\x01[^()]*:=`)

// compiled is a filter as go-ldap writes what it has read.
func compiled(t *testing.T, filter string) string {
	t.Helper()
	p, err := goldap.CompileFilter(filter)
	require.NoError(t, err, "%q", filter)
	text, err := goldap.DecompileFilter(p)
	require.NoError(t, err, "%q", filter)
	return text
}

// FuzzBase checks that no key makes another entry's name of a base than the one with
// the key in it.
func FuzzBase(f *testing.F) {
	for _, text := range []string{"dc=%2,dc=%1", "uid=%u,ou=people,dc=example,dc=org", "cn=%s+sn=%d, o=x", "cn=%u %d", "%u=%d", "", `cn=\%4%5,dc=x`, `cn=\%s`, "cn=#%4%5", `cn=a\,%s`} {
		for _, key := range append(keys, "a,b=c@d+e=f;g", " # \\", "u@,c.\\.c.d") {
			f.Add(text, key)
		}
	}
	f.Fuzz(func(t *testing.T, text, key string) {
		template, err := parseBase(text)
		if err != nil || key == "" || !utf8.ValidString(key) {
			return
		}
		base, ok := template.Expand(key, key, escapeDN)
		if !ok {
			return
		}
		want, err := goldap.ParseDN(marked(template))
		require.NoError(t, err)
		got, err := goldap.ParseDN(base)
		require.NoError(t, err, "%q", base)
		require.Len(t, got.RDNs, len(want.RDNs), "%q", base)
		for i, rdn := range got.RDNs {
			require.Len(t, rdn.Attributes, len(want.RDNs[i].Attributes), "%q", base)
		}
	})
}

// FuzzURL checks that a URL is read to the parts of which it was made, and that what is
// none is an error.
func FuzzURL(f *testing.F) {
	for _, text := range []string{
		"ldap:///dc=x??sub?(cn=a)", "ldap://host/cn=%20a,dc=x?mail,cn?one?cn=a?x", "LDAPS://h", "ldapi://%2f/?*", "ldap:///????!x", "ldap:///?????", "ldap:///%zz", "ldap:///x??all",
		"ldap:///x???%20", "ldap:///a%3fb???(cn=%3f)", "://", "http://x/", "ldap:///???(cn=a%20&%20b)",
	} {
		f.Add(text, "dc=x?y", "mail;lang-de,cn", byte(2), "cn=a & b")
	}
	f.Fuzz(func(t *testing.T, text, base, attributes string, scope byte, value string) {
		if s, err := parseURL(text); err != nil {
			require.ErrorIs(t, err, ErrURL)
		} else {
			require.True(t, strings.HasPrefix(s.filter, "("), "%q", s.filter)
			if again, err := parseURL(written(s)); len(written(s)) <= maxURL {
				require.NoError(t, err)
				require.Equal(t, s, again)
			}
		}
		want := search{base: base, scope: Scope(scope % 3), attributes: words(attributes), filter: "(cn=" + goldap.EscapeFilter(value) + ")"}
		got, err := parseURL(written(want))
		if len(written(want)) > maxURL {
			require.ErrorIs(t, err, ErrURL)
			return
		}
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

// written is the URL of a search, RFC 4516.
func written(s search) string {
	scope := map[Scope]string{Base: "base", OneLevel: "one", Subtree: "sub"}[s.scope]
	return "ldap://host/" + strings.Join([]string{url.PathEscape(s.base), url.PathEscape(strings.Join(s.attributes, ",")), scope, url.PathEscape(s.filter)}, "?")
}

// FuzzSelected checks that a URL gets no attribute that the table does not have, and
// all of the table's when it wants all.
func FuzzSelected(f *testing.F) {
	f.Add("mail,cn", "cn;lang-de,CN,sn")
	f.Add("mail;x,cn", "*")
	f.Add("cn;lang-de", "cn")
	f.Fuzz(func(t *testing.T, table, wanted string) {
		names := selected(words(table), words(wanted))
		for _, name := range names {
			require.True(t, named(words(table), name), "%q", name)
			require.True(t, len(words(wanted)) == 0 || slices.Contains(words(wanted), "*") || named(words(wanted), name), "%q", name)
		}
		if slices.Contains(words(wanted), "*") || len(words(wanted)) == 0 {
			for _, name := range words(table) {
				require.Contains(t, names, name)
			}
		}
	})
}

// FuzzEntry checks what is taken of an entry against ldap_table(5): of terminal
// attributes alone if there are any, of leaf attributes if no special ones are there.
func FuzzEntry(f *testing.F) {
	f.Add("cn=a,mail=b,cn=c", "cn", "", "mail", "", uint8(0))
	f.Add("cn=a,mail=b,CN;x=c", "cn", "mail", "", "%s", uint8(1))
	f.Add("cn=a@b,l=,cn=", "cn", "l", "l", "%u+%d %S", uint8(2))
	f.Add("cn=\x00", "cn", "", "", "x", uint8(0))
	f.Fuzz(func(t *testing.T, text, attributes, terminal, leaf, result string, limit uint8) {
		c := Config{Attributes: words(attributes), Terminal: words(terminal), Leaf: words(leaf), Result: result, Limit: int(limit)}
		if c.Attributes == nil {
			c.Attributes = []string{}
		}
		made, err := New(c)
		if err != nil {
			return
		}
		entry := &goldap.Entry{}
		for _, word := range words(text) {
			name, values, _ := strings.Cut(word, "=")
			entry.Attributes = append(entry.Attributes, &goldap.EntryAttribute{Name: name, Values: strings.Split(values, "|")})
		}
		wanted := slices.Concat(c.Attributes, c.Leaf)
		if slices.ContainsFunc(entry.Attributes, func(a *goldap.EntryAttribute) bool { return named(c.Terminal, a.Name) }) {
			wanted = c.Terminal
		}
		var want []string
		for _, a := range entry.Attributes {
			for _, v := range a.Values {
				if s, ok := made.result.Expand(v, "k@x.org", func(s string) string { return s }); ok && v != "" && s != "" && named(wanted, a.Name) {
					want = append(want, s)
				}
			}
		}
		e := &expansion{table: made, key: "k@x.org"}
		err = e.entry(t.Context(), entry, 0)
		switch {
		case errors.Is(err, errValue):
			assert.Contains(t, text, "\x00")
		case limit > 0 && len(want) > int(limit):
			assert.ErrorIs(t, err, lookup.ErrExpansionLimit)
		default:
			assert.NoError(t, err)
			assert.Equal(t, want, e.values)
		}
	})
}

package lookup

import (
	"bufio"
	"bytes"
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var texts = []string{
	"", "\n", "key value\n", "key value", "  key value\n", "a b\n c\n# d\n  e\n\nf g", "\ufeffa b\r\nc d\r\n", "\"a b\" c\n\"d", "a\x00b c\n",
	"a\\ b c", "a: b, c\n\"d e\": f\n: g\n", "a\n\tb\n", "# only\n", "\\", "a \\", "a\rb c\r\r\n d",
}

// FuzzEntries checks that whatever a file holds gives entries that stand in it,
// in order, and that both ways to read lines agree.
func FuzzEntries(f *testing.F) {
	for _, s := range texts {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		last := 0
		for e, err := range Entries("f", text) {
			if err != nil {
				e.Line = err.(*LineError).Line
			} else {
				assert.NotEmpty(t, e.Key)
				assert.NotContains(t, e.Key+e.Value, "\n")
				assert.Equal(t, strings.Trim(e.Value, space), e.Value)
			}
			require.Greater(t, e.Line, last)
			last = e.Line
		}
		assert.LessOrEqual(t, last, strings.Count(text, "\n")+1)
		assert.Equal(t, slowLines(text), fastLines(text))
		h, _ := ParseHash("f", text, Options{Bare: "x"})
		for e, err := range Entries("f", text) {
			if err == nil {
				_, ok, _ := h.Lookup(t.Context(), e.Key)
				assert.True(t, ok, "%q", e.Key)
			}
		}
		a, _ := ParseAliases("f", text, Options{})
		_, ok, err := a.Lookup(t.Context(), "")
		assert.False(t, ok)
		assert.NoError(t, err)
	})
}

func fastLines(text string) []string {
	var lines []string
	for l, err := range Lines("f", text) {
		if err == nil {
			lines = append(lines, l.Text)
		}
	}
	return lines
}

// slowLines is the obvious way to join continuation lines.
func slowLines(text string) []string {
	var joined, lines []string
	text = strings.TrimPrefix(text, "\ufeff")
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSuffix(line, "\r")
		bare := strings.Trim(line, space)
		switch {
		case bare == "" || bare[0] == '#':
		case isSpace(line[0]) && len(joined) > 0:
			joined[len(joined)-1] += line
		default:
			joined = append(joined, line)
		}
	}
	for _, line := range joined {
		if !isSpace(line[0]) && !strings.Contains(line, "\x00") {
			lines = append(lines, strings.TrimRight(line, space))
		}
	}
	return lines
}

func FuzzRegexp(f *testing.F) {
	for _, s := range []string{
		"/a/ b", "/^(a|b)*$/i <$1>", "!/a/ x", "if /a/\n/b/ c\nendif", "/a/!/b/ c", "/[[:alpha:]]{2,3}/x y", `/\(a\)\1/x b`, "/a**b+?/ $$",
		"/[]a-z]/ x", "|a\\|b| c", "/(((((a)))))/ ${5}", "/\xff[\x80-\x90]/ x", "/a{1000}{1000}/ x", "/((a{100}){100}){100}/ x", "/[[.-.]-/]/ x",
	} {
		f.Add(s, "abc \xff")
	}
	f.Fuzz(func(t *testing.T, text, key string) {
		table, _ := ParseRegexp("f", text, Options{})
		_, ok, err := table.Lookup(t.Context(), key)
		assert.NoError(t, err)
		assert.False(t, ok && key == "")
		for _, r := range table.patterns.rules {
			assert.LessOrEqual(t, r.end, len(table.patterns.rules))
		}
	})
}

// FuzzLiteral checks that a quoted literal is found byte by byte, whatever
// bytes it has.
func FuzzLiteral(f *testing.F) {
	f.Add("a.b", "xa.b")
	f.Add("\xc3\xbc\xff", "\xff\xc3\xbc\xff")
	f.Fuzz(func(t *testing.T, literal, key string) {
		assert.Equal(t, key, narrow(widen(key)))
		var pattern strings.Builder
		for i := range len(literal) {
			if strings.IndexByte(`\.[]*^$+?{}|()`, literal[i]) >= 0 {
				pattern.WriteByte('\\')
			}
			pattern.WriteByte(literal[i])
		}
		p, err := parsePOSIX(pattern.String(), dialect{caseSensitive: true}, time.Second)
		require.NoError(t, err)
		ok, err := new(programs).match(p, key, widen(key), nil)
		require.NoError(t, err)
		assert.Equal(t, strings.Contains(key, literal), ok)
	})
}

func FuzzCIDR(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8 a", "!::/0 b", "if 1.2.3.0/24\n1.2.3.4 c\nendif", "[::1]/128\n1.2.3.4,5.6.7.8", "1.2.3.4/33 x", "[", "fe80::1%x y"} {
		f.Add(s, "1.2.3.4")
		f.Add(s, "::ffff:10.0.0.1")
	}
	f.Fuzz(func(t *testing.T, text, key string) {
		table, _ := ParseCIDR("f", text, Options{Bare: "x"})
		value, ok, err := table.Lookup(t.Context(), key)
		assert.NoError(t, err)
		assert.Equal(t, ok, value != "")
		list, _ := ParseNetworks("f", text, Options{})
		_, ok, err = list.Lookup(t.Context(), key)
		assert.NoError(t, err)
		if _, isAddr := parseAddr(key); !isAddr {
			assert.False(t, ok)
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add("user = x\nquery = SELECT a FROM b WHERE c='%s'\nhosts = unix:/a inet:b:1 [::1]:2\n")
	f.Add("table=a\nselect_field=b\nwhere_field=c\nadditional_conditions = AND d='%u'\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseConfig("f", text)
		if err != nil {
			return
		}
		assert.NotEmpty(t, c.Query)
		assert.NotEmpty(t, c.Hosts)
		assert.NotEmpty(t, c.Preferred().Network)
		_, _ = c.SQL(nil, MySQL)
	})
}

var expanded = regexp.MustCompile(`%[sudSUD1-9]`)

// FuzzStatement checks that no byte of a key gets into a statement: that is the
// same for every key, and has no expansion left in it.
func FuzzStatement(f *testing.F) {
	for _, q := range []string{
		"SELECT a FROM b WHERE c='%s'", `WHERE a LIKE "%%%u\_x"`, "'%u@%d' -- c\n", "`a` = %s", "/* x */ '%1.%2'", "E'%s'", "'it''s %s'", `'\'%s'`, "%%", "$1 ? %s",
	} {
		f.Add(q, "us'er@example.org", byte(0))
		f.Add(q, `\' OR 1=1 -- `, byte(1))
	}
	f.Fuzz(func(t *testing.T, query, key string, dialect byte) {
		s, err := parseStatement(query, Dialect(dialect%3))
		if err != nil {
			return
		}
		plain := strings.ReplaceAll(query, "%%", "")
		assert.Equal(t, expanded.MatchString(plain), len(s.args) > 0, "%q", query)
		if !strings.Contains(query, "%%") {
			assert.False(t, expanded.MatchString(s.text), "%q", s.text)
		}
		args, ok := s.expand(newSubject(key))
		if ok {
			assert.Len(t, args, len(s.args))
		}
	})
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{"user+ext@example.org", `"a b"@c`, "@", "a@b@c", `\@`, `"`, "+a@b", "<>", "\xff@\xfe"} {
		f.Add(s, "+-")
	}
	f.Fuzz(func(t *testing.T, key, delimiters string) {
		assert.Equal(t, key, Unquote(Quote(key)))
		folded := Fold(key)
		assert.Equal(t, utf8.ValidString(key), utf8.ValidString(folded))
		a := splitAddress(key, delimiters)
		assert.Equal(t, Unquote(a.local), a.user+a.extension)
		for _, table := range []LookupTable{
			&AddressTable{Tables: Maps(Static("x")), Delimiters: delimiters}, Client(Inline{"x": "y"}), Domain(Inline{"x": "y"}),
			&AccessAddressTable{Tables: Maps(Inline{"x": "y"}), Delimiters: delimiters},
		} {
			_, _, err := table.Lookup(t.Context(), key)
			assert.NoError(t, err)
		}
		_ = addExtension(key, "+x")
	})
}

func FuzzRemote(f *testing.F) {
	f.Add("5:OK ab,")
	f.Add("200 a%20b\n")
	f.Fuzz(func(t *testing.T, text string) {
		in := bufio.NewReader(strings.NewReader(text))
		if s, err := readNetstring(in); err == nil {
			assert.LessOrEqual(t, len(s), maxSocketmap)
			assert.True(t, strings.HasPrefix(text, strings.TrimLeft(string(netstring(s)), "0")) || text[0] == '0')
		}
		if line, err := readTCPLine(bufio.NewReader(strings.NewReader(text))); err == nil {
			assert.Less(t, len(line), maxTCPLine)
		}
		back, ok := unquoteTCP(quoteTCP(text))
		assert.True(t, ok)
		assert.Equal(t, text, back)
		for _, c := range []byte(quoteTCP(text)) {
			assert.True(t, c > ' ' && c < 0x7f)
		}
	})
}

// FuzzMemcache checks that a reply is a value, a miss or an error, that one that is cut
// off is an error, and that nothing of any length is read.
func FuzzMemcache(f *testing.F) {
	for _, text := range []string{
		"END\r\n", "VALUE k 0 3\r\na\nb\r\nEND\r\n", "VALUE k 0 0\r\n\r\nEND\n", "VALUE k 1 2 33\r\nab\r\nEND\r\n", "VALUE k 0 2\r\nabc\r\nEND\r\n", "VALUE j 0 1\r\na\r\nEND\r\n",
		"VALUE k 0 1\r\na\r\nVALUE k 0 1\r\nb\r\nEND\r\n", "SERVER_ERROR out of memory\r\n", "VALUE k 0 -1\r\n", "VALUE k 0 99999999999999999999\r\n", "VALUE k 0 +2\r\nab\r\nEND\r\n", "\r\n", "",
	} {
		f.Add(text, "k", uint16(10), uint16(20))
		f.Add(text, "k", uint16(1), uint16(4000))
	}
	f.Add("END\r\n", "a b", uint16(1), uint16(1))
	f.Add("END\r\n", "a\r\nset b", uint16(1), uint16(1))
	f.Fuzz(func(t *testing.T, text, key string, data, line uint16) {
		if isMemcacheKey(key) {
			assert.Equal(t, -1, strings.IndexFunc(key, func(r rune) bool { return r <= ' ' }))
			assert.LessOrEqual(t, len(key), 250)
		}
		table := &Memcache{MaxData: int(data) + 1, MaxLine: int(line) + 1}
		read := func(text string) (answer string, used int, err error) {
			rest := strings.NewReader(text)
			in := bufio.NewReaderSize(rest, 16)
			answer, err = table.readValue(in, key)
			return answer, len(text) - rest.Len() - in.Buffered(), err
		}
		answer, used, err := read(text)
		assert.LessOrEqual(t, used, 2*(table.MaxLine+1)+table.MaxData+2)
		value, hit := strings.CutPrefix(answer, "=")
		switch {
		case err != nil:
			return
		case hit:
			assert.LessOrEqual(t, len(value), table.MaxData)
			assert.True(t, strings.HasPrefix(text, "VALUE "+key+" "), "%q", text)
			assert.Contains(t, text[:used], value+"\r\nEND")
		default:
			assert.Equal(t, "END", strings.TrimRight(text[:used], "\r\n"))
		}
		for i := range used {
			_, _, err := read(text[:i])
			require.Error(t, err, "%q", text[:i])
		}
	})
}

// FuzzAnswer checks that whatever a client asks by the protocols of a Server, the answer
// is a whole one that a client reads as what the table said.
func FuzzAnswer(f *testing.F) {
	f.Add("get a%20b", "x y\n%", true)
	f.Add("put a b", "x", false)
	f.Add("t a b", "x, y", true)
	f.Add("t ", strings.Repeat("\xff", 1400), true)
	f.Add("get", "x", true)
	f.Add(" get %4", "", true)
	f.Fuzz(func(t *testing.T, question, value string, found bool) {
		said := LookupTableFunc(func(context.Context, string) (string, bool, error) { return value, found, nil })
		tables := map[string]LookupTable{"": said, "t": said, "down": Fail{}}

		reply, _ := answerSocketmap(t.Context(), tables, question)
		in := bufio.NewReader(bytes.NewReader(netstring(reply)))
		back, err := readNetstring(in)
		require.NoError(t, err)
		require.Equal(t, reply, back)
		require.Zero(t, in.Buffered())
		name, _, asked := strings.Cut(question, " ")
		asked = asked && (name == "" || name == "t")
		require.Equal(t, asked && found, strings.HasPrefix(reply, "OK "), "%q", reply)
		require.Equal(t, asked && !found, reply == "NOTFOUND ", "%q", reply)
		if text, ok := strings.CutPrefix(reply, "OK "); ok {
			require.Equal(t, value, text)
		}

		reply, _ = answerTCP(t.Context(), tables, question)
		in = bufio.NewReader(strings.NewReader(reply))
		line, err := readTCPLine(in)
		require.NoError(t, err)
		require.Equal(t, reply, line+"\n")
		code, text, ok := strings.Cut(line, " ")
		require.True(t, ok)
		require.Contains(t, []string{"200", "400", "500"}, code)
		if code == "200" {
			back, _ := unquoteTCP(text)
			require.Equal(t, value, back)
		}
		get := "get " + quoteTCP(question)
		if reply, known := answerTCP(t.Context(), tables, get); known == nil {
			require.Equal(t, found, strings.HasPrefix(reply, "200 "), "%q %q", get, reply)
			require.Equal(t, !found, strings.HasPrefix(reply, "500 "), "%q %q", get, reply)
		}
		for name, text := range map[string]string{"netstring": string(netstring(value)), "line": quoteTCP(value) + "\n"} {
			cut := bufio.NewReader(strings.NewReader(text[:len(text)-1]))
			_, err := map[string]func(*bufio.Reader) (string, error){"netstring": readNetstring, "line": readTCPLine}[name](cut)
			require.Error(t, err, "a %s that is cut off", name)
		}
	})
}

// FuzzParams checks that the parameters of a *.cf file are what it says, and that what
// is no good is noted and reads as if it were not there.
func FuzzParams(f *testing.F) {
	for _, text := range texts {
		f.Add(text, "hosts", "a, b\tc")
	}
	for _, value := range []string{"", " 5 ", "-1", "0", "yes", "NO", "maybe", "99999999999999999999", "1073741825", "%s %", "a\r", "= #", "#"} {
		f.Add("name = value\n and more\nname = 7\n", "name", value)
	}
	f.Fuzz(func(t *testing.T, text, name, value string) {
		values, err := parseParams("f", text)
		for name, value := range values {
			require.NotEmpty(t, name)
			require.False(t, strings.ContainsAny(name, space), "%q", name)
			require.Equal(t, strings.Trim(value, space), value)
			require.NotContains(t, value, "\n")
		}
		if err != nil || name == "" || strings.ContainsAny(name, space+"=\x00#\ufeff") || strings.ContainsAny(value, "\n\x00") {
			return
		}
		values, err = parseParams("f", text+"\n"+name+"="+value+"\n")
		require.NoError(t, err)
		require.Equal(t, strings.Trim(value, space), values[name], "the last one counts")

		value = values[name]
		p := &Params{values: values}
		number := p.Number(name, 7, 2)
		n, err := strconv.Atoi(value)
		good := err == nil && n >= 2 && n <= 1<<30
		require.Equal(t, good || value == "", p.Err() == nil)
		if !good {
			n = 7
		}
		require.Equal(t, n, number)

		p = &Params{values: values}
		yes := p.Yes(name)
		require.Equal(t, slices.Contains([]string{"", "yes", "no", "0", "1"}, strings.ToLower(value)), p.Err() == nil)
		require.Equal(t, value == "1" || strings.EqualFold(value, "yes"), yes)

		p = &Params{values: values}
		_, err = ParseTemplate(value)
		p.Template(name, "%s")
		require.Equal(t, err == nil, p.Err() == nil)

		for _, word := range p.Words(name) {
			require.NotEmpty(t, word)
			require.False(t, strings.ContainsAny(word, space+","), "%q", word)
			require.Contains(t, value, word)
		}
	})
}

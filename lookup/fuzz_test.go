package lookup

import (
	"bufio"
	"regexp"
	"strings"
	"testing"
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
		table, _ := ParseRegexp("f", text)
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
		p, err := parsePOSIX(pattern.String(), dialect{caseSensitive: true})
		require.NoError(t, err)
		ok, err := new(programs).match(p, key, widen(key))
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

package lookup_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
)

// postmap is the real one, with a configuration of its own.
type postmap struct {
	program string
	dir     string // of the configuration
	bytes   string // of one that takes keys that are not UTF-8
}

func newPostmap(t *testing.T) *postmap {
	t.Helper()
	program, err := exec.LookPath("postmap")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/postmap")
	}
	if err != nil {
		absent(t, "postmap", "postfix")
	}
	p := &postmap{program, t.TempDir(), t.TempDir()}
	p.configure(t, p.dir, "yes")
	p.configure(t, p.bytes, "no")
	return p
}

// supports skips a test of a type that is a package of its own in Debian.
func (p *postmap) supports(t *testing.T, kind string) {
	t.Helper()
	out, err := exec.Command(filepath.Join(filepath.Dir(p.program), "postconf"), "-c", p.dir, "-m").Output()
	require.NoError(t, err)
	if !slices.Contains(strings.Fields(string(out)), kind) {
		absent(t, "postmap for "+kind, "postfix-"+kind)
	}
}

func (p *postmap) configure(t *testing.T, dir, utf8 string) {
	t.Helper()
	// Any owner and group will do: nothing is written.
	conf := "compatibility_level = 3.6\nmail_owner = postfix\nsetgid_group = postdrop\n" +
		"queue_directory = " + dir + "\ndata_directory = " + dir + "\nsmtputf8_enable = " + utf8 + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.cf"), []byte(conf), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "master.cf"), nil, 0o644))
}

// absent skips a test that needs a program.
func absent(t *testing.T, program, debian string) {
	t.Helper()
	text := fmt.Sprintf("%s is absent: apt-get install --no-install-recommends %s", program, debian)
	if os.Getenv("MTAKIT_REQUIRE") == "all" {
		t.Fatal(text)
	}
	t.Skip(text)
}

// query asks for keys, which hold no line ends, and returns what is found.
func (p *postmap) query(t *testing.T, kind, text string, keys []string) map[string]string {
	t.Helper()
	path := filepath.Join(p.dir, "table")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	// postmap waits for a file that has only just been written.
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(path, old, old))
	dir := p.dir
	if !utf8.ValidString(strings.Join(keys, "")) {
		dir = p.bytes
	}
	cmd := exec.CommandContext(t.Context(), p.program, "-c", dir, "-q", "-", kind+":"+path)
	cmd.Stdin = strings.NewReader(strings.Join(keys, "\n") + "\n")
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && (!assert.ErrorAs(t, err, &exit) || strings.Contains(stderr.String(), "fatal:")) {
		t.Fatalf("postmap: %v: %s", err, stderr.String())
	}
	answers := map[string]string{}
	for line := range strings.Lines(out.String()) {
		for _, key := range keys {
			if value, ok := strings.CutPrefix(line, key+"\t"); ok {
				answers[key] = strings.TrimSuffix(value, "\n")
			}
		}
	}
	return answers
}

// agree compares a table with postmap's answers. Postfix takes an empty value
// for none.
func (p *postmap) agree(t *testing.T, kind, text string, table lookup.LookupTable, keys []string) {
	t.Helper()
	want := p.query(t, kind, text, keys)
	for _, key := range keys {
		got, _, err := table.Lookup(t.Context(), key)
		require.NoError(t, err)
		if !assert.Equal(t, want[key], got, "%s, key %q in\n%s", kind, key, text) {
			return
		}
	}
}

var postmapTables = []struct{ name, kind, text, keys string }{
	{"trap of flag i", "regexp", "/^date:.*$/i REJECT\n", "Date: x|date: x|DATE: x|xdate: x"},
	{"substitution", "regexp", "/^subject: *(.*)$/ got $1 and ${1}x $(1) $$\n/(a)(b)?(c)?/ <$1-$2-$3>\n",
		"Subject: hello|ac|ab|abc|a|b"},
	{"substitution that is wrong", "regexp", "/(a)/ $2\n/(b)/ $1x\n!/(c)/ $1\n/(d)/ $\n/(d)/ ${1\n/e/ fine\n", "a|b|c|d|e|ab"},
	{"negation", "regexp", "!/a/ no a\n!!/b/ twice\n! /c/ spaces\n", "a|b|abc|ac|x"},
	{"if", "regexp", "if /^a/\n/b/ ab\nif !/c/\n/d/ ad without c\nendif\n/c/ ac\nendif\n/./ rest\n", "ab|ad|acd|ac|xb|a|acb"},
	{"if in other ways", "regexp", "IF !/a/\n/b/ b without a\nEndIf text\nif/c/\n/d/ cd\nendif\nendif\n", "b|ab|cd|d"},
	{"if without endif", "regexp", "/x/ x\nif /a/\n/b/ b\n", "x|ab|b"},
	{"if with a letter around the pattern", "regexp", "if aba\n/c/ bc\nendif\nif !5b5\n/d/ d without b\nendif\n", "c|bc|d|bd"},
	{"bad if", "regexp", "if /a(/\n/b/ b\nendif\n/c/ c\n", "b|ab|c"},
	{"double pattern", "regexp", "/a/!/b/ a not b\n/c/i!/d/i c not d\n/e/!!/f/ e and f\n", "a|ab|c|C|cd|cD|e|ef"},
	{"both patterns negated", "regexp", "!/a/!/b/ neither\n", "a|b|ab|c"},
	{"first pattern negated", "regexp", "!/a/!!/b/ b without a\n! /a/!/c/ neither\n", "a|b|ab|c|ac|d"},
	{"no result", "regexp", "/a/\n/b/ b\n", "a|b"},
	{"delimiters", "regexp", "|a/b| bar\n%c% percent\n/d\\/e/ slash\n/f\n/g/q flag\n/h/ h\n:i: colon\n", "a/b|c|d/e|f|g|h|i"},
	{"longest", "regexp", "/^(a|ab|abc)/ <$1>\n/x(y+?)/ <$1>\n", "abcd|ab|xyyy"},
	{"brackets", "regexp", "/^[]a]$/ 1\n/^[^]b]$/ 2\n/^[\\]$/ 3\n/^[[:digit:]x-z]+$/ 4\n/^[-.]+$/ 5\n/[[:nope:]]/ 6\n/[z-a]/ 7\n/[[.hyphen.]]/ 8\n",
		"]|a|b|\\|12xz|-.|-"},
	{"intervals", "regexp", "/^a{2}$/ 2\n/^b{1,2}$/ 1-2\n/^c{,2}$/ 0-2\n/^d{2,}$/ 2+\n/^e{x}$/ bad\n/^f{2$/ bad\n/^g{3,1}$/ bad\n/^h**$/ stars\n/^i{2}{3}$/ six\n",
		"aa|a|b|bb|bbb|c|cc|ccc|dd|ddd|e{x}|f{2|ggg|hh|iiiiii|ii"},
	{"specials", "regexp", "/*a/ bad\n/a|*b/ bad\n/(*c)/ bad\n/d)/ paren\n/(e/ bad\n/()f/ empty\n/g||h/ empty\n/^i(|j)$/ alt\n",
		"a|b|c|d)|(e|f|i|ij|k"},
	{"escapes", "regexp", "/^\\d+$/ letters d\n/^\\w+@$/ words\n/\\<foo\\>/ word\n/^\\s$/ space\n/^a\\.b$/ dot\n/^\\W$/ nonword\n/\\bbar\\B/ b\n",
		"dd|12|ab_1@|a foo b|afoob|x y|a.b|axb|-|bars|bar"},
	{"more escapes", "regexp", "/^\\S$/ nonspace\n/^ \\s\\S$/ both\n/^(a)\\1$/ back\n/b\\/ trailing\n/^\\Cc$/ capital\n/^\\dd$/i small\n/^\\`e\\'$/ ends\n/^f\\Bg\\b/ inside\n",
		"x|\t| \tx|b|cc|CC|dd|e|fg|fgh|fg h"},
	{"collating elements", "regexp", "/^[[=a=]]b$/ equal\n/^[[.-.]c]d$/ minus\n/^[[.xx.]]$/ two\n/^[[=e]$/ open\n/^[[:digit:]-z]$/ odd\n/^[a-\n/^[^]$/ open\n/^[a-c-e]$/ two ranges\n/^[--\\/]$/ from minus\n",
		"ab|bb|-d|cd|xx|e|b|-|/|."},
	{"ranges without case", "regexp", "/^[A-z]$/ letters\n/^[Z-a]$/ wrong\n/^[w-[]$/ odd\n/^[[-~]$/ above\n/^[A-z]$/i with case\n", "a|Z|_|[|w|`|~|{|-"},
	{"more basic", "regexp", "/^a\\{2\\}b\\?$/x interval\n/\\{c/x bad\n/d\\)/x bad\n/^\\+e$/x plus\n/^\\(^f$\\)$/x anchors\n/^g{2}$/x braces\n/h|i/x bar\n",
		"aa|aab|{c|d)|+e|f|g{2}|gg|h|h|i"},
	{"basic anchors", "regexp", "/^^a/x 1\n/^\\b^b/x 2\n/c\\b\\{/x bad\n/^d\\b*$/x 4\n/e\\|\\b^f/x 5\n/^\\(^^g\\)/x 6\n",
		"a|^a|b|^b|b^b|c|c{|d*|dd|e|f|g|^g"},
	{"basic", "regexp", "/^a+$/x plus\n/^b\\+$/x more\n/^\\(c\\)\\{2\\}$/x <$1>\n/^*d$/x star\n/e^f$g/x inside\n/^(h)$/x parens\n/^i\\|j$/x bar\n",
		"a+|aa|bb|cc|*d|e^f$g|(h)|h|i|j"},
	{"back references", "regexp", "/^(a.)\\1$/ twice $1\n/^(b)(c)\\2\\1$/ $2$1\n/^(d)?\\1e/ optional\n/^(f\\1)/ bad\n/\\1(g)/ bad\n/^\\(h\\)\\1$/x basic\n/^(i|I)\\1$/i case\n/^(j)\\12$/ then 2\n/^(k+)x\\1$/ <$1>\n/^(l|ll)\\1l$/ $1\n/^([m-n])[^\\1]$/ bracket\n/^(\xff)\\1$/ bytes\n/^((o)p)\\2\\1$/ nested\n/^(q)\\1{2}$/ thrice\n/^(r|s)*\\1$/ last\n",
		"abab|abAB|abac|bccb|bcbc|de|dde|e|ff|gg|hh|h|ii|iI|II|jj2|j2|kxk|kkxkk|kkxk|lll|lllll|m1|mm|m\\|\xff\xff|\xff|opoop|opop|qqq|qq|rr|rsr|rss"},
	{"equivalence", "regexp", "/^[[=a=]x]$/ 1\n/^[[=b=]-c]$/ bad\n/^[b-[=d=]]$/ bad\n/^[[.b.]-[.d.]]$/ 4\n/^[[:digit:]-z]$/ bad\n/^[.-[:digit:]]$/ bad\n/^[[=e=]-]$/ 6\n", "a|x|b|c|d|e|-|z|5"},
	{"bytes", "regexp", "/^gr\xc3\xbc.e$/ eszett is two bytes\n/^gr\xc3\xbc..e$/ found\n/^[\xe4-\xef]$/ range\n/^\xc3\x84$/ upper\n/^(.)\xff/ <$1>\n",
		"gr\xc3\xbc\xc3\x9fe|\xe5|\xc3\xa4|\xc3\x84|\xfe\xff"},
	{"continuation", "regexp", "/a/ one\n  two\n# c\n   three\n/b/\n b\n", "a|b"},
	{"words", "regexp", "ifx /a/\nfoo\n/a/ a\nendifx\n", "a"},

	{"pcre", "pcre", "/^subject: *(.*)$/ got $1\n/^date:/i small\n/a.b/s not over lines\n!/x/ no x\nif /^q/\n/r$/ qr\nendif\n/x(?=y)/ before y\n/(?<!z)x/ not behind z\n/(x)\\1/ twice\n",
		"Subject: hello|Date: x|date: x|q|qr|xy|zx|zxy|zxx|aXb|x"},
	{"pcre escapes", "pcre", "/^\\d+$/ digits\n/^\\w\\W$/ w\n/^\\h$/ h\n/^\\x41\\x{42}\\103$/ hex\n/^\\Qa.b\\E+$/ quoted\n/^\\cA$/ control\n/\\e/ esc\n/\\p{L}/ prop\n/\\y/ bad\n/^[\\d\\-x]+$/ class\n/^[[:alpha:][:^digit:]]$/ posix\n/^[^\\W_]{2}$/ neg\n/^a\\z/ end\n/\\Ab\\Z/ ends\n/^\\N{2}$/ N\n",
		"12|a-|\t|ABC|abc|a.b|a.bb|\x01|a.|--x|-|ab|a_|b|a|\x1b|~~"},
	{"pcre flags", "pcre", "/^ a b # c/x x\n/b/A anchored\n/^c.*?(d+)/ lazy $1\n/^e.*(f+)/U ungreedy $1\n/^g$/E g\n/h/q bad\n/^i/X x\n/(?-i)J/ J\n/(?i:k)L/i kL\n/(m(?-i)N|O)/ $1\n",
		"ab|b|ab|cddd|eff|g|h|i|j|J|KL|Kl|mN|mn|O|o"},
	{"pcre groups", "pcre", "/^(?<year>\\d\\d)-(?P<m>\\d)$/ ${2}/$1\n/^(a)(?:b)(c)?$/ <$1$2>\n/^(?>d+)d/ never\n/^e++e/ never\n/^(?P<n>f+)-(?P=n)\\k<n>\\g{n}\\g{-1}$/ names\n/^(?|g|h)$/ reset\n/^(i)?(?(1)j|k)$/ condition\n/l{,2}/ literal\n/m{2,1}/ bad\n/^n{2}{3}$/ six\n/*o/ bad\n/p)/ bad\n/(p/ bad\n/()q/ empty\n/^(?#c)r$/ comment\n/(?R)/ recursion\n/^s**$/ stars\n",
		"26-1|abc|ab|ddd|eee|f-ffff|f-fff|g|ij|k|i|l|l{,2}|mm|nnnnnn|o|p|q|r|s|ss"},
	{"pcre is not regexp", "pcre", "/a/!/b/ double\n/c/! flag\n/d/i!x flag\n/e/ !text\n", "a|ab|c|d|e"},
	{"pcre bytes", "pcre", "/^gr\xc3\xbc.$/ one\n/^gr\xc3\xbc..$/ two\n/^[\xe4-\xef]$/ range\n/^\\xff[^a]$/ hex\n/^\\w$/ word\n/\\b\xc3/ edge\n",
		"gr\xc3\xbc\xc3\x9f|gr\xc3\xbcx|\xe5|\xff\xfe|\xe4|a\xc3|\xc3"},
	{"pcre conditions", "pcre", "/^a(?(?=b)b|c)(.)\\1/ 1 $1\n/^d(x)?(?(1)y)$/ 2\n/^e(?(?<=z)f)$/ 3\n/^g(?(?!h)(i)|(h))(.)$/ 4 <$1$2$3>\n/^j(?(?<!j)k|l)$/ 5\n/^m(?(+1)n)(o)$/ 6\n/^(?(?=p(?i))p|P)q$/i 7\n/^r(?(?=r)a|b|c)/ bad\n",
		"abxx|acxx|abxy|accc|d|dxy|dx|e|ef|gix|ghx|jl|jk|mo|pq|Pq|rra"},
	{"pcre words", "pcre", "/^.?[[:<:]]a/ 1\n/b[[:>:]].?$/ 2\n/c[[:<:]]d/ 3\n/([[:<:]]e)[[:>:]]/ 4 $1\n", "a|-a|xa|b|b-|bx|cd|e|-e-|ee"},
	{"pcre classes by mistake", "pcre", "/[:alpha:]x/ bad\n/[[:ALPHA:]]y/ bad\n/[=a=]z/ bad\n/[.a.]w/ bad\n/[:v]/ 5\n/[[:u]](t)/ 6 <$1>\n/[a[:s]]/ 7\n",
		"ax|:x|ay|:y|az|=z|aw|:|v|[]t|:]t|u]t|s]|a]"},
	{"pcre that is wrong", "pcre", "/(?i-i-m)a/ 1\n/(?^-i)b/ 2\n/c{1,65536}/ 3\n/d{65536}/ 4\n/(?=\\K)e/ 5\n/(?i^)f/ 6\n/^g{0,65535}$/ 7\n", "a|b|c|d|e|f|gg"},
	{"pcre properties", "pcre", "/^\\p{Lu}a$/ 1\n/^\\P{Lu}b$/ 2\n/^[\\p{Lu}z]c$/ 3\n/^[^\\p{Ll}]d$/ 4\n/^\\pLe$/ 5\n/^[\\P{Ll}]f(?=)$/ 6\n/^\\p{Lu}g$/i 7\n",
		"Aa|aa|Ab|ab|Ac|ac|zc|Zc|Ad|ad|1d|Ae|ae|Af|af|Ag|ag"},
	{"pcre classes", "pcre", "/^[]a]$/ 1\n/^[^]b]$/ 2\n/^[a\\]]c$/ 3\n/^[z-a]/ bad\n/^[\\w-d]e$/ odd\n/^[a-\\d]/ bad\n/^[[.x.]]/ bad\n/^[-f]g$/ 4\n/^[f-]h$/ 5\n/^[[:foo:]]/ bad\n/^[\\b]$/ 6\n/^[A-Z]i$/i 7\n/^[^A]j$/ 8\n/^[[:upper:]]k$/ 9\n/^[[:upper:]]l$/i 10\n",
		"]|a|b|]c|-e|-g|fh|-h|Ai|ai|Aj|aj|bj|Ak|ak|al|Al|\x08"},

	{"networks", "cidr", "192.168.1.1 host\n192.168.0.0/16 net\n10.0.0.1/8 bits\n10.0.0.0/33 len\n[::1]/128 v6\n[2001:db8::]/32 net6\n[2001:db8:1::1] x\n!172.16.0.0/12 not\n",
		"192.168.1.1|192.168.2.1|10.0.0.1|::1|2001:db8::5|172.16.0.1|8.8.8.8|host.example|[::1]|fe80::1|1.2.3"},
	{"blocks", "cidr", "if 10.0.0.0/8\n10.1.0.0/16 one\n!10.2.0.0/16 not two\nendif\n!!1.2.3.4 twice\nif !5.0.0.0/8\n6.6.6.6 six\nendif x\n127.0.0.0/8\n010.0.0.1 octal\n1.2.3 short\n",
		"10.1.1.1|10.2.2.2|10.3.3.3|1.2.3.4|6.6.6.6|127.0.0.1|8.0.0.1"},
	{"every one", "cidr", "::/0 six\n0.0.0.0/0 four\n", "1.2.3.4|::|ffff::1|x"},
	{"odd networks", "cidr", "[1.2.3.0]/24 brackets\n[1.2.4.0/24] outside\n1.2.5.0/024 zero\n1.2.6.0/ none\n1.2.7.0/-1 minus\n1.2.8.0/24x x\nendif\nfoo bar\nif 9.0.0.0/8\n9.9.9.9 nine\n",
		"1.2.3.4|1.2.4.4|1.2.5.4|1.2.6.0|1.2.7.0|1.2.8.1|9.9.9.9|9.1.1.1"},

	{"text", "texthash", "  leading zero\n# c\nkey   value with spaces \t \n\"quoted key\" v1\nUPPER Val\ndup one\ndup two\nnovalue\ncont a\n# mid\n  b\n\n   c\nunbal\"anced x\nbs\\ key v\ncolon: v\ncrlf val\r\nlast # hash\nend nofinal",
		"leading|key|\"quoted key\"|quoted key|upper|UPPER|dup|novalue|cont|unbal\"anced|bs\\ key|colon|colon:|crlf|last|end"},
	{"tabs", "texthash", "tab\tv\tw\n\xef\xbb\xbfbom v\n", "bom|tab"},
	{"other letters", "texthash", "gr\xc3\xbc\xc3\x9fe v\n\xc3\x84B w\n\xce\xa3\xce\x9f\xce\xa3 s\n", "GR\xc3\x9c\xc3\x9fE|\xc3\xa4b|\xc3\x84b|\xcf\x83\xce\xbf\xcf\x82"},
	{"empty", "texthash", "", "x"},
	{"comments", "texthash", "#a b\n   # c d\n\n\n \t\n", "a|c|#a|#"},
}

func openText(t *testing.T, kind, text string) lookup.LookupTable {
	t.Helper()
	switch kind {
	case "regexp":
		table, problems := lookup.ParseRegexp("table", text, lookup.Options{})
		t.Log(problems)
		return table
	case "pcre":
		table, problems := lookup.ParsePCRE("table", text, lookup.Options{})
		t.Log(problems)
		return table
	case "cidr":
		table, problems := lookup.ParseCIDR("table", text, lookup.Options{})
		t.Log(problems)
		return table
	}
	table, problems := lookup.ParseHash("table", text, lookup.Options{})
	t.Log(problems)
	return table
}

func TestPostmap(t *testing.T) {
	t.Parallel()
	p := newPostmap(t)
	for _, c := range postmapTables {
		t.Run(c.kind+" "+c.name, func(t *testing.T) {
			p.supports(t, c.kind)
			p.agree(t, c.kind, c.text, openText(t, c.kind, c.text), strings.Split(c.keys, "|"))
		})
	}
}

// TestPostmapRandom makes patterns of a small alphabet, in which everything
// meets everything.
func TestPostmapRandom(t *testing.T) {
	t.Parallel()
	p := newPostmap(t)
	r := rand.New(rand.NewPCG(1, 2))
	tokens := []string{
		"[", "[", "]", "-", "-", "[:alpha:]", "[.", ".]", "[=a=]", "\\)", "\\{", "\\}", "\\|", "\\+", "\\b", "\\a", "\\A", ",", "z",
		"a", "b", "c", "A", ".", "*", "+", "?", "|", "(", ")", "(", ")", "^", "$", "[ab]", "[^a]", "[", "]", "{1,2}", "{", "}", "{2}", "\\.", "\\(", "-", "[[:alpha:]]", "[b-c]", "\\w", "(a)", "(b|c)",
	}
	keyTokens := []string{"a", "b", "c", "A", "B", ".", "-", "(", "]", "{", "*"}
	pick := func(from []string, most int) string {
		var b strings.Builder
		for range 1 + r.IntN(most) {
			b.WriteString(from[r.IntN(len(from))])
		}
		return b.String()
	}
	for range 80 {
		var text strings.Builder
		for n := range 25 {
			fmt.Fprintf(&text, "/%s/%s rule %d\n", pick(tokens, 8), []string{"", "", "i", "x", "m"}[r.IntN(5)], n)
		}
		keys := make([]string, 0, 30)
		for range 30 {
			keys = append(keys, pick(keyTokens, 6))
		}
		p.agree(t, "regexp", text.String(), openText(t, "regexp", text.String()), keys)
		if t.Failed() {
			return
		}
	}
}

// TestPostmapRandomPerl does so in the syntax of Perl.
func TestPostmapRandomPerl(t *testing.T) {
	t.Parallel()
	p := newPostmap(t)
	p.supports(t, "pcre")
	r := rand.New(rand.NewPCG(5, 6))
	tokens := []string{
		"a", "b", "c", "A", "1", "2", ".", "*", "+", "?", "|", "(", ")", "(", ")", "^", "$", "[ab]", "[^a]", "[", "]", "{1,2}", "{", "}", "{2}", "{,2}", "-", ",",
		"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i)", "(?-i)", "(?i:", "(?s-m:", "(?m)", "(?x)", "(?#", "(?P<n>", "(?P=n)", "\\1", "\\2", "\\g{1}", "\\k<n>",
		"\\d", "\\D", "\\w", "\\W", "\\s", "\\b", "\\B", "\\A", "\\z", "\\Z", "\\x61", "\\061", "\\Q", "\\E", "[[:alpha:]]", "[b-c]", "[^\\d]", "\\h", "\\N", " ", "#", "\\", "\\.", "\xc3",
	}
	keyTokens := []string{"a", "b", "c", "A", "B", ".", "-", "(", "]", "{", "*", "1", "2", " ", "#", "\xc3", "ab", "aa"}
	pick := func(from []string, most int) string {
		var b strings.Builder
		for range 1 + r.IntN(most) {
			b.WriteString(from[r.IntN(len(from))])
		}
		return b.String()
	}
	for range 120 {
		var text strings.Builder
		for n := range 25 {
			not := []string{"", "", "", "!"}[r.IntN(4)]
			fmt.Fprintf(&text, "%s/%s/%s rule %d\n", not, pick(tokens, 8), []string{"", "", "", "i", "x", "m", "s", "A", "E", "U"}[r.IntN(10)], n)
		}
		keys := make([]string, 0, 30)
		for range 30 {
			keys = append(keys, pick(keyTokens, 6))
		}
		p.agree(t, "pcre", text.String(), openText(t, "pcre", text.String()), keys)
		if t.Failed() {
			return
		}
	}
}

// TestPostmapRandomText makes files of what lines are made of.
func TestPostmapRandomText(t *testing.T) {
	t.Parallel()
	p := newPostmap(t)
	r := rand.New(rand.NewPCG(3, 4))
	pick := func(from []string, most int) string {
		var b strings.Builder
		for range 1 + r.IntN(most) {
			b.WriteString(from[r.IntN(len(from))])
		}
		return b.String()
	}
	lines := []string{"a", "b", "B", " ", " ", "\t", "\n", "\n", "#", "\"", "\\", ":", "x y\n", ",", "\v"}
	networks := []string{"1.2.3.4", "1.2.3.0/24", "!", "1.2.0.0/16", "::1", "[2001:db8::]/32", "if ", "endif\n", "\n", "\n", " x\n", " y\n", "/8", "[", "]", "::/0", "0.0.0.0/0", " "}
	textKeys := []string{"a", "b", "ab", "ba", "aa", "bb", "x", "a:", "\"a\"", "a,", "a\\", "#", "a#", "bab", "\"a b\""}
	addresses := []string{"1.2.3.4", "1.2.3.5", "1.2.9.9", "8.8.8.8", "::1", "2001:db8::5", "fe80::1", "x"}
	for range 30 {
		text := pick(lines, 200)
		p.agree(t, "texthash", text, openText(t, "texthash", text), textKeys)
		text = pick(networks, 80)
		p.agree(t, "cidr", text, openText(t, "cidr", text), addresses)
		if t.Failed() {
			return
		}
	}
}

// TestPostmapNewlines asks for keys with newlines, as folded header fields have them,
// one by one: postmap reads no such keys from a file.
func TestPostmapNewlines(t *testing.T) {
	t.Parallel()
	p := newPostmap(t)
	p.supports(t, "pcre")
	for _, c := range []struct{ kind, text string }{
		{"regexp", "/^b/ 1\n/a$/ 2\n/a.b/ 3\n/c[^x]d/ 4\n/./ rest\n"},
		{"regexp", "/^b/m 1\n/a$/m 2\n/a.b/m 3\n/c[^x]d/m 4\n/c[[:space:]]d/m 5\n/e\\sf/m 6\n/e\\Wg/m 7\n/./m rest\n"},
		{"regexp", "/^b/xm 1\n/a$/xm 2\n/\\`c/xm 3\n/d\\'/xm 4\n/./ rest\n"},
		{"pcre", "/^b/ 1\n/a$/ 2\n/a.b/ 3\n/c[^x]d/ 4\n/e\\Nf/ 5\n/./ rest\n"},
		{"pcre", "/^b/m 1\n/a$/m 2\n/a.b/s 3\n/c[^x]d/ 4\n/e\\Rf/ 5\n/d\\Z/ 6\n/^$/m 7\n/./s rest\n"},
		{"pcre", "/d$/E 1\n/^c/A 2\n/(?m)^c(?=.)/ 3\n/(?-s)a.*b(?=)/ 4\n/(?<=\\n)$/ 5\n/(?<=\\n)^/m 6\n"},
	} {
		path := filepath.Join(p.dir, "nl")
		require.NoError(t, os.WriteFile(path, []byte(c.text), 0o644))
		old := time.Now().Add(-time.Hour)
		require.NoError(t, os.Chtimes(path, old, old))
		table := openText(t, c.kind, c.text)
		for _, key := range []string{"a\nb", "b\na", "a\n", "a\nx", "c\nd", "c\nd\n", "e\nf", "e\ng", "\n", "x\n", "x\n\n", "\nb", "x\nd", "e\r\nf", "d\n", "\nc", "\n\nc\n"} {
			want, err := exec.Command(p.program, "-c", p.dir, "-q", key, c.kind+":"+path).Output()
			if exit := (*exec.ExitError)(nil); err != nil {
				require.ErrorAs(t, err, &exit)
				require.Equal(t, 1, exit.ExitCode(), "not found")
			}
			got, _, err := table.Lookup(t.Context(), key)
			require.NoError(t, err)
			assert.Equal(t, strings.TrimSuffix(string(want), "\n"), got, "%s, key %q in\n%s", c.kind, key, c.text)
		}
	}
}

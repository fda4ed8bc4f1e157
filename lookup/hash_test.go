package lookup_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
)

func TestEntriesKeepTheirOrderAndLines(t *testing.T) {
	t.Parallel()
	var got []string
	text := "# c\nB 1\nA two\n words\n\nbad\"\nbare\n"
	for e, err := range lookup.Entries("domains", text) {
		if err != nil {
			got = append(got, err.Error())
			continue
		}
		got = append(got, fmt.Sprintf("%d %s=%s", e.Line, e.Key, e.Value))
	}
	assert.Equal(t, []string{"2 B=1", "3 A=two words", "domains:6: unbalanced double quote, line skipped", "7 bare="}, got)
	for range lookup.Entries("domains", text) {
		break // stops
	}
}

func TestHashOfBareKeys(t *testing.T) {
	t.Parallel()
	h, problems := lookup.ParseHash("domains", "example.org\nexample.net local\n", lookup.Options{Bare: "OK"})
	assert.Empty(t, problems)
	assert.Equal(t, "OK", get(t, h, "example.org"))
	assert.Equal(t, "local", get(t, h, "example.net"))
	h, problems = lookup.ParseHash("domains", "example.org\n", lookup.Options{})
	assert.Len(t, problems, 1)
	assert.Equal(t, "(none)", get(t, h, "example.org"))
}

func TestHashOfManyLines(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&b, "Key%d value %d\n", i, i)
	}
	h, problems := lookup.ParseHash("many", b.String(), lookup.Options{})
	assert.Empty(t, problems)
	assert.Equal(t, 100_000, h.Len())
	assert.Equal(t, "value 99999", get(t, h, "key99999"))
}

func TestLinesThatAreTooLong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 10<<20)
	continued := "c 1\n" + strings.Repeat(" "+strings.Repeat("y", 1<<16)+"\n", 100)
	text := "a 1\nlong " + long + "\nb 2\n" + continued + "d 3\nmax " + strings.Repeat("z", lookup.MaxLine-4) + "\n"
	h, problems := lookup.ParseHash("f", text, lookup.Options{})
	require.Len(t, problems, 2)
	assert.Equal(t, "f:2: longer than 4194304 bytes, line skipped", problems[0].Error())
	assert.Equal(t, "f:4: longer than 4194304 bytes, line skipped", problems[1].Error())
	assert.Equal(t, "1", get(t, h, "a"))
	assert.Equal(t, "2", get(t, h, "b"))
	assert.Equal(t, "3", get(t, h, "d"))
	assert.Len(t, get(t, h, "max"), lookup.MaxLine-4)
	assert.Equal(t, "(none)", get(t, h, "long"))
}

func TestProblemsAreBounded(t *testing.T) {
	t.Parallel()
	_, problems := lookup.ParseHash("f", strings.Repeat("bad\n", 1000), lookup.Options{})
	require.Len(t, problems, 101)
	assert.Equal(t, "and 900 more lines like these", problems[100].Error())
}

func TestProblems(t *testing.T) {
	t.Parallel()
	regexp := func(text string) []error { _, p := lookup.ParseRegexp("f", text, lookup.Options{}); return p }
	cidr := func(text string) []error { _, p := lookup.ParseCIDR("f", text, lookup.Options{}); return p }
	networks := func(text string) []error { _, p := lookup.ParseNetworks("f", text, lookup.Options{}); return p }
	hash := func(text string) []error { _, p := lookup.ParseHash("f", text, lookup.Options{}); return p }
	for _, c := range []struct {
		parse  func(string) []error
		text   string
		reason string
	}{
		{regexp, "/a/", "f:1: no result text, the rule gives an empty one"},
		{regexp, "/a", "f:1: no closing delimiter \"/\", rule skipped"},
		{regexp, "/a\\", "f:1: no closing delimiter \"/\", rule skipped"},
		{regexp, "!", "f:1: no pattern, rule skipped"},
		{regexp, "/a/q b", `f:1: unknown flag "q", rule skipped`},
		{regexp, "/a/!/b b", "f:1: no closing delimiter \"/\", rule skipped"},
		{regexp, `/(a\1)/ b`, `f:1: pattern "(a\\1)": back reference to no group before it, rule skipped`},
		{regexp, "/a{2000}/ b", "f:1: pattern \"a{2000}\": error parsing regexp: invalid repeat count: `{2000}`, rule skipped"},
		{regexp, "/a/ ${1", "f:1: no \"}\" after ${, rule skipped"},
		{regexp, "/a/ $x", `f:1: replacement index "x" is not a number, rule skipped`},
		{regexp, "!/(a)/ $1", "f:1: $number in the result of a negated pattern, rule skipped"},
		{regexp, "if", "f:1: no pattern, if skipped"},
		{regexp, "if /a/ b\nendif", `f:1: text after if is ignored: "b"`},
		{regexp, "if /a/\nendif b", `f:2: text after endif is ignored: "b"`},
		{regexp, "\nif /a/\n/b/ c", "f:3: 1 if without endif at the end of the file"},
		{regexp, "endif", "f:1: endif without if, line skipped"},
		{regexp, "header /a/ b", "f:1: neither a pattern nor if nor endif, line skipped"},
		{regexp, "/" + strings.Repeat("(", 600) + strings.Repeat(")", 600) + "/ x", "f:1: pattern \"" + strings.Repeat("(", 60) + "\"...: parentheses too deep, rule skipped"},
		{cidr, "1.2.3.4", "f:1: no result text, rule skipped"},
		{cidr, "host.example x", `f:1: bad network "host.example", rule skipped`},
		{cidr, "fe80::1%eth0 x", `f:1: bad network "fe80::1%eth0", rule skipped`},
		{cidr, "if x\nendif", `f:1: bad network "x", if skipped`},
		{cidr, "!", "f:1: no network, rule skipped"},
		{networks, "127.0.0.0/8 10.0.0.1/8", `f:1: bits are set behind the prefix of "10.0.0.1/8", perhaps 10.0.0.0/8 is meant, skipped`},
		{hash, "a 1\nA 2", `f:2: key "a" stands there already, line skipped`},
		{hash, "a: 1", `f:1: key "a:" ends with a colon: is this an alias file?`},
		{hash, " a 1", "f:1: a logical line must not start with white space, line skipped"},
		{hash, "a\x00 1", "f:1: NUL byte, line skipped"},
	} {
		problems := c.parse(c.text)
		require.NotEmpty(t, problems, c.text)
		assert.Equal(t, c.reason, problems[0].Error())
	}
	_, err := lookup.Networks("10.0.0.0/8", "x")
	require.ErrorContains(t, err, `bad network "x"`)
}

// TestHashOfEmptyLines has a file of which nothing comes: that takes no more memory than
// a table of its size. It is alone, since memory is counted for all tests.
func TestHashOfEmptyLines(t *testing.T) {
	const size = 8 << 20
	text := strings.Repeat("\n", size)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	h, problems := lookup.ParseHash("f", text, lookup.Options{})
	runtime.ReadMemStats(&after)
	require.Empty(t, problems)
	require.Zero(t, h.Len())
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(12*size))
}

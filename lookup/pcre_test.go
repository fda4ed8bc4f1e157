package lookup

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestCatastrophe has patterns that a backtracking search does not come to an end
// with: the lookup fails, and is no miss. What is linear answers.
func TestCatastrophe(t *testing.T) {
	t.Parallel()
	key := strings.Repeat("a", 5000) + "!"
	for _, c := range []struct {
		rule string
		slow bool
	}{
		{`/^(a+)+$/`, false},
		{`/^(a|aa|a?)*$/`, false},
		{`/^(?=a)(a+)+$/`, true},
		{`/^(a+)+\1$/`, true},
	} {
		table, problems := ParsePCRE("slow", c.rule+" found\n/!/ behind it\n", Options{MatchTime: 100 * time.Millisecond})
		require.Empty(t, problems)
		value, ok, err := table.Lookup(t.Context(), key)
		if c.slow {
			require.ErrorIs(t, err, ErrMatchTime, c.rule)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Less(t, len(err.Error()), 100, "the key is not in it")
			require.False(t, ok)
			require.Empty(t, value)
			continue
		}
		require.NoError(t, err, c.rule)
		assert.Equal(t, "behind it", value)
	}
}

// TestSlowBackReference has one in a regexp table end like those of pcre tables, and
// only where its own pattern is tried.
func TestSlowBackReference(t *testing.T) {
	t.Parallel()
	table, problems := ParseRegexp("slow", "/^quick/ quick\n/^(a+)+\\1$/ slow\n", Options{MatchTime: 100 * time.Millisecond})
	require.Empty(t, problems)
	_, ok, err := table.Lookup(t.Context(), strings.Repeat("a", 5000)+"!")
	require.ErrorIs(t, err, ErrMatchTime)
	assert.False(t, ok)
	value, ok, err := table.Lookup(t.Context(), "quick "+strings.Repeat("a", 5000)+"!")
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, "quick", value)
	fast, _ := ParseRegexp("fast", "/(a+)+$/ a\n", Options{})
	assert.Zero(t, fast.patterns.limit)
}

// TestLongKeys has keys for which a backtracking search needs much memory, which is not
// kept.
func TestLongKeys(t *testing.T) {
	t.Parallel()
	table, problems := ParsePCRE("long", "/^(?!x)(a|b)*y$/ <$1>\n/^(a|b)*y$/ newline\n", Options{MatchTime: time.Minute})
	require.Empty(t, problems)
	for _, end := range []string{"y", "y\n", "z"} {
		key := strings.Repeat("ab", longestKept/2) + end
		_, ok, err := table.Lookup(t.Context(), key)
		require.NoError(t, err)
		assert.Equal(t, end != "z", ok)
	}
	for _, kept := range table.patterns.programs.kept {
		assert.False(t, kept.backtracks)
	}
	value, ok, err := table.Lookup(t.Context(), "aby")
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, "<b>", value)
	assert.NotEmpty(t, table.patterns.programs.kept)
}

// TestManySlowPatterns has patterns none of which takes too long, and all together do.
func TestManySlowPatterns(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 300 {
		fmt.Fprintf(&text, "/^(?=a)(a+)+%d$/ %d\n", i, i)
	}
	table, problems := ParsePCRE("slow", text.String(), Options{MatchTime: 50 * time.Millisecond})
	require.Empty(t, problems)
	table.patterns.filter = newPrefilter(make([]needs, 300), func(int) bool { return false }) // all are tried
	_, ok, err := table.Lookup(t.Context(), strings.Repeat("a", 16)+"!")
	require.ErrorIs(t, err, ErrMatchTime)
	assert.False(t, ok)
}

// TestLastNewline has keys that end with a newline, before which $ matches too.
func TestLastNewline(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule, key string
		want      bool
	}{
		{`/a$/`, "a\n", true}, {`/a$/`, "a\n\n", false}, {`/a$/E`, "a\n", false}, {`/a\Z/`, "a\n", true}, {`/a\z/`, "a\n", false},
		{`/a$/m`, "a\nb\n", true}, {`/^$/m`, "a\n", false}, {`/^b/m`, "a\nb\n", true}, {`/(a)$/`, "xa\n", true},
	} {
		table, problems := ParsePCRE("f", c.rule+" <found>\n", Options{})
		require.Empty(t, problems)
		_, ok, err := table.Lookup(t.Context(), c.key)
		require.NoError(t, err)
		assert.Equal(t, c.want, ok, "%s %q", c.rule, c.key)
	}
}

// TestWhichEngine keeps the common patterns away from backtracking.
func TestWhichEngine(t *testing.T) {
	t.Parallel()
	for pattern, backtracks := range map[string]bool{
		`^Subject:.*(viagra|cialis)\b`: false, `^\s*$`: false, `(?i)x(?-i)y`: false, `a{1,1000}`: false, `[[:alpha:]\d]+?`: false, `(?:a|b)*`: false,
		`a(?=b)`: true, `(a)\1`: true, `a++`: true, `(?>a)b`: true, `a{1,2000}`: true, `\R`: true, `(?<=a)b`: true, `(a)?(?(1)b|c)`: true,
	} {
		p, err := parsePerl(pattern, perlOptions{caseless: true, dotAll: true}, time.Second)
		require.NoError(t, err, pattern)
		assert.Equal(t, backtracks, p.backtracks, pattern)
	}
}

// TestPerlPrefilter compares tables with and without their filter.
func TestPerlPrefilter(t *testing.T) {
	t.Parallel()
	looking := []string{"(?=ab)", "(?!ab)", "(?<=b)", "(?>ab?)", `\1`, "a++", "(?i:AB)", "(?-i)"}
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 9))
		var text strings.Builder
		for n := range 1 + r.IntN(70) {
			not := []string{"", "", "", "!"}[r.IntN(4)]
			fmt.Fprintf(&text, "%s/(%s)%s%s/ rule %d\n", not, randomPattern(r, 1), looking[r.IntN(len(looking))], randomPattern(r, 1), n)
		}
		_, keys := randomRules(r, 1, 30)
		table, _ := ParsePCRE("random", text.String(), Options{})
		for _, key := range keys {
			want, wantOK := table.patterns.plain(key)
			got, ok, err := table.Lookup(t.Context(), key)
			require.NoError(t, err)
			require.Equal(t, wantOK, ok, "key %q in\n%s", key, text.String())
			require.Equal(t, want, got, "key %q in\n%s", key, text.String())
		}
	}
}

func FuzzPCRE(f *testing.F) {
	for _, s := range []string{"/a(?=b)/ x", `/(?<n>a)\k<n>/i $1`, `/[\Qa]\E-z[:^alpha:]]{2,}+/x y`, `/(?(1)a|b)(c)/ d`, `/\p{Lu}\x{41}\o{101}\cA/ z`, "if !/a/\n/(?|b|c)/m e\nendif"} {
		f.Add(s, "abc \xff\n")
	}
	f.Fuzz(func(t *testing.T, text, key string) {
		table, _ := ParsePCRE("f", text, Options{MatchTime: 20 * time.Millisecond})
		value, ok, err := table.Lookup(t.Context(), key)
		assert.False(t, ok && (key == "" || err != nil))
		assert.False(t, !ok && value != "")
		if err == nil && len(key) < 100 {
			want, wantOK := table.patterns.plain(key)
			assert.Equal(t, wantOK, ok)
			assert.Equal(t, want, value)
		}
	})
}

package lookup

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// plain is lookup without any filter: every rule is tried in its order.
func (t *patterns) plain(key string) (value string, ok bool) {
	if key == "" {
		return "", false
	}
	v := t.visit(key)
	for i := 0; i < len(t.rules); i++ {
		r := &t.rules[i]
		holds := t.matches(r.pattern.first, v) != r.negate
		holds = holds && (r.pattern.second == nil || t.matches(r.pattern.second, v) != r.pattern.not)
		switch {
		case r.block && !holds:
			i = r.end - 1
		case !r.block && holds:
			value, _ := t.value(context.Background(), v, r)
			return value, true
		}
	}
	return "", false
}

// matches is programs.match without a look at prefixes.
func (t *patterns) matches(p *pattern, v *visit) bool {
	bare := &pattern{source: p.source, longest: p.longest, backtracks: p.backtracks, limit: p.limit}
	ok, _ := t.programs.match(bare, v.key, v.wide, nil)
	return ok
}

func pick(r *rand.Rand, from []string, most int) string {
	var b strings.Builder
	for range 1 + r.IntN(most) {
		b.WriteString(from[r.IntN(len(from))])
	}
	return b.String()
}

// randomPattern is made of patterns.
func randomPattern(r *rand.Rand, depth int) string {
	tokens := []string{"ab", "bc", "Ab", "cab", "a", "b", "c", ".", ".*", "(a|bc|)", "^", "^ab", "$", "[ab]", "[^a]", "a+", "b?", "(bc)+", "(ab){2}", "x*", "\xc3\xbc", "[b-c]c", "[a-z][a-z]"}
	var b strings.Builder
	for range 1 + r.IntN(4) {
		if depth == 0 || r.IntN(3) > 0 {
			b.WriteString(tokens[r.IntN(len(tokens))])
			continue
		}
		fmt.Fprintf(&b, "(%s)%s", randomPattern(r, depth-1), []string{"", "", "*", "+", "?", "{2}"}[r.IntN(6)])
		if r.IntN(4) == 0 {
			b.WriteString("|" + randomPattern(r, depth-1))
		}
	}
	return b.String()
}

// randomRules are rules and keys of a small alphabet, in which everything meets
// everything.
func randomRules(r *rand.Rand, rules, keys int) (text string, all []string) {
	keyTokens := []string{"ab", "bc", "a", "b", "c", "AB", "C", "\xc3\xbc", "\xc3", " ", "x"}
	var b strings.Builder
	open := 0
	for n := range rules {
		not := []string{"", "", "", "", "!"}[r.IntN(5)]
		flag := []string{"", "", "i"}[r.IntN(3)]
		switch k := r.IntN(20); {
		case k == 0:
			fmt.Fprintf(&b, "if %s/%s/%s\n", not, randomPattern(r, 1), flag)
			open++
		case k == 1 && open > 0:
			b.WriteString("endif\n")
			open--
		case k == 2:
			fmt.Fprintf(&b, "%s/%s/!/%s/ double %d\n", not, randomPattern(r, 1), randomPattern(r, 1), n)
		default:
			fmt.Fprintf(&b, "%s/%s/%s rule %d\n", not, randomPattern(r, 2), flag, n)
		}
	}
	for range keys {
		all = append(all, pick(r, keyTokens, 8))
	}
	return b.String(), all
}

// TestPrefilter compares tables with and without their filter.
func TestPrefilter(t *testing.T) {
	t.Parallel()
	found := 0
	for seed := range uint64(600) {
		r := rand.New(rand.NewPCG(seed, 7))
		text, keys := randomRules(r, 1+r.IntN(90), 40)
		table, _ := ParseRegexp("random", text, Options{})
		for _, key := range keys {
			want, wantOK := table.patterns.plain(key)
			got, ok, err := table.Lookup(t.Context(), key)
			require.NoError(t, err)
			require.Equal(t, wantOK, ok, "key %q in\n%s", key, text)
			require.Equal(t, want, got, "key %q in\n%s", key, text)
			if ok {
				found++
			}
		}
	}
	assert.Greater(t, found, 1000)
}

func FuzzPrefilter(f *testing.F) {
	f.Add("/^a(b|cd)/ x\n!/e/ y\nif /f/\n/gh*/ z\nendif", "acdf")
	f.Fuzz(func(t *testing.T, text, key string) {
		table, _ := ParseRegexp("f", text, Options{})
		want, wantOK := table.patterns.plain(key)
		got, ok, err := table.Lookup(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, wantOK, ok)
		require.Equal(t, want, got)
	})
}

// TestNeeds shows which texts are looked for.
func TestNeeds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern  string
		sets     [][]string
		prefixes []string
	}{
		{`^Subject:.*viagra`, [][]string{{"subject:"}, {"viagra"}}, []string{"subject:"}},
		{`^Content-Type:.*name="?.*\.(exe|pif)`, [][]string{{"content-type:"}, {"name=\"", "name="}, {".exe", ".pif"}}, []string{"content-type:"}},
		{`a|bc`, nil, nil},
		{`(ab|bc)d`, [][]string{{"abd", "bcd"}}, nil},
		{`x(ab.*|cd.*)y`, [][]string{{"ab", "cd"}}, nil},
		{`(ab)?cd`, [][]string{{"abcd", "cd"}}, nil},
		{`(ab)*cd`, [][]string{{"cd"}}, nil},
		{`(ab)+`, [][]string{{"ab"}}, nil},
		{`^(From|To): x`, [][]string{{"from: x", "to: x"}}, []string{"from: x", "to: x"}},
		{`^.*ab`, [][]string{{"ab"}}, nil},
		{`[0-9]{3}-ab`, nil, nil},
		{`[0-9][a-z]`, nil, nil},
		{"gr\xc3\xbcn", [][]string{{"gr\xc3\xbcn"}}, nil},
		{`.`, nil, nil},
		{`()`, nil, nil},
	} {
		p, err := parsePOSIX(c.pattern, dialect{}, time.Second)
		require.NoError(t, err)
		if c.pattern == `[0-9]{3}-ab` {
			require.Equal(t, [][]string{{"-ab"}}, tails(p.needs.sets))
			continue
		}
		sorted(c.sets)
		sorted([][]string{c.prefixes})
		assert.Equal(t, c.sets, p.needs.sets, c.pattern)
		assert.Equal(t, c.prefixes, p.needs.prefixes, c.pattern)
	}
}

func sorted(sets [][]string) {
	for _, set := range sets {
		slices.Sort(set)
	}
}

// tails returns the last three bytes of each text, once.
func tails(sets [][]string) (short [][]string) {
	for _, set := range sets {
		var texts []string
		for _, s := range set {
			texts = append(texts, s[len(s)-3:])
		}
		slices.Sort(texts)
		short = append(short, slices.Compact(texts))
	}
	return short
}

// TestRepeatedText has a key that holds the text of very many rules very often:
// the work is bounded by the rules.
func TestRepeatedText(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&text, "/^subject: x{%d}y/ %d\n", i%900+1, i)
	}
	table, problems := ParseRegexp("many", text.String(), Options{})
	require.Empty(t, problems)
	_, ok, err := table.Lookup(t.Context(), strings.Repeat("subject: ", 20_000))
	require.NoError(t, err)
	assert.False(t, ok)
	assert.LessOrEqual(t, len(table.patterns.programs.kept), maxPrograms)
}

// TestManyPrograms needs more patterns at once than are kept compiled.
func TestManyPrograms(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range maxPrograms + 1000 {
		fmt.Fprintf(&text, "/ab.*[0-9]%d$/ %d\n", i, i)
	}
	table, _ := ParseRegexp("many", text.String(), Options{})
	for range 2 {
		value, ok, err := table.Lookup(t.Context(), "abx 75095")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "5", value, "it is the first of those that match")
		require.LessOrEqual(t, len(table.patterns.programs.kept), maxPrograms)
	}
}

// TestHostileKey has a key that holds the texts of all rules: each is tried, and none
// needs backtracking. The lookup ends when its time does, or the caller's.
func TestHostileKey(t *testing.T) {
	t.Parallel()
	var text, key strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&text, "/word%dx.*[0-9]never$/ %d\n", i, i)
		fmt.Fprintf(&key, "word%dx ", i)
	}
	table, problems := ParsePCRE("many", text.String(), Options{MatchTime: time.Millisecond})
	require.Empty(t, problems)
	_, ok, err := table.Lookup(t.Context(), key.String())
	require.ErrorIs(t, err, ErrMatchTime)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.False(t, ok)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	linear, problems := ParseRegexp("many", text.String(), Options{})
	require.Empty(t, problems)
	_, ok, err = linear.Lookup(ctx, key.String())
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrMatchTime)
	assert.False(t, ok)
	assert.Less(t, len(linear.patterns.programs.kept), 3000, "it ended before all were tried")
}

// TestLargePattern has patterns that are linear in the key, and take many seconds for a
// long one. The search ends within one pattern.
func TestLargePattern(t *testing.T) {
	t.Parallel()
	const rule = "/^(.*a){900}x/ found\n"
	key := strings.Repeat("ab", 50_000)
	pcre, problems := ParsePCRE("large", rule, Options{MatchTime: time.Millisecond})
	require.Empty(t, problems)
	_, ok, err := pcre.Lookup(t.Context(), key)
	require.ErrorIs(t, err, ErrMatchTime)
	assert.False(t, ok)

	linear, problems := ParseRegexp("large", rule, Options{})
	require.Empty(t, problems)
	late := &countdown{Context: t.Context(), left: 3}
	_, ok, err = linear.Lookup(late, key)
	require.ErrorIs(t, err, context.Canceled)
	assert.False(t, ok)
}

// countdown is a context that has ended when it was asked some times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestWatched compares searches that look at the clock with those that do not.
func TestWatched(t *testing.T) {
	t.Parallel()
	never := func() error { return nil }
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 11))
		text, keys := randomRules(r, 20, 20)
		table, _ := ParseRegexp("random", text, Options{})
		for i := range table.patterns.rules {
			p := table.patterns.rules[i].pattern.first
			for _, key := range keys {
				want, err := table.patterns.programs.match(p, key, widen(key), nil)
				require.NoError(t, err)
				got, err := table.patterns.programs.match(p, key, widen(key), never)
				require.NoError(t, err)
				require.Equal(t, want, got, "%q in %s", key, p.source)
				if !want {
					continue
				}
				texts, err := table.patterns.programs.submatches(p, widen(key), nil)
				require.NoError(t, err)
				others, err := table.patterns.programs.submatches(p, widen(key), never)
				require.NoError(t, err)
				require.Equal(t, texts, others, "%q in %s", key, p.source)
			}
		}
	}
}

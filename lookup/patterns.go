package lookup

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"sync"
	"time"
)

// patterns is a table of regular expressions: the rules of a text, and what finds
// out which of them are worth trying.
type patterns struct {
	rules    []rule[expressions]
	parents  []int // of each rule: the block that it stands in, or -1
	filter   *prefilter
	programs programs
	limit    time.Duration // of one lookup; 0 means none
	visits   sync.Pool     // of *visit
}

// expressions are the one or two patterns of a rule.
type expressions struct {
	first  *pattern
	second *pattern // of "/a/!/b/", which also has to hold; nil when there is none
	not    bool     // second must not match
}

func (e expressions) backtracks() bool {
	return e.first != nil && e.first.backtracks || e.second != nil && e.second.backtracks
}

// patternReader is what the types of pattern tables differ in.
type patternReader interface {
	// read reads a delimiter, a pattern up to the next one, and flags.
	read(line string) (p *pattern, rest string, err error)
	// double says that "/a/!/b/" is a rule.
	double() bool
}

func parsePatterns(file, text string, reader patternReader) (*patterns, []error) {
	var (
		list     rules[expressions]
		problems problems
	)
	for line, err := range Lines(file, text) {
		if err != nil {
			problems.add(err)
			continue
		}
		for _, reason := range addPattern(&list, line.Text, reader) {
			problems.add(&LineError{file, line.Number, reason})
		}
	}
	if n := list.finish(); n > 0 {
		problems.add(&LineError{file, strings.Count(text, "\n") + 1, fmt.Sprintf("%d if without endif at the end of the file", n)})
	}
	return newPatterns(list.list), problems.all()
}

func newPatterns(list []rule[expressions]) *patterns {
	t := &patterns{rules: list, parents: parentsOf(list)}
	all := make([]needs, len(list))
	for i := range list {
		all[i] = list[i].pattern.first.needs
	}
	t.filter = newPrefilter(all, func(i int) bool { return list[i].negate })
	for i := range list {
		list[i].pattern.first.needs.sets = nil // they have served
	}
	return t
}

// parentsOf returns the innermost block that each rule stands in, or -1.
func parentsOf[P any](list []rule[P]) []int {
	parents := make([]int, len(list))
	var open []int
	for i := range list {
		for len(open) > 0 && list[open[len(open)-1]].end <= i {
			open = open[:len(open)-1]
		}
		parents[i] = -1
		if len(open) > 0 {
			parents[i] = open[len(open)-1]
		}
		if list[i].block {
			open = append(open, i)
		}
	}
	return parents
}

// addPattern reads one line and returns what is to be said about it.
func addPattern(list *rules[expressions], line string, reader patternReader) []string {
	if !isAlnum(line[0]) {
		r, notes, err := parsePatternRule(line, reader)
		if err != nil {
			return []string{err.Error() + ", rule skipped"}
		}
		list.add(r)
		return notes
	}
	if rest, ok := keyword(line, "if"); ok {
		r, rest, err := parsePatternHead(rest, reader)
		if err != nil {
			return []string{err.Error() + ", if skipped"}
		}
		list.add(r)
		return extra(rest, "if")
	}
	return endif(list, line)
}

// endif reads a line that is an endif, or nothing.
func endif[P any](list *rules[P], line string) []string {
	rest, ok := keyword(line, "endif")
	switch {
	case !ok:
		return []string{"neither a pattern nor if nor endif, line skipped"}
	case !list.endif():
		return []string{"endif without if, line skipped"}
	}
	return extra(rest, "endif")
}

func extra(rest, word string) []string {
	if rest == "" {
		return nil
	}
	return []string{"text after " + word + " is ignored: " + quoteShort(rest)}
}

func parsePatternHead(line string, reader patternReader) (r rule[expressions], rest string, err error) {
	r.block = true
	r.negate, line = negation(line)
	r.pattern.first, rest, err = reader.read(line)
	return r, strings.TrimLeft(rest, space), err
}

func parsePatternRule(line string, reader patternReader) (r rule[expressions], notes []string, err error) {
	r.negate, line = negation(line)
	if r.pattern.first, line, err = reader.read(line); err != nil {
		return r, nil, err
	}
	if reader.double() && strings.HasPrefix(line, "!") {
		r.pattern.not, line = negation(line)
		if r.pattern.second, line, err = reader.read(line); err != nil {
			return r, nil, err
		}
	}
	line = strings.TrimLeft(line, space)
	if line == "" {
		notes = append(notes, "no result text, the rule gives an empty one")
	}
	if r.result, err = parseResult(line, r.pattern.first.groups); err != nil {
		return r, nil, err
	}
	if r.negate && len(r.result.parts) > 0 {
		return r, nil, errors.New("$number in the result of a negated pattern")
	}
	return r, notes, nil
}

// readDelimited cuts a pattern off a line that starts with its delimiter. What
// follows it are flags, up to one of the bytes of ends.
func readDelimited(line, ends string) (pattern, flags, rest string, err error) {
	if line == "" {
		return "", "", "", errors.New("no pattern")
	}
	end := patternEnd(line)
	if end < 0 {
		return "", "", "", fmt.Errorf("no closing delimiter %q", line[:1])
	}
	pattern, rest = line[1:end], line[end+1:]
	n := strings.IndexAny(rest, ends)
	if n < 0 {
		n = len(rest)
	}
	return pattern, rest[:n], rest[n:], nil
}

// patternEnd returns where the delimiter that line starts with comes again, or
// -1.
func patternEnd(line string) int {
	for i := 1; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case line[0]:
			return i
		}
	}
	return -1
}

// ErrMatchTime is wrapped by a lookup in which patterns searched for longer than
// Options.MatchTime.
var ErrMatchTime = errors.New("pattern takes too long")

// visit is a key on its way through the rules.
type visit struct {
	key, wide  string
	hits, seen ruleSet
	blocks     map[int]bool // those that were asked
	work       int          // that was done since the clock was looked at
	start      time.Time    // when the clock was first looked at
}

func (t *patterns) visit(key string) *visit {
	v, _ := t.visits.Get().(*visit)
	if v == nil {
		v = &visit{hits: newRuleSet(len(t.rules)), seen: newRuleSet(len(t.filter.rules)), blocks: map[int]bool{}}
	}
	v.key, v.wide, v.work, v.start = key, widen(key), 0, time.Time{}
	clear(v.hits)
	clear(v.seen)
	clear(v.blocks)
	return v
}

// leave keeps what a visit needs for the next one, and not the key.
func (t *patterns) leave(v *visit) {
	v.key, v.wide = "", ""
	t.visits.Put(v)
}

// lookup returns the result of the first rule that holds, among those that may.
func (t *patterns) lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	if key == "" || len(t.rules) == 0 {
		return "", false, nil
	}
	v := t.visit(key)
	defer t.leave(v)
	t.filter.hits(key, v.hits, v.seen)
	for n := range v.hits {
		for rest := v.hits[n] | t.filter.always[n]; rest != 0; rest &= rest - 1 {
			i := n*64 + bits.TrailingZeros64(rest)
			if t.rules[i].block {
				continue // asked by the rules in it
			}
			holds, err := t.holds(ctx, v, i)
			if err != nil {
				return "", false, err
			}
			if holds {
				value, err = t.value(ctx, v, &t.rules[i])
				return value, err == nil, err
			}
		}
	}
	return "", false, nil
}

// holds reports whether a rule and the blocks that it stands in hold.
func (t *patterns) holds(ctx context.Context, v *visit, i int) (bool, error) {
	for block := t.parents[i]; block >= 0; block = t.parents[block] {
		if ok, err := t.blockHolds(ctx, v, block); !ok || err != nil {
			return false, err
		}
	}
	return t.ruleHolds(ctx, v, i)
}

func (t *patterns) blockHolds(ctx context.Context, v *visit, i int) (ok bool, err error) {
	ok, asked := v.blocks[i]
	if !asked {
		ok, err = t.ruleHolds(ctx, v, i)
		v.blocks[i] = ok && err == nil
	}
	return ok, err
}

// ruleHolds reports whether a rule holds by itself. Of "!/a/!/b/" each mark negates
// the pattern behind it, and both have to hold.
func (t *patterns) ruleHolds(ctx context.Context, v *visit, i int) (ok bool, err error) {
	r := &t.rules[i]
	if !t.filter.looked.has(uint32(i)) || v.hits.has(uint32(i)) { // else it cannot match
		if ok, err = t.match(ctx, v, r.pattern.first); err != nil {
			return false, err
		}
	}
	if ok == r.negate || r.pattern.second == nil {
		return ok != r.negate, nil
	}
	ok, err = t.match(ctx, v, r.pattern.second)
	return ok != r.pattern.not && err == nil, err
}

// match tries one pattern.
func (t *patterns) match(ctx context.Context, v *visit, p *pattern) (bool, error) {
	v.work += p.work(v.wide) + p.size*workPerTry
	if p.form(v.key).backtracks || v.work > workPerLook {
		v.work = 0
		if err := t.late(ctx, v); err != nil {
			return false, err
		}
	}
	return t.programs.match(p, v.key, v.wide, t.watch(ctx, v, p))
}

// watch returns what is to be asked during a search that may take long, nil for one
// that does not.
func (t *patterns) watch(ctx context.Context, v *visit, p *pattern) func() error {
	if p.work(v.wide) <= workPerLook {
		return nil
	}
	return func() error { return t.late(ctx, v) }
}

// late returns an error when a lookup has had its time, or nobody waits for it.
func (t *patterns) late(ctx context.Context, v *visit) error {
	if v.start.IsZero() {
		v.start = time.Now()
	}
	if t.limit > 0 && time.Since(v.start) > t.limit {
		return errLate
	}
	return ctx.Err()
}

// errLate is returned for the error of a backtracking search too, which has no other:
// the whole key is in that one's text, which a stranger wrote and which is as long as
// they like.
var errLate = fmt.Errorf("%w: %w", ErrMatchTime, context.DeadlineExceeded)

// value returns the result of a rule that holds.
func (t *patterns) value(ctx context.Context, v *visit, r *rule[expressions]) (string, error) {
	if len(r.result.parts) == 0 {
		return r.result.text, nil
	}
	if r.pattern.first.form(v.key).backtracks { // it searches once more
		if err := t.late(ctx, v); err != nil {
			return "", err
		}
	}
	found, err := t.programs.submatches(r.pattern.first, v.wide, t.watch(ctx, v, r.pattern.first))
	if err != nil {
		return "", err
	}
	return r.result.expand(func(n int) string { return narrow(found[n]) }), nil
}

package lookup

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Regexp is a table of patterns in the format of regexp_table(5). It must not
// be copied.
type Regexp struct{ rules []rule[expressions] }

// expressions are the one or two patterns of a rule.
type expressions struct {
	first  *regexp.Regexp
	second *regexp.Regexp // of "/a/!/b/", which also has to hold; nil when there is none
	not    bool           // second must not match
}

// ParseRegexp makes a table of a text in the format of regexp_table(5); file is
// its name in errors. Bad rules are reported and skipped.
//
// Patterns do not care for case, and the flag i makes them do so.
func ParseRegexp(file, text string) (*Regexp, []error) {
	var (
		list     rules[expressions]
		problems problems
	)
	for line, err := range Lines(file, text) {
		if err != nil {
			problems.add(err)
			continue
		}
		for _, reason := range addRegexp(&list, line.Text) {
			problems.add(&LineError{file, line.Number, reason})
		}
	}
	if n := list.finish(); n > 0 {
		problems.add(&LineError{file, strings.Count(text, "\n") + 1, fmt.Sprintf("%d if without endif at the end of the file", n)})
	}
	return &Regexp{rules: list.list}, problems.all()
}

// addRegexp reads one line and returns what is to be said about it.
func addRegexp(list *rules[expressions], line string) []string {
	if !isAlnum(line[0]) {
		r, notes, err := parseRegexpRule(line)
		if err != nil {
			return []string{err.Error() + ", rule skipped"}
		}
		list.add(r)
		return notes
	}
	if rest, ok := keyword(line, "if"); ok {
		r, rest, err := parseRegexpHead(rest)
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

func parseRegexpHead(line string) (r rule[expressions], rest string, err error) {
	r.block = true
	r.negate, line = negation(line)
	if line == "" || isAlnum(line[0]) {
		return r, "", errors.New("if without a pattern")
	}
	r.pattern.first, rest, err = parsePattern(line)
	return r, strings.TrimLeft(rest, space), err
}

func parseRegexpRule(line string) (r rule[expressions], notes []string, err error) {
	r.negate, line = negation(line)
	if r.pattern.first, line, err = parsePattern(line); err != nil {
		return r, nil, err
	}
	if strings.HasPrefix(line, "!") {
		r.pattern.not, line = negation(line)
		if r.pattern.second, line, err = parsePattern(line); err != nil {
			return r, nil, err
		}
	}
	line = strings.TrimLeft(line, space)
	if line == "" {
		notes = append(notes, "no result text, the rule gives an empty one")
	}
	groups := r.pattern.first.NumSubexp()
	if r.result, err = parseResult(line, groups); err != nil {
		return r, nil, err
	}
	if r.negate && len(r.result.parts) > 0 {
		return r, nil, errors.New("$number in the result of a negated pattern")
	}
	return r, notes, nil
}

// parsePattern reads a delimiter, a pattern up to the next one, and flags.
func parsePattern(line string) (re *regexp.Regexp, rest string, err error) {
	if line == "" {
		return nil, "", errors.New("no pattern")
	}
	end := patternEnd(line)
	if end < 0 {
		return nil, "", fmt.Errorf("no closing delimiter %q", line[:1])
	}
	pattern, rest := line[1:end], line[end+1:]
	var d dialect
	for rest != "" && !isSpace(rest[0]) && rest[0] != '!' {
		switch rest[0] {
		case 'i':
			d.caseSensitive = !d.caseSensitive
		case 'm':
			d.multiline = !d.multiline
		case 'x':
			d.basic = !d.basic
		default:
			return nil, "", fmt.Errorf("unknown flag %q", rest[:1])
		}
		rest = rest[1:]
	}
	if re, err = compilePOSIX(pattern, d); err != nil {
		return nil, "", fmt.Errorf("pattern %s: %w", quoteShort(pattern), err)
	}
	return re, rest, nil
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

// Lookup returns the result of the first rule whose pattern is found in key.
func (t *Regexp) Lookup(_ context.Context, key string) (value string, ok bool, err error) {
	if key == "" {
		return "", false, nil
	}
	wide := widen(key)
	for i := 0; i < len(t.rules); i++ {
		r := &t.rules[i]
		holds := r.pattern.match(wide) != r.negate
		switch {
		case r.block && !holds:
			i = r.end - 1
		case !r.block && holds:
			return expandMatch(r.result, r.pattern.first, wide), true, nil
		}
	}
	return "", false, nil
}

func (e *expressions) match(key string) bool {
	if !e.first.MatchString(key) {
		return false
	}
	return e.second == nil || e.second.MatchString(key) != e.not
}

func expandMatch(r result, re *regexp.Regexp, key string) string {
	if len(r.parts) == 0 {
		return r.text
	}
	found := re.FindStringSubmatch(key)
	return r.expand(func(n int) string { return narrow(found[n]) })
}

// FullKeyOnly returns true.
func (t *Regexp) FullKeyOnly() bool { return true }

// Len returns the number of rules, with those that start blocks.
func (t *Regexp) Len() int { return len(t.rules) }

package lookup

import (
	"context"
	"fmt"
)

// Regexp is a table of patterns in the format of regexp_table(5). It must not
// be copied.
type Regexp struct{ patterns *patterns }

// ParseRegexp makes a table of a text in the format of regexp_table(5); file is
// its name in errors. Bad rules are reported and skipped.
//
// Patterns do not care for case, and the flag i makes them do so.
func ParseRegexp(file, text string) (*Regexp, []error) {
	p, problems := parsePatterns(file, text, posixReader{})
	return &Regexp{p}, problems
}

// posixReader reads patterns of regexp_table(5).
type posixReader struct{}

func (posixReader) double() bool { return true }

func (posixReader) read(line string) (*pattern, string, error) {
	text, flags, rest, err := readDelimited(line, space+"!")
	if err != nil {
		return nil, "", err
	}
	var d dialect
	for i := range len(flags) {
		switch flags[i] {
		case 'i':
			d.caseSensitive = !d.caseSensitive
		case 'm':
			d.multiline = !d.multiline
		case 'x':
			d.basic = !d.basic
		default:
			return nil, "", fmt.Errorf("unknown flag %q", flags[i:i+1])
		}
	}
	p, err := parsePOSIX(text, d)
	if err != nil {
		return nil, "", fmt.Errorf("pattern %s: %w", quoteShort(text), err)
	}
	return p, rest, nil
}

// Lookup returns the result of the first rule whose pattern is found in key.
// It fails only when ctx ends, and looks at that now and then.
func (t *Regexp) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	return t.patterns.lookup(ctx, key)
}

// FullKeyOnly returns true.
func (t *Regexp) FullKeyOnly() bool { return true }

// Len returns the number of rules, with those that start blocks.
func (t *Regexp) Len() int { return len(t.patterns.rules) }

package lookup

import (
	"context"
	"fmt"
	"time"
)

// Regexp is a table of patterns in the format of regexp_table(5). It must not
// be copied.
type Regexp struct{ patterns *patterns }

// ParseRegexp makes a table of a text in the format of regexp_table(5); file is
// its name in errors. Bad rules are reported and skipped.
//
// Patterns do not care for case, and the flag i makes them do so. They are matched in
// time linear in the key's length, but for those with back references ("\1"): a lookup
// in which these take longer than Options.MatchTime fails.
func ParseRegexp(file, text string, o Options) (*Regexp, []error) {
	p, problems := parsePatterns(file, text, posixReader{o.limit()})
	for i := range p.rules {
		if p.rules[i].pattern.backtracks() {
			p.limit = o.limit()
		}
	}
	return &Regexp{p}, problems
}

// posixReader reads patterns of regexp_table(5).
type posixReader struct{ limit time.Duration }

func (posixReader) double() bool { return true }

func (r posixReader) read(line string) (*pattern, string, error) {
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
	p, err := parsePOSIX(text, d, r.limit)
	if err != nil {
		return nil, "", fmt.Errorf("pattern %s: %w", quoteShort(text), err)
	}
	return p, rest, nil
}

// Lookup returns the result of the first rule whose pattern is found in key.
// It fails when ctx ends, at which it looks now and then, and with ErrMatchTime
// when back references take too long.
func (t *Regexp) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	return t.patterns.lookup(ctx, key)
}

// FullKeyOnly returns true.
func (t *Regexp) FullKeyOnly() bool { return true }

// Len returns the number of rules, with those that start blocks.
func (t *Regexp) Len() int { return len(t.patterns.rules) }

package lookup

import (
	"context"
	"fmt"
	"time"
)

// PCRE is a table of patterns in the format of pcre_table(5). It must not be
// copied.
type PCRE struct{ patterns *patterns }

// ParsePCRE makes a table of a text in the format of pcre_table(5); file is its
// name in errors. Bad rules are reported and skipped.
//
// Patterns do not care for case, and the flag i makes them do so. Most are
// matched in time linear in the key's length. Those that look around or refer
// back are searched for by backtracking. A lookup in which all of them together
// take longer than Options.MatchTime fails.
func ParsePCRE(file, text string, o Options) (*PCRE, []error) {
	p, problems := parsePatterns(file, text, perlReader{o.limit()})
	p.limit = o.limit()
	return &PCRE{p}, problems
}

// OpenPCRE opens a table in the format of pcre_table(5).
func OpenPCRE(path string, o Options) (*File, error) {
	return open(path, o, func(file, text string, o Options) (LookupTable, []error) {
		return ParsePCRE(file, text, o)
	})
}

// Lookup returns the result of the first rule whose pattern is found in key. It
// fails with ErrMatchTime when that takes too long, and when ctx ends.
func (t *PCRE) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	return t.patterns.lookup(ctx, key)
}

// FullKeyOnly returns true.
func (t *PCRE) FullKeyOnly() bool { return true }

// Len returns the number of rules, with those that start blocks.
func (t *PCRE) Len() int { return len(t.patterns.rules) }

// perlReader reads patterns of pcre_table(5).
type perlReader struct{ limit time.Duration }

func (perlReader) double() bool { return false }

func (r perlReader) read(line string) (*pattern, string, error) {
	text, flags, rest, err := readDelimited(line, space)
	if err != nil {
		return nil, "", err
	}
	options := perlOptions{caseless: true, dotAll: true}
	for i := range len(flags) {
		if !options.toggle(flags[i]) {
			return nil, "", fmt.Errorf("unknown flag %q", flags[i:i+1])
		}
	}
	p, err := parsePerl(text, options, r.limit)
	if err != nil {
		return nil, "", fmt.Errorf("pattern %s: %w", quoteShort(text), err)
	}
	return p, rest, nil
}

// toggle changes the option of a flag. X had a meaning in PCRE 1 only.
func (o *perlOptions) toggle(flag byte) bool {
	for _, f := range []struct {
		flag   byte
		option *bool
	}{
		{'i', &o.caseless}, {'m', &o.multiline}, {'s', &o.dotAll}, {'x', &o.extended},
		{'A', &o.anchored}, {'E', &o.dollarEnd}, {'U', &o.ungreedy}, {'X', new(bool)},
	} {
		if f.flag == flag {
			*f.option = !*f.option
			return true
		}
	}
	return false
}

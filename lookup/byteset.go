package lookup

import (
	"fmt"
	"strings"
	"unicode"
)

// byteSet is a class of a pattern: a bit for each byte.
type byteSet [4]uint64

func (s *byteSet) add(low, high byte) {
	for c := int(low); c <= int(high); c++ {
		s[c/64] |= 1 << (c % 64)
	}
}

func (s *byteSet) has(c byte) bool { return s[c/64]&(1<<(c%64)) != 0 }

func (s *byteSet) join(o byteSet) {
	for i := range s {
		s[i] |= o[i]
	}
}

func (s byteSet) complement() byteSet {
	for i := range s {
		s[i] = ^s[i]
	}
	return s
}

// fold adds the other case of each letter.
func (s *byteSet) fold() {
	for c := byte('a'); c <= 'z'; c++ {
		if s.has(c) || s.has(c-'a'+'A') {
			s.add(c, c)
			s.add(c-'a'+'A', c-'a'+'A')
		}
	}
}

// String writes the set as a class. The case flag around it changes nothing when both
// cases of each letter are in it or none.
func (s byteSet) String() string {
	var b strings.Builder
	for low := 0; low < 256; low++ {
		if !s.has(byte(low)) {
			continue
		}
		high := low
		for high < 255 && s.has(byte(high+1)) && (high+1 < 128) == (low < 128) {
			high++
		}
		b.WriteString(perlRune(byte(low)) + "-" + perlRune(byte(high)))
		low = high
	}
	if b.Len() == 0 {
		return `[^\x00-\x{10FFFF}]`
	}
	return "[" + b.String() + "]"
}

// perlRune writes a byte inside a class, in a form that both engines read.
func perlRune(c byte) string {
	if c < 128 {
		return fmt.Sprintf(`\x%02x`, c)
	}
	return string(wide(c))
}

// ranges are the classes that a backslash and a letter stand for, and those that
// stand in [[:name:]]: pairs of the first and the last byte.
func ranges(name string) string {
	switch name {
	case "d", "digit":
		return "09"
	case "w", "word":
		return "09AZaz__"
	case "s", "space":
		return "\t\r  "
	case "h":
		return "\t\t  \xa0\xa0"
	case "v":
		return "\n\r\x85\x85"
	case "blank":
		return "\t\t  "
	case "alpha":
		return "AZaz"
	case "alnum":
		return "09AZaz"
	case "upper":
		return "AZ"
	case "lower":
		return "az"
	case "xdigit":
		return "09AFaf"
	case "punct":
		return "!/:@[`{~"
	case "graph":
		return "!~"
	case "print":
		return " ~"
	case "cntrl":
		return "\x00\x1f\x7f\x7f"
	case "ascii":
		return "\x00\x7f"
	}
	return ""
}

// namedSet returns a class by its name, with a capital letter for all the others.
func namedSet(name string) (s byteSet, ok bool) {
	all := ranges(name)
	if all == "" && len(name) == 1 && strings.Contains("DWSHV", name) {
		s, _ = namedSet(strings.ToLower(name))
		return s.complement(), true
	}
	for i := 0; i < len(all); i += 2 {
		s.add(all[i], all[i+1])
	}
	return s, all != ""
}

func (s *byteSet) addTables(tables ...*unicode.RangeTable) {
	for c := range 256 {
		if unicode.IsOneOf(tables, rune(c)) {
			s.add(byte(c), byte(c))
		}
	}
}

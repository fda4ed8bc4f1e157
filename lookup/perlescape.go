package lookup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// property returns the bytes of a Unicode property, which in this mode are those
// of Latin-1, and cuts it off: \p{Lu}, \p{^Greek}, \PL. It means the same without
// case.
func (p *perl) property() (set byteSet, ok bool) {
	if len(p.in) < 3 || p.in[1] != 'p' && p.in[1] != 'P' {
		return set, false
	}
	negated := p.in[1] == 'P'
	name, rest := p.in[2:3], p.in[3:]
	if name == "{" {
		if name, rest, ok = strings.Cut(rest, "}"); !ok {
			return set, false
		}
	}
	if plain, not := strings.CutPrefix(name, "^"); not {
		name, negated = plain, !negated
	}
	table := unicode.Categories[name]
	if table == nil {
		table = unicode.Scripts[name]
	}
	switch {
	case name == "Any":
		set = set.complement()
	case name == "L&":
		set.addTables(unicode.Lu, unicode.Ll, unicode.Lt)
	case table == nil:
		return set, false
	default:
		set.addTables(table)
	}
	p.in = rest
	if negated {
		set = set.complement()
	}
	return set, true
}

// escape reads a backslash and what it applies to, outside of a class.
func (p *perl) escape() (item, error) {
	if len(p.in) == 1 {
		return item{}, errors.New("trailing backslash")
	}
	if ref, ok := p.isReference(); ok {
		return p.reference(ref)
	}
	set, ok := namedSet(string(rune(p.in[1])))
	if ok {
		p.in = p.in[2:]
	} else {
		set, ok = p.property()
	}
	if ok {
		p.set(set)
		return item{width: 1, repeats: true}, nil
	}
	c, rest := p.in[1], p.in[2:]
	switch c {
	case 'b', 'B', 'A', 'z', 'Z', 'G', 'K':
		if c == 'K' && p.looking {
			return item{}, errors.New(`\K does not stand in a look`)
		}
		p.in = rest
		p.assertion(c)
		return item{}, nil
	case 'N', 'C', 'R', 'X':
		p.in = rest
		if counts, _, _ := strings.Cut(strings.TrimPrefix(rest, "{"), "}"); c == 'N' && rest != "" && rest[0] == '{' && !isCount(counts) {
			return item{}, errors.New(`\N{name} is not known`)
		}
		return p.anyOf(c), nil
	}
	b, err := p.escapedByte()
	p.both(literal(b))
	return item{width: 1, repeats: true}, err
}

// assertion writes what matches no byte. Lookups begin at the start of the key,
// which is all that \G can mean, and nobody asks where a match begins, which is
// what \K changes.
func (p *perl) assertion(c byte) {
	switch c {
	case 'Z':
		p.end(false, false)
	case 'G':
		p.both(`\A`)
	case 'K':
		p.both("(?:)")
	default:
		p.both(`\` + string(rune(c)))
	}
}

// anyOf writes what stands for any byte or two.
func (p *perl) anyOf(c byte) item {
	switch c {
	case 'N':
		p.both(`[^\n]`)
	case 'C':
		p.both(`(?s:.)`)
	case 'R':
		p.backtracks = true
		ends := `\r\n|[\n-\r` + string(wide(0x85)) + `])`
		p.write("(?:"+ends, "(?>"+ends)
		return item{width: variable, repeats: true}
	case 'X':
		p.backtracks = true
		p.write(`(?s:\r\n|.)`, `(?>\r\n|(?s:.))`)
		return item{width: variable, repeats: true}
	}
	return item{width: 1, repeats: true}
}

// isReference reads \1, \g{-1}, \k<name> and the like. What looks like the number
// of a group that there is not is the number of a byte.
func (p *perl) isReference() (to string, ok bool) {
	rest := p.in[2:]
	switch c := p.in[1]; {
	case '1' <= c && c <= '9':
		n := 1
		for n < len(p.in) && isDigit(p.in[n]) {
			n++
		}
		if number, err := strconv.Atoi(p.in[1:n]); err == nil && (number < 10 || number <= p.total) {
			to, p.in = p.in[1:n], p.in[n:]
			return to, true
		}
	case c == 'k' || c == 'g':
		for _, pair := range []string{"{}", "<>", "''"} {
			if !strings.HasPrefix(rest, pair[:1]) || c == 'g' && pair != "{}" {
				continue
			}
			if to, after, ok := strings.Cut(rest[1:], pair[1:]); ok {
				p.in = after
				return to, true
			}
		}
		n := 0
		for c == 'g' && n < len(rest) && (isDigit(rest[n]) || n == 0 && (rest[n] == '-' || rest[n] == '+')) {
			n++
		}
		if n > 0 {
			p.in = rest[n:]
			return rest[:n], true
		}
	}
	return "", false
}

// simpleEscapes are the letters that stand for one byte.
const simpleEscapes = "a\x07e\x1bf\fn\nr\rt\t"

// escapedByte reads an escape that stands for one byte.
func (p *perl) escapedByte() (byte, error) {
	c := p.in[1]
	rest := p.in[2:]
	if i := strings.IndexByte(simpleEscapes, c); i >= 0 && i%2 == 0 {
		p.in = rest
		return simpleEscapes[i+1], nil
	}
	switch {
	case c == 'c' && rest != "" && rest[0] >= ' ' && rest[0] <= '~':
		p.in = rest[1:]
		return upper(rest[0]) ^ 0x40, nil
	case c == 'x':
		return p.hexByte(rest)
	case c == 'o' && strings.HasPrefix(rest, "{"):
		return p.number(rest[1:], "}", 8)
	case isDigit(c):
		n := 1
		for n < 4 && n < len(p.in) && '0' <= p.in[n] && p.in[n] <= '7' {
			n++
		}
		if n == 1 {
			return 0, fmt.Errorf("no such group: \\%c", c)
		}
		b, err := strconv.ParseUint(p.in[1:n], 8, 8)
		p.in = p.in[n:]
		return byte(b), err
	case isAlnum(c):
		return 0, fmt.Errorf("\\%c is not known", c)
	}
	p.in = rest
	return c, nil
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}

// hexByte reads what follows \x: two digits at most, or any number in braces.
func (p *perl) hexByte(rest string) (byte, error) {
	if strings.HasPrefix(rest, "{") {
		return p.number(rest[1:], "}", 16)
	}
	n := 0
	for n < 2 && n < len(rest) && strings.IndexByte("0123456789abcdefABCDEF", rest[n]) >= 0 {
		n++
	}
	p.in = rest[n:]
	if n == 0 {
		return 0, nil
	}
	b, err := strconv.ParseUint(rest[:n], 16, 8)
	return byte(b), err
}

func (p *perl) number(s, end string, base int) (byte, error) {
	digits, rest, ok := strings.Cut(s, end)
	b, err := strconv.ParseUint(digits, base, 8)
	if !ok || err != nil {
		return 0, fmt.Errorf("no byte has the number %s", quoteShort(digits))
	}
	p.in = rest
	return byte(b), nil
}

// class reads a bracket expression.
func (p *perl) class() (set byteSet, err error) {
	p.in = p.in[1:]
	negated := p.take("^")
	p.quotes()
	for first := true; first || p.quoting || !p.take("]"); first = false {
		item, low, err := p.classItem()
		if err != nil {
			return set, err
		}
		p.quotes()
		if !p.quoting && strings.HasPrefix(p.in, "-") && len(p.in) > 1 && p.in[1] != ']' {
			if low < 0 {
				return set, errors.New("invalid range in a character class")
			}
			p.in = p.in[1:]
			p.quotes()
			_, high, err := p.classItem()
			if err != nil {
				return set, err
			}
			if high < low {
				return set, errors.New("range ends before it starts")
			}
			item.add(byte(low), byte(high))
			p.quotes()
		}
		if p.caseless && low >= 0 { // a class knows by itself what it means without case
			item.fold()
		}
		set.join(item)
	}
	if negated {
		set = set.complement()
	}
	return set, nil
}

// quotes skips \Q and \E in a class, and notes whether the next byte is quoted.
func (p *perl) quotes() {
	for {
		switch {
		case p.take(`\E`):
			p.quoting = false
		case !p.quoting && p.take(`\Q`):
			p.quoting = true
		default:
			return
		}
	}
}

// classItem reads a class in a class, with low -1, or one byte.
func (p *perl) classItem() (set byteSet, low int, err error) {
	switch {
	case p.in == "":
		return set, 0, errors.New("unmatched bracket")
	case p.quoting:
	case posixClassEnd(p.in) > 0:
		end := posixClassEnd(p.in)
		return p.posixClass(p.in[2:end-2], p.in[end:])
	case p.in[0] == '\\':
		return p.classEscape()
	}
	c := p.in[0]
	p.in = p.in[1:]
	set.add(c, c)
	return set, int(c), nil
}

// posixClassEnd returns the end of what looks like [:name:], [.name.] or [=name=], and
// 0 when s does not start with that.
func posixClassEnd(s string) int {
	if len(s) < 2 || s[0] != '[' || strings.IndexByte(":.=", s[1]) < 0 {
		return 0
	}
	for i := 2; i+1 < len(s); i++ {
		switch {
		case s[i] == '\\' && (s[i+1] == ']' || s[i+1] == '\\'):
			i++
		case s[i] == '[' && s[i+1] == s[1], s[i] == ']':
			return 0
		case s[i] == s[1] && s[i+1] == ']':
			return i + 2
		}
	}
	return 0
}

func (p *perl) posixClass(name, rest string) (set byteSet, low int, err error) {
	plain, negated := strings.CutPrefix(name, "^")
	set, ok := namedSet(plain)
	if !ok || len(plain) < 4 || p.in[1] != ':' {
		return set, 0, errors.New("unknown character class")
	}
	p.in = rest
	if p.caseless && (plain == "upper" || plain == "lower") {
		set.fold()
	}
	if negated {
		set = set.complement()
	}
	return set, -1, nil
}

func (p *perl) classEscape() (set byteSet, low int, err error) {
	if len(p.in) == 1 {
		return set, 0, errors.New("trailing backslash")
	}
	c := p.in[1]
	if set, ok := namedSet(string(rune(c))); ok {
		p.in = p.in[2:]
		return set, -1, nil
	}
	if set, ok := p.property(); ok {
		return set, -1, nil
	}
	switch {
	case c == 'b':
		p.in = p.in[2:]
		low = '\b'
	default:
		b, err := p.escapedByte()
		if err != nil {
			return set, 0, err
		}
		low = int(b)
	}
	set.add(byte(low), byte(low))
	return set, low, nil
}

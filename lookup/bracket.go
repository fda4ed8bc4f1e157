package lookup

import (
	"errors"
	"fmt"
	"strings"
)

// classes are the names that may stand in [[:name:]].
var classes = map[string]bool{
	"alnum": true, "alpha": true, "blank": true, "cntrl": true, "digit": true, "graph": true,
	"lower": true, "print": true, "punct": true, "space": true, "upper": true, "xdigit": true,
}

// bracket reads a bracket expression behind its opening. A backslash is a
// backslash in it, and a closing bracket in the first place is one too.
func (p *posix) bracket() (string, error) {
	var b strings.Builder
	b.WriteByte('[')
	if p.take("^") {
		b.WriteByte('^')
		if p.multiline {
			b.WriteString(`\n`)
		}
	}
	for first := true; first || !p.take("]"); first = false {
		if !first && strings.HasPrefix(p.in, "-") && !strings.HasPrefix(p.in, "-]") {
			return "", errors.New("range without a start")
		}
		item, err := p.bracketItem()
		if err != nil {
			return "", err
		}
		b.WriteString(item)
	}
	b.WriteByte(']')
	return b.String(), nil
}

// bracketItem reads a class, a byte, or a range of bytes.
func (p *posix) bracketItem() (string, error) {
	if p.take("[:") {
		name, rest, ok := strings.Cut(p.in, ":]")
		if !ok || !classes[name] {
			return "", errors.New("unknown character class")
		}
		p.in = rest
		return "[:" + name + ":]", nil
	}
	equivalent := strings.HasPrefix(p.in, "[=")
	low, err := p.bracketByte()
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(p.in, "-") || strings.HasPrefix(p.in, "-]") {
		return p.bracketRune(low), nil
	}
	p.in = p.in[1:]
	if equivalent || strings.HasPrefix(p.in, "[=") || strings.HasPrefix(p.in, "[:") {
		return "", errors.New("class at the end of a range")
	}
	high, err := p.bracketByte()
	if err != nil {
		return "", err
	}
	if high < low {
		return "", errors.New("range ends before it starts")
	}
	return p.bracketRange(low, high), nil
}

// bracketRange writes a range. Without case both ends are capital letters by
// now, and so is the key's letter that the C library looks for in it: the small
// letters that lie between, as in [[-~], are not meant.
func (p *posix) bracketRange(low, high byte) string {
	if !p.caseSensitive && low < 'a' && high > 'z' {
		return p.bracketRange(low, 'a'-1) + p.bracketRange('z'+1, high)
	}
	return p.bracketRune(low) + "-" + p.bracketRune(high)
}

// bracketByte reads one byte, which may be written [.x.] or [=x=].
func (p *posix) bracketByte() (byte, error) {
	if p.in == "" {
		return 0, errors.New("unmatched bracket")
	}
	for _, mark := range []string{".", "="} {
		if !strings.HasPrefix(p.in, "["+mark) {
			continue
		}
		if len(p.in) < 5 || p.in[3:5] != mark+"]" {
			return 0, errors.New("unknown collating element")
		}
		c := p.in[2]
		p.in = p.in[5:]
		return p.capital(c), nil
	}
	c := p.in[0]
	p.in = p.in[1:]
	return p.capital(c), nil
}

// capital returns c as the C library sees it in a pattern without case, where
// [A-z] is [A-Z], and [Z-a] ends before it starts.
func (p *posix) capital(c byte) byte {
	if !p.caseSensitive && 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}

func (p *posix) bracketRune(c byte) string {
	if p.perl {
		return fmt.Sprintf(`\x%02x`, c)
	}
	return fmt.Sprintf(`\x{%x}`, wide(c))
}

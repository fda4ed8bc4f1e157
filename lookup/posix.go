package lookup

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// dialect chooses among the forms of regex(7).
type dialect struct {
	caseSensitive bool
	multiline     bool // REG_NEWLINE: ^ and $ at line ends, which . and [^a] do not match
	basic         bool // no REG_EXTENDED
}

// parsePOSIX reads a pattern in the syntax of regex(7) as the GNU C library does
// in the C locale, which is where Postfix runs: byte by byte. One with back
// references is searched for by backtracking, within the limit.
func parsePOSIX(text string, d dialect, limit time.Duration) (*pattern, error) {
	p := posix{dialect: d, in: text}
	expr, err := p.alternatives(0)
	if err != nil {
		return nil, err
	}
	if p.refers {
		p = posix{dialect: d, in: text, perl: true}
		if expr, err = p.alternatives(0); err != nil {
			return nil, err
		}
		return parsePerl(expr, perlOptions{caseless: !d.caseSensitive, dotAll: true, multiline: d.multiline, dollarEnd: true}, limit)
	}
	flags := "(?si)"
	if d.caseSensitive {
		flags = "(?s)"
	}
	if d.multiline {
		flags += "(?m)"
	}
	return newLinear(flags+expr, true)
}

// posix reads a POSIX pattern and writes it in the syntax of package regexp, or in
// that of pcre2pattern(3).
type posix struct {
	dialect
	in     string // what is still to be read
	perl   bool   // writes bytes as pcre2pattern(3) has them
	refers bool   // has back references
	groups int    // that were opened
	closed [10]bool
}

// maxNesting bounds the parentheses within parentheses, as package regexp does.
const maxNesting = 500

// take cuts token off what is to be read, if that starts with it.
func (p *posix) take(token string) bool {
	rest, ok := strings.CutPrefix(p.in, token)
	if ok {
		p.in = rest
	}
	return ok
}

// operator returns how an operator is written: behind a backslash in the basic
// syntax.
func (p *posix) operator(op string) string {
	if p.basic {
		return `\` + op
	}
	return op
}

func (p *posix) alternatives(depth int) (string, error) {
	if depth > maxNesting {
		return "", errors.New("parentheses too deep")
	}
	var b strings.Builder
	for {
		branch, err := p.branch(depth)
		if err != nil {
			return "", err
		}
		b.WriteString(branch)
		if !p.take(p.operator("|")) {
			return b.String(), nil
		}
		b.WriteByte('|')
	}
}

// branch reads up to a bar, or to the parenthesis that closes the group.
func (p *posix) branch(depth int) (string, error) {
	var b strings.Builder
	start, first := true, true // of the branch; where there is nothing yet to repeat
	for p.in != "" && !strings.HasPrefix(p.in, p.operator("|")) {
		if depth > 0 && strings.HasPrefix(p.in, p.operator(")")) {
			break
		}
		anchor, ok := p.anchor(start)
		start = false
		if ok {
			b.WriteString(anchor)
			first = true
			continue
		}
		piece, err := p.piece(depth, first)
		if err != nil {
			return "", err
		}
		b.WriteString(piece)
		first = false
	}
	return b.String(), nil
}

// anchor reads what matches no byte. In the basic syntax ^ is one only where a
// branch starts, and $ only where it ends.
func (p *posix) anchor(start bool) (string, bool) {
	switch {
	case strings.HasPrefix(p.in, "^") && p.basic && !start,
		strings.HasPrefix(p.in, "$") && p.basic && !p.ends(p.in[1:]):
		return "", false
	case p.take("^"):
		return "^", true
	case p.take("$"):
		return "$", true
	}
	for _, a := range [...][2]string{
		// \< and \> know on which side the word is, \b does not: that differs
		// only where the pattern itself allows either.
		{`\<`, `\b`}, {`\>`, `\b`}, {`\b`, `\b`}, {`\B`, `\B`}, {"\\`", `\A`}, {`\'`, `\z`},
	} {
		if p.take(a[0]) {
			return a[1], true
		}
	}
	return "", false
}

func (p *posix) ends(rest string) bool {
	return rest == "" || strings.HasPrefix(rest, `\)`) || strings.HasPrefix(rest, `\|`)
}

// piece reads an atom and the repetitions behind it.
func (p *posix) piece(depth int, first bool) (string, error) {
	atom, err := p.atom(depth, first)
	if err != nil {
		return "", err
	}
	for again := false; ; again = true {
		if again && p.basic && (strings.HasPrefix(p.in, "*") || strings.HasPrefix(p.in, `\{`)) {
			return "", errors.New("repetition of a repetition")
		}
		op, err := p.repetition()
		if err != nil || op == "" {
			return atom, err
		}
		if again { // a+? is not lazy in POSIX
			atom = "(?:" + atom + ")"
		}
		atom += op
	}
}

// repetition reads an operator and returns it as package regexp writes it.
func (p *posix) repetition() (string, error) {
	switch {
	case p.take("*"):
		return "*", nil
	case p.take(p.operator("+")):
		return "+", nil
	case p.take(p.operator("?")):
		return "?", nil
	case p.take(p.operator("{")):
		return p.interval()
	}
	return "", nil
}

func (p *posix) interval() (string, error) {
	counts, rest, ok := strings.Cut(p.in, p.operator("}"))
	if !ok {
		return "", errors.New("unmatched brace")
	}
	p.in = rest
	low, high, isRange := strings.Cut(counts, ",")
	if low == "" && isRange {
		low = "0"
	}
	for _, n := range []string{low, high} {
		if _, err := strconv.ParseUint(n, 10, 16); err != nil && (n != "" || low == "") {
			return "", fmt.Errorf("bad repetition count %q", counts)
		}
	}
	if !isRange {
		return "{" + low + "}", nil
	}
	return "{" + low + "," + high + "}", nil
}

// atom reads what one repetition applies to.
func (p *posix) atom(depth int, first bool) (string, error) {
	switch {
	case p.take(p.operator("(")):
		return p.group(depth)
	case p.take("["):
		return p.bracket()
	case p.take("."):
		if p.multiline {
			return `[^\n]`, nil
		}
		return ".", nil
	case strings.HasPrefix(p.in, `\`):
		return p.escape(first)
	case first && !p.basic && strings.ContainsAny(p.in[:1], "*+?{"):
		return "", errors.New("nothing to repeat")
	}
	c := p.in[0]
	p.in = p.in[1:]
	return p.literal(c), nil
}

func (p *posix) group(depth int) (string, error) {
	p.groups++
	number := p.groups
	inner, err := p.alternatives(depth + 1)
	if err != nil {
		return "", err
	}
	if !p.take(p.operator(")")) {
		return "", errors.New("unmatched parenthesis")
	}
	if number < len(p.closed) {
		p.closed[number] = true
	}
	return "(" + inner + ")", nil
}

// escape reads a backslash and what it applies to.
func (p *posix) escape(first bool) (string, error) {
	if len(p.in) == 1 {
		return "", errors.New("trailing backslash")
	}
	c := p.in[1]
	p.in = p.in[2:]
	switch {
	case '1' <= c && c <= '9' && !p.closed[c-'0']:
		return "", errors.New("back reference to no group before it")
	case '1' <= c && c <= '9':
		p.refers = true
		return `(?:\` + string(c) + ")", nil
	case p.basic && c == ')':
		return "", errors.New("unmatched parenthesis")
	case p.basic && c == '{' && first:
		return "", errors.New("nothing to repeat")
	case c == 'w':
		return "[0-9A-Za-z_]", nil
	case c == 'W':
		return "[^0-9A-Za-z_]", nil
	case c == 's':
		return `[\t-\r ]`, nil
	case c == 'S':
		return `[^\t-\r ]`, nil
	case !p.caseSensitive && 'a' <= c && c <= 'z':
		// So the GNU C library has it: it compares the pattern's small letter
		// with the key's capital one.
		return p.never(), nil
	}
	return p.literal(c), nil
}

// never is a pattern for a byte that there is not.
func (p *posix) never() string {
	if p.perl {
		return `[^\x00-\xff]`
	}
	return `[^\x00-\x{10FFFF}]`
}

func (p *posix) literal(c byte) string {
	if p.perl {
		return fmt.Sprintf(`\x%02x`, c)
	}
	return literal(c)
}

// literal returns a pattern for one byte.
func literal(c byte) string { return regexp.QuoteMeta(string(wide(c))) }

package lookup

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"

	"github.com/dlclark/regexp2"
)

// perlOptions are the flags of pcre_table(5) and of (?imsxU-imsxU).
type perlOptions struct {
	caseless, multiline, dotAll, extended, ungreedy bool
	anchored, dollarEnd                             bool
}

// parsePerl reads a pattern in the syntax of pcre2pattern(3), byte by byte as in
// the C locale. What package regexp can match it does; the rest is written for a
// backtracking search, with everything spelled out that the two would read
// differently.
func parsePerl(text string, o perlOptions, limit time.Duration) (*pattern, error) {
	p := &perl{perlOptions: o, in: text, names: map[string]int{}}
	p.countGroups()
	p.both(p.caseFlag())
	_, err := p.alternatives(0)
	switch {
	case err != nil:
		return nil, err
	case p.in != "" || p.open:
		return nil, errors.New("unmatched parenthesis")
	case p.twice != "":
		return nil, fmt.Errorf("two groups have the name %s", quoteShort(p.twice))
	}
	linear, back := string(p.linear), string(p.back)
	if o.anchored {
		linear, back = `\A(?:`+linear+")", `\A(?:`+back+")"
	}
	made := &pattern{source: back, groups: p.groups, size: 1, backtracks: true, limit: limit}
	tree, err := syntax.Parse(linear, syntax.Perl)
	if err == nil {
		made.needs, made.size = needsOf(tree), sizeOf(tree)
	}
	if err == nil && !p.backtracks {
		made.source, made.backtracks = linear, false
		if p.newline {
			made.newline = &pattern{source: back, groups: p.groups, backtracks: true, limit: limit}
		}
	}
	if made.backtracks {
		_, err = regexp2.Compile(made.source, regexp2.None)
		if err != nil {
			return nil, fmt.Errorf("cannot be matched: %w", err)
		}
	}
	return made, nil
}

// perl reads a pattern and writes it in two ways: for package regexp, and for a
// backtracking search. When only the latter can match it, the former is a pattern
// that everything matches which the latter matches.
type perl struct {
	perlOptions
	in           string // what is still to be read
	linear, back []byte
	backtracks   bool
	newline      bool // a newline at the end of a key matters
	total        int  // parentheses in the whole pattern
	groups       int  // so far
	names        map[string]int
	twice        string // a name that two groups have
	quoting      bool   // within a class: between \Q and \E
	open         bool   // a comment does not end
	looking      bool   // within a group that only looks
	asking       bool   // within the look of a condition
}

// variable is the width of what may match any number of bytes.
const variable = -1

func (p *perl) both(s string) { p.write(s, s) }

func (p *perl) write(linear, back string) {
	p.linear = append(p.linear, linear...)
	p.back = append(p.back, back...)
}

func (p *perl) caseFlag() string {
	if p.caseless {
		return "(?i)"
	}
	return "(?-i)"
}

func (p *perl) take(token string) bool {
	rest, ok := strings.CutPrefix(p.in, token)
	if ok {
		p.in = rest
	}
	return ok
}

// countGroups finds the names of the parentheses, to which a reference may point
// from before.
func (p *perl) countGroups() {
	for i := 0; i < len(p.in); i++ {
		switch p.in[i] {
		case '\\':
			if strings.HasPrefix(p.in[i:], `\Q`) {
				if end := strings.Index(p.in[i:], `\E`); end >= 0 {
					i += end
				} else {
					i = len(p.in)
				}
			}
			i++
		case '[':
			i += classEnd(p.in[i:])
		case '(':
			p.countGroup(p.in[i:])
		}
	}
}

func (p *perl) countGroup(s string) {
	name, named := groupName(s)
	if !named && strings.HasPrefix(s, "(?") || strings.HasPrefix(s, "(*") {
		return
	}
	p.total++
	if named {
		if p.names[name] != 0 {
			p.twice = name
		}
		p.names[name] = p.total
	}
}

// classEnd returns the offset of the bracket that closes a class.
func classEnd(s string) int {
	i := 1
	if strings.HasPrefix(s[i:], "^") {
		i++
	}
	for first := true; i < len(s); first = false {
		switch {
		case s[i] == '\\':
			i++
		case posixClassEnd(s[i:]) > 0:
			i += posixClassEnd(s[i:]) - 1
		case s[i] == ']' && !first:
			return i
		}
		i++
	}
	return len(s)
}

// alternatives reads up to the end of the group, whose options end with it, and
// returns the widths of its branches.
func (p *perl) alternatives(depth int) (widths []int, err error) {
	if depth > maxNesting {
		return nil, errors.New("parentheses too deep")
	}
	before := p.perlOptions
	for {
		width, err := p.branch(depth)
		if err != nil {
			return nil, err
		}
		widths = append(widths, width)
		if !p.take("|") {
			p.perlOptions = before
			return widths, nil
		}
		p.both("|")
	}
}

func (p *perl) branch(depth int) (width int, err error) {
	for {
		p.skipComments()
		if p.in == "" || p.in[0] == '|' || p.in[0] == ')' {
			return width, nil
		}
		if p.take(`\E`) { // with no \Q before it
			continue
		}
		piece, err := p.piece(depth)
		if err != nil {
			return 0, err
		}
		width = sum(width, piece)
	}
}

func sum(a, b int) int {
	if a == variable || b == variable {
		return variable
	}
	return a + b
}

// one returns the width of a group: that of all its branches.
func one(widths []int) int {
	for _, w := range widths {
		if w != widths[0] {
			return variable
		}
	}
	return widths[0]
}

// skipComments skips (?#...), and with the flag x white space and #... too.
func (p *perl) skipComments() {
	for {
		switch {
		case strings.HasPrefix(p.in, "(?#"):
			closed := false
			_, p.in, closed = strings.Cut(p.in, ")")
			p.open = p.open || !closed
		case p.extended && p.in != "" && isSpace(p.in[0]):
			p.in = p.in[1:]
		case p.extended && strings.HasPrefix(p.in, "#"):
			_, p.in, _ = strings.Cut(p.in, "\n")
		default:
			return
		}
	}
}

// item is an atom as the two engines are told it.
type item struct {
	linear, back string
	width        int
	repeats      bool // a repetition may follow
}

// piece reads an atom with its repetition.
func (p *perl) piece(depth int) (width int, err error) {
	if p.take(`\Q`) {
		quoted, rest, _ := strings.Cut(p.in, `\E`)
		p.in = rest
		return p.quoted(quoted)
	}
	linear, back := len(p.linear), len(p.back)
	atom, err := p.atom(depth)
	if err != nil {
		return 0, err
	}
	atom.linear, atom.back = string(p.linear[linear:]), string(p.back[back:])
	p.linear, p.back = p.linear[:linear], p.back[:back]
	return p.repeat(atom)
}

// quoted writes a literal text. A repetition behind it is of its last byte.
func (p *perl) quoted(s string) (width int, err error) {
	for i := range len(s) {
		lit := literal(s[i])
		if i < len(s)-1 {
			p.both(lit)
			continue
		}
		width, err = p.repeat(item{lit, lit, 1, true})
	}
	return sum(max(len(s)-1, 0), width), err
}

// repeat writes an atom with the repetition that follows it, if there is one.
func (p *perl) repeat(atom item) (width int, err error) {
	for p.skipComments(); strings.HasPrefix(p.in, `\Q\E`) || strings.HasPrefix(p.in, `\E`); p.skipComments() {
		p.in = p.in[strings.Index(p.in, `\E`)+2:]
	}
	op := p.repetition()
	if op == "" {
		p.write(atom.linear, atom.back)
		return atom.width, nil
	}
	if !atom.repeats {
		return 0, errors.New("nothing to repeat")
	}
	for n := range strings.SplitSeq(strings.Trim(op, "{}"), ",") {
		if count, err := strconv.Atoi(n); count > 65535 || errors.Is(err, strconv.ErrRange) {
			return 0, errors.New("too many repetitions")
		}
	}
	lazy, possessive := p.take("?"), false
	if !lazy {
		possessive = p.take("+")
	}
	mark := ""
	if lazy != p.ungreedy && !possessive {
		mark = "?"
	}
	linear, back := "(?:"+atom.linear+")"+op+mark, "(?:"+atom.back+")"+op+mark
	if possessive {
		p.backtracks = true
		back = "(?>" + back + ")"
	}
	p.write(linear, back)
	if n, err := strconv.Atoi(strings.Trim(op, "{}")); err == nil && atom.width != variable {
		return n * atom.width, nil
	}
	return variable, nil
}

// repetition reads *, +, ? or {n,m}. A brace that is none is a literal.
func (p *perl) repetition() string {
	if p.in == "" {
		return ""
	}
	switch c := p.in[0]; c {
	case '*', '+', '?':
		p.in = p.in[1:]
		return string(c)
	case '{':
		counts, rest, ok := strings.Cut(p.in[1:], "}")
		if ok && isCount(counts) {
			p.in = rest
			return "{" + counts + "}"
		}
	}
	return ""
}

func isCount(s string) bool {
	low, high, isRange := strings.Cut(s, ",")
	for _, n := range []string{low, high} {
		if strings.Trim(n, "0123456789") != "" {
			return false
		}
	}
	return low != "" && (isRange || high == "")
}

// atom reads and writes what a repetition applies to.
func (p *perl) atom(depth int) (item, error) {
	c := p.in[0]
	switch {
	case c == '(':
		return p.group(depth)
	case p.take("[[:<:]]"):
		p.backtracks = true
		p.write(`\b`, `\b(?=[0-9A-Za-z_])`)
		return item{}, nil
	case p.take("[[:>:]]"):
		p.backtracks = true
		p.write(`\b`, `\b(?<=[0-9A-Za-z_])`)
		return item{}, nil
	case posixClassEnd(p.in) > 0:
		return item{}, errors.New("a class such as [:alpha:] stands in brackets of its own")
	case c == '[':
		set, err := p.class()
		p.set(set)
		return item{width: 1, repeats: true}, err
	case c == '\\':
		return p.escape()
	case p.repetition() != "":
		return item{}, errors.New("nothing to repeat")
	}
	p.in = p.in[1:]
	switch c {
	case '.':
		p.both(p.dot())
	case '^':
		p.begin()
		return item{}, nil
	case '$':
		p.end(p.multiline, p.dollarEnd)
		return item{}, nil
	default:
		p.both(literal(c))
	}
	return item{width: 1, repeats: true}, nil
}

func (p *perl) dot() string {
	if p.dotAll {
		return `(?s:.)`
	}
	return `[^\n]`
}

// set writes a class as what it is whatever the case flag around it says.
func (p *perl) set(s byteSet) {
	both := s
	both.fold()
	if p.caseless && both != s {
		p.both("(?-i:" + s.String() + ")")
		return
	}
	p.both(s.String())
}

// begin writes ^. With the flag m it is not behind a newline that the key ends with.
func (p *perl) begin() {
	if !p.multiline {
		p.both(`\A`)
		return
	}
	p.newline = true
	p.write(`(?m:^)`, `(?:\A|(?<=\n)(?!\z))`)
}

// end writes $ or \Z: without the flag m it is also before a newline that the key
// ends with.
func (p *perl) end(multiline, only bool) {
	switch {
	case multiline:
		p.write(`(?m:$)`, `(?=\n|\z)`)
	case only:
		p.both(`\z`)
	default:
		p.newline = true
		p.write(`\z`, `(?=\n?\z)`)
	}
}

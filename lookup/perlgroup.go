package lookup

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// looks are the groups that only look, and those that do not go back.
var looks = [...]string{"(?=", "(?!", "(?<=", "(?<!", "(?>"}

func (p *perl) group(depth int) (item, error) {
	for _, open := range looks {
		if p.take(open) {
			return p.look(open, depth)
		}
	}
	if name, ok := groupName(p.in); ok {
		p.in = p.in[strings.IndexAny(p.in, "<'")+1+len(name)+1:]
		return p.capture(depth)
	}
	switch {
	case strings.HasPrefix(p.in, "(*"):
		return item{}, errors.New("verbs such as (*UTF8) are not known")
	case strings.HasPrefix(p.in, "(?P="):
		return p.namedReference()
	case strings.HasPrefix(p.in, "(?("):
		return p.condition(depth)
	case p.take("(?|"):
		return p.branchReset(depth)
	case strings.HasPrefix(p.in, "(?"):
		return p.options(depth)
	}
	p.in = p.in[1:]
	return p.capture(depth)
}

// capture reads the inside of a group that is numbered.
func (p *perl) capture(depth int) (item, error) {
	p.groups++
	p.both("(" + p.caseFlag())
	widths, err := p.closeGroup(depth)
	if err != nil {
		return item{}, err
	}
	return item{width: one(widths), repeats: true}, nil
}

// branchReset reads (?|...), whose branches number their groups alike. Without
// groups that is a group like others.
func (p *perl) branchReset(depth int) (item, error) {
	before := p.groups
	p.both("(?:" + p.caseFlag())
	widths, err := p.closeGroup(depth)
	if err == nil && p.groups != before {
		err = errors.New("(?| with groups in it is not known")
	}
	if err != nil {
		return item{}, err
	}
	return item{width: one(widths), repeats: true}, nil
}

func (p *perl) closeGroup(depth int) (widths []int, err error) {
	if widths, err = p.alternatives(depth + 1); err != nil {
		return nil, err
	}
	return widths, p.closed()
}

// closed reads the end of a group.
func (p *perl) closed() error {
	if !p.take(")") {
		return errors.New("unmatched parenthesis")
	}
	p.both(")")
	return nil
}

// look reads a group that package regexp does not have. It is told nothing of what
// is only looked at, and of a group that does not go back that it does.
func (p *perl) look(open string, depth int) (item, error) {
	p.backtracks = true
	kept := len(p.linear)
	p.write("(?:"+p.caseFlag(), open+p.caseFlag())
	looking := p.looking
	p.looking = looking || open != "(?>"
	widths, err := p.closeGroup(depth)
	p.looking = looking
	if err != nil {
		return item{}, err
	}
	if open == "(?>" {
		return item{width: one(widths), repeats: true}, nil
	}
	if strings.HasPrefix(open, "(?<") && slices.Contains(widths, variable) {
		return item{}, errors.New("a look behind must have a fixed length")
	}
	p.linear = append(p.linear[:kept], "(?:)"...)
	return item{repeats: true}, nil
}

// condition reads (?(1)yes|no), (?(<name>)yes|no) and (?(?=look)yes|no).
func (p *perl) condition(depth int) (item, error) {
	p.backtracks = true
	p.in = p.in[2:]
	kept := len(p.linear)
	otherwise, err := p.asked(depth)
	if err != nil {
		return item{}, err
	}
	p.linear = append(p.linear[:kept], "(?:|"...)
	p.both("(?:)")
	before := p.perlOptions
	yes, err := p.branch(depth + 1)
	if err != nil {
		return item{}, err
	}
	p.write("|", "|"+otherwise) // with nothing behind it, too: regexp2 would fail there
	no := 0
	if p.take("|") {
		no, err = p.branch(depth + 1)
	}
	p.perlOptions = before
	switch {
	case err != nil:
		return item{}, err
	case strings.HasPrefix(p.in, "|"):
		return item{}, errors.New("a condition has two branches at most")
	}
	return item{width: one([]int{yes, no}), repeats: true}, p.closed()
}

// asked reads what a condition asks and returns what its second branch starts with.
// A look is written in front of the first branch, and its contrary in front of the
// second: regexp2 miscounts the groups behind a condition that is a look.
func (p *perl) asked(depth int) (otherwise string, err error) {
	if !slices.ContainsFunc(looks[:4], func(open string) bool { return strings.HasPrefix(p.in, open) }) {
		name, rest, ok := strings.Cut(p.in[1:], ")")
		n, err := p.groupNumber(strings.Trim(name, "<>'"))
		if !ok || err != nil {
			return "", errors.Join(errors.New("bad condition"), err)
		}
		p.in = rest
		p.back = append(p.back, fmt.Sprintf("(?(%d)", n)...)
		return "", nil
	}
	if p.asking {
		return "", errors.New("a condition within a condition's look is not known")
	}
	p.back = append(p.back, "(?:"...)
	start, groups := len(p.back), p.groups
	p.asking = true
	_, err = p.group(depth + 1)
	p.asking = false
	if err == nil && p.groups != groups {
		err = errors.New("groups in a condition's look are not known")
	}
	return contrary(string(p.back[start:])), err
}

// contrary turns (?= and (?<= into (?! and (?<!, and back.
func contrary(look string) string {
	i := strings.IndexAny(look, "=!")
	if i < 0 {
		return look
	}
	mark := "="
	if look[i] == '=' {
		mark = "!"
	}
	return look[:i] + mark + look[i+1:]
}

// options reads (?i), (?i:...), (?:...) and so on.
func (p *perl) options(depth int) (item, error) {
	letters, end := p.in[2:], strings.IndexAny(p.in[2:], ":)")
	if end < 0 {
		return item{}, errors.New("unmatched parenthesis")
	}
	colon := letters[end] == ':'
	letters = letters[:end]
	before := p.perlOptions
	if err := p.setOptions(letters); err != nil {
		return item{}, err
	}
	p.in = p.in[2+end+1:]
	if !colon {
		p.both(p.caseFlag())
		return item{}, nil
	}
	p.both("(?:" + p.caseFlag())
	widths, err := p.closeGroup(depth)
	p.perlOptions = before
	if err != nil {
		return item{}, err
	}
	return item{width: one(widths), repeats: true}, nil
}

// setOptions heeds the letters of (?i-m), "i-m".
func (p *perl) setOptions(letters string) error {
	caret := strings.LastIndexByte(letters, '^')
	hyphens := strings.Count(letters, "-")
	if caret > 0 || hyphens > 1 || caret == 0 && hyphens > 0 || strings.Contains(letters, "xx") {
		return fmt.Errorf("(?%s is not known", letters)
	}
	on := true
	for i := range len(letters) {
		switch letters[i] {
		case '-':
			on = false
		case '^':
			p.caseless, p.multiline, p.dotAll, p.extended = false, false, false, false
		case 'i':
			p.caseless = on
		case 'm':
			p.multiline = on
		case 's':
			p.dotAll = on
		case 'x':
			p.extended = on
		case 'U':
			p.ungreedy = on
		default:
			return fmt.Errorf("(?%s is not known", letters)
		}
	}
	return nil
}

// namedReference reads (?P=name).
func (p *perl) namedReference() (item, error) {
	name, rest, ok := strings.Cut(p.in[len("(?P="):], ")")
	if !ok {
		return item{}, errors.New("unmatched parenthesis")
	}
	p.in = rest
	return p.reference(name)
}

// reference writes a reference to what a group matched.
func (p *perl) reference(to string) (item, error) {
	n, err := p.groupNumber(to)
	if err != nil {
		return item{}, err
	}
	p.backtracks = true
	p.write(`(?s:.*)`, fmt.Sprintf(`(?:\%d)`, n))
	return item{width: variable, repeats: true}, nil
}

// groupNumber returns the number of a group by its number, "-1", "+1" or its name.
func (p *perl) groupNumber(to string) (int, error) {
	n, err := strconv.Atoi(to)
	switch {
	case err != nil:
		n = p.names[to]
	case n < 0:
		n += p.groups + 1
	case strings.HasPrefix(to, "+"):
		n += p.groups
	}
	if n < 1 || n > p.total {
		return 0, fmt.Errorf("there is no group %s", quoteShort(to))
	}
	return n, nil
}

// groupName returns the name of a named group that s starts with.
func groupName(s string) (name string, ok bool) {
	for _, form := range [][2]string{{"(?P<", ">"}, {"(?<", ">"}, {"(?'", "'"}} {
		rest, found := strings.CutPrefix(s, form[0])
		if !found || strings.HasPrefix(rest, "=") || strings.HasPrefix(rest, "!") {
			continue
		}
		if name, _, ok = strings.Cut(rest, form[1]); ok && isName(name) {
			return name, true
		}
	}
	return "", false
}

func isName(s string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && s[i] != '_' || i == 0 && isDigit(s[i]) {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

package lookup

import "strings"

// A rule is a line of a regexp or cidr table: a pattern with a result, or the
// head of a block.
type rule[P any] struct {
	pattern P
	negate  bool // holds when the (first) pattern does not match
	block   bool // "if": there is no result, and the next rules up to end depend on it
	end     int  // of a block: index of the first rule behind it
	result  result
}

// rules is the list of them as it is built.
type rules[P any] struct {
	list []rule[P]
	open []int // indexes of the blocks that wait for their endif
}

func (r *rules[P]) add(next rule[P]) {
	if next.block {
		r.open = append(r.open, len(r.list))
	}
	r.list = append(r.list, next)
}

// endif closes the innermost block. false means that there is none.
func (r *rules[P]) endif() bool {
	if len(r.open) == 0 {
		return false
	}
	last := len(r.open) - 1
	r.list[r.open[last]].end = len(r.list)
	r.open = r.open[:last]
	return true
}

// finish closes what was left open and returns how many blocks that were.
func (r *rules[P]) finish() int {
	n := len(r.open)
	for r.endif() {
		continue
	}
	return n
}

// negation cuts the exclamation marks off a rule. Two of them cancel out.
func negation(line string) (negate bool, rest string) {
	for strings.HasPrefix(line, "!") {
		negate = !negate
		line = strings.TrimLeft(line[1:], space)
	}
	return negate, line
}

// keyword reports whether line starts with word, in any case, and returns what
// follows it.
func keyword(line, word string) (rest string, ok bool) {
	n := len(word)
	if len(line) < n || !strings.EqualFold(line[:n], word) {
		return "", false
	}
	if len(line) > n && isAlnum(line[n]) {
		return "", false
	}
	return strings.TrimLeft(line[n:], space), true
}

func isAlnum(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

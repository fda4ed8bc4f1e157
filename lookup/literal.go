package lookup

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"
)

// A key can only match a pattern when it holds certain texts. needs are found in
// the syntax tree of a pattern: of each set at least one text is in every key
// that matches, in lower case and byte by byte.
type needs struct {
	sets     [][]string
	prefixes []string // with one of which the key starts; nil: with anything
}

const (
	// mostTexts is how many texts one set may have, and longestText how long one may
	// be: more tell hardly more.
	mostTexts   = 16
	longestText = 64
	// shortestText is how long a text must be to be looked for.
	shortestText = 2
	// mostSets is how many sets of one pattern are kept.
	mostSets = 8
)

// needsOf analyses a pattern. Its sets are those that are worth looking for.
func needsOf(re *syntax.Regexp) needs {
	a := analyse(re)
	a.flush()
	n := needs{prefixes: a.prefixes}
	for _, set := range a.sets {
		if len(n.sets) < mostSets && shortest(set) >= shortestText {
			n.sets = append(n.sets, set)
		}
	}
	return n
}

func shortest(set []string) int {
	n := longestText
	for _, s := range set {
		n = min(n, len(s))
	}
	return n
}

// analysis is what is known of a part of a pattern: all the texts that it matches,
// as long as they are few, and the sets that it needs anyhow.
type analysis struct {
	exact    []string // nil: not known
	anchored bool     // exact starts where the key does
	sets     [][]string
	prefixes []string
}

// flush gives up knowing all the texts.
func (a *analysis) flush() {
	if a.exact == nil {
		return
	}
	if a.anchored && a.prefixes == nil && shortest(a.exact) > 0 {
		a.prefixes = a.exact
	}
	if !slices.Contains(a.exact, "") {
		a.sets = append(a.sets, a.exact)
	}
	a.exact, a.anchored = nil, false
}

func analyse(re *syntax.Regexp) analysis {
	switch re.Op {
	case syntax.OpLiteral:
		return literalText(re.Rune)
	case syntax.OpCharClass:
		return classTexts(re.Rune)
	case syntax.OpBeginText:
		return analysis{exact: []string{""}, anchored: true}
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return analysis{exact: []string{""}}
	case syntax.OpCapture:
		return analyse(re.Sub[0])
	case syntax.OpConcat:
		return concatenation(re.Sub)
	case syntax.OpAlternate:
		return alternation(re.Sub)
	case syntax.OpQuest:
		return optional(re.Sub[0])
	case syntax.OpPlus:
		return repeated(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return repeated(re.Sub[0])
		}
	}
	return analysis{}
}

// lowerByte returns the byte that a code point of widen stands for, in lower case.
func lowerByte(r rune) (byte, bool) {
	switch {
	case 'A' <= r && r <= 'Z':
		return byte(r) + 'a' - 'A', true
	case r < utf8.RuneSelf:
		return byte(r), true
	case r >= highBytes+utf8.RuneSelf && r <= highBytes+0xff:
		return byte(r - highBytes), true
	}
	return 0, false // in no key
}

func literalText(runes []rune) analysis {
	var b strings.Builder
	for _, r := range runes {
		c, ok := lowerByte(r)
		if !ok || b.Len() == longestText {
			a := analysis{exact: []string{b.String()}}
			a.flush()
			return a
		}
		b.WriteByte(c)
	}
	return analysis{exact: []string{b.String()}}
}

// classTexts knows small classes, such as those of one letter in both cases.
func classTexts(ranges []rune) analysis {
	var texts []string
	for i := 0; i < len(ranges); i += 2 {
		if ranges[i+1]-ranges[i] >= mostTexts {
			return analysis{}
		}
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			if c, ok := lowerByte(r); ok {
				texts = append(texts, string([]byte{c}))
			}
		}
		if len(texts) > 2*mostTexts {
			return analysis{}
		}
	}
	return analysis{exact: few(texts)}
}

// few returns a set with each text once, or nil when it is too large to be kept.
func few(texts []string) []string {
	slices.Sort(texts)
	texts = slices.Compact(texts)
	if len(texts) > mostTexts {
		return nil
	}
	return texts
}

// concatenation knows all the texts only when each of its parts does and they are
// few. Otherwise it knows the runs of parts that do.
func concatenation(subs []*syntax.Regexp) analysis {
	all := analysis{exact: []string{""}}
	whole := true
	for i, sub := range subs {
		next := analyse(sub)
		if i == 0 {
			all.anchored, all.prefixes = next.anchored, next.prefixes
		}
		all.sets = append(all.sets, next.sets...)
		joined := product(all.exact, next.exact)
		if joined == nil {
			whole = false
			all.flush()
			joined = next.exact
		}
		all.exact = joined
	}
	if !whole {
		all.flush()
	}
	return all
}

// product returns each text of a with each of b behind it, or nil when these are
// not known or too many.
func product(a, b []string) []string {
	if a == nil || b == nil || len(a)*len(b) > mostTexts {
		return nil
	}
	texts := make([]string, 0, len(a)*len(b))
	for _, first := range a {
		for _, second := range b {
			if len(first)+len(second) > longestText {
				return nil
			}
			texts = append(texts, first+second)
		}
	}
	return few(texts)
}

// alternation needs one of the texts that its branches need.
func alternation(subs []*syntax.Regexp) analysis {
	var exact, needed []string
	allExact, allNeed := true, true
	for _, sub := range subs {
		a := analyse(sub)
		allExact = allExact && a.exact != nil
		exact = append(exact, a.exact...)
		a.flush()
		best := bestSet(a.sets)
		allNeed = allNeed && best != nil
		needed = append(needed, best...)
	}
	if allExact {
		if exact = few(exact); exact != nil {
			return analysis{exact: exact}
		}
	}
	if needed = few(needed); allNeed && needed != nil {
		return analysis{sets: [][]string{needed}}
	}
	return analysis{}
}

// bestSet returns the set whose shortest text is the longest.
func bestSet(sets [][]string) (best []string) {
	for _, set := range sets {
		if best == nil || shortest(set) > shortest(best) {
			best = set
		}
	}
	return best
}

func optional(sub *syntax.Regexp) analysis {
	a := analyse(sub)
	if a.exact == nil || a.anchored {
		return analysis{}
	}
	return analysis{exact: few(append(slices.Clone(a.exact), ""))}
}

func repeated(sub *syntax.Regexp) analysis {
	a := analyse(sub)
	a.flush()
	return analysis{sets: a.sets}
}

package lookup

import "slices"

// prefilter tells which of many patterns a key can match at all: those of whose
// texts it holds one. It is an Aho-Corasick automaton over the bytes of the key
// in lower case.
//
// A state takes 18 bytes, and there is at most one for each byte of the texts.
type prefilter struct {
	root [256]uint32 // states behind the first byte
	// The children of a state stand in a row: numbers follow the distance from
	// the root. Those of state i are first[i] to first[i+1]-1.
	first []uint32
	label []byte   // by which each is reached
	fail  []uint32 // the longest suffix that is a state too
	dict  []uint32 // the longest suffix that is, or ends with, a text; 0 means none
	found []uint32 // of a state that is a text: its number in rules, plus 1
	rules [][]uint32
	// always has the rules for which nothing is looked for.
	always ruleSet
	looked ruleSet // the others
}

// ruleSet is a set of rules.
type ruleSet []uint64

func newRuleSet(n int) ruleSet { return make(ruleSet, (n+63)/64) }

func (b ruleSet) set(i uint32) { b[i/64] |= 1 << (i % 64) }

func (b ruleSet) has(i uint32) bool { return b[i/64]&(1<<(i%64)) != 0 }

// newPrefilter makes a filter for patterns that need these texts, by their number.
// negated are those that also count when they do not match.
func newPrefilter(all []needs, negated func(i int) bool) *prefilter {
	f := &prefilter{always: newRuleSet(len(all)), looked: newRuleSet(len(all))}
	byText := map[string][]uint32{}
	for i, set := range choose(all) {
		for _, text := range set {
			byText[text] = append(byText[text], uint32(i))
		}
		if set != nil {
			f.looked.set(uint32(i))
		}
		if set == nil || negated(i) {
			f.always.set(uint32(i))
		}
	}
	f.build(byText)
	return f
}

// choose returns one set for each pattern: the one whose texts the fewest
// patterns have. That all have "subject:" tells nothing, and where a key begins is
// looked at anyway.
func choose(all []needs) [][]string {
	count := map[string]int{}
	for i := range all {
		for _, set := range all[i].sets {
			for _, text := range set {
				count[text]++
			}
		}
	}
	chosen := make([][]string, len(all))
	for i := range all {
		var best float64
		for _, set := range all[i].sets {
			cost := 0.0
			for _, text := range set {
				cost += float64(count[text]) / float64(len(set))
			}
			if slices.Equal(set, all[i].prefixes) {
				cost += float64(len(all))
			}
			if c := chosen[i]; c == nil || cost < best || cost == best && shortest(set) > shortest(c) {
				chosen[i], best = set, cost
			}
		}
	}
	return chosen
}

// build makes the states, those that are one byte deeper after the others.
func (f *prefilter) build(byText map[string][]uint32) {
	texts := make([]string, 0, len(byText))
	for text := range byText {
		texts = append(texts, text)
	}
	slices.Sort(texts)
	f.addState(0, 0)
	f.first[0] = 1
	// Of each state of a level: which of the sorted texts begin with it.
	level := []span{{0, 0, len(texts)}}
	for depth := 0; len(level) > 0; depth++ {
		var next []span
		for _, s := range level {
			f.first[s.state] = uint32(len(f.label))
			for from := s.from; from < s.to; {
				if len(texts[from]) == depth {
					f.rules = append(f.rules, byText[texts[from]])
					f.found[s.state] = uint32(len(f.rules))
					from++
					continue
				}
				c, to := texts[from][depth], from+1
				for to < s.to && texts[to][depth] == c {
					to++
				}
				next = append(next, span{f.addState(c, s.state), from, to})
				from = to
			}
		}
		level = next
	}
	f.first = append(f.first, uint32(len(f.label)))
	f.link()
}

// span is a state and the texts that begin with it.
type span struct {
	state    uint32
	from, to int
}

// addState makes a state; its fail is its parent until link.
func (f *prefilter) addState(label byte, parent uint32) uint32 {
	f.label = append(f.label, label)
	f.fail = append(f.fail, parent)
	f.dict = append(f.dict, 0)
	f.found = append(f.found, 0)
	f.first = append(f.first, 0)
	return uint32(len(f.label) - 1)
}

// link finds where to go on when no child fits, in the order of the depth.
func (f *prefilter) link() {
	for i := f.first[0]; i < f.first[1]; i++ {
		f.root[f.label[i]] = i
	}
	for i := uint32(1); i < uint32(len(f.label)); i++ {
		parent := f.fail[i]
		f.fail[i] = 0
		if parent != 0 {
			f.fail[i] = f.next(f.fail[parent], f.label[i])
		}
		to := f.fail[i]
		if f.found[to] != 0 {
			f.dict[i] = to
		} else {
			f.dict[i] = f.dict[to]
		}
	}
}

// next returns the state behind a byte in lower case.
func (f *prefilter) next(state uint32, c byte) uint32 {
	for state != 0 {
		for i := f.first[state]; i < f.first[state+1]; i++ {
			if f.label[i] == c {
				return i
			}
		}
		state = f.fail[state]
	}
	return f.root[c]
}

// hits adds the rules of whose texts the key holds one. seen is empty, and has room
// for all texts: each counts once, however often a hostile key repeats it.
func (f *prefilter) hits(key string, hits, seen ruleSet) {
	if len(f.label) == 1 {
		return
	}
	state := uint32(0)
	for i := 0; i < len(key); i++ {
		c := key[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		state = f.next(state, c)
		for s := state; s != 0; s = f.dict[s] {
			if n := f.found[s]; n != 0 && !seen.has(n-1) {
				seen.set(n - 1)
				for _, rule := range f.rules[n-1] {
					hits.set(rule)
				}
			}
		}
	}
}

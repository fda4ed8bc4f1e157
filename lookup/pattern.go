package lookup

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dlclark/regexp2"
)

// pattern is a regular expression that is compiled when it is first needed: most
// rules of a big table never are.
type pattern struct {
	source  string // for the package that matches it
	groups  int
	size    int  // about how many instructions its program has
	longest bool // the longest of the leftmost matches counts, not the first
	// backtracks says that only a backtracking search can match it; limit bounds
	// that.
	backtracks bool
	limit      time.Duration
	// newline is another form of it for keys that end with a newline; nil means that
	// they are like others.
	newline *pattern
	needs   needs
	program atomic.Pointer[program]
}

// program is a compiled pattern: one of the two.
type program struct {
	linear *regexp.Regexp
	back   *regexp2.Regexp
}

// newLinear makes a pattern of an expression in the syntax of package regexp.
func newLinear(source string, longest bool) (*pattern, error) {
	tree, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		return nil, err
	}
	return &pattern{source: source, longest: longest, groups: tree.MaxCap(), size: sizeOf(tree), needs: needsOf(tree)}, nil
}

func sizeOf(re *syntax.Regexp) int {
	n := max(len(re.Rune), 1)
	for _, sub := range re.Sub {
		n += sizeOf(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return n
}

// maxPrograms is how many patterns of a table are compiled at a time. A program
// takes some kilobytes.
const maxPrograms = 4096

// programs are the compiled patterns of a table, oldest first.
type programs struct {
	mu   sync.Mutex
	kept []*pattern
}

// of returns the program of a pattern. When there are too many, the older half of
// them is forgotten.
func (c *programs) of(p *pattern) (*program, error) {
	if prog := p.program.Load(); prog != nil {
		return prog, nil
	}
	prog, err := p.compile()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.program.Swap(prog) != nil {
		return prog, nil // somebody else was faster
	}
	if len(c.kept) == maxPrograms {
		for _, old := range c.kept[:maxPrograms/2] {
			old.program.Store(nil)
		}
		c.kept = append(c.kept[:0], c.kept[maxPrograms/2:]...)
	}
	c.kept = append(c.kept, p)
	return prog, nil
}

// longestKept is how long a key may be, in bytes, that is searched in by backtracking
// with a program that is kept. regexp2 keeps the stack of a search for the next one,
// some 100 bytes for each of the key, and never gives it back.
const longestKept = 1024

// forKey returns the program of a pattern in its form for a key.
func (c *programs) forKey(p *pattern, key string) (*program, error) {
	p = p.form(key)
	if p.backtracks && len(key) > longestKept {
		return p.compile()
	}
	return c.of(p)
}

func (p *pattern) compile() (*program, error) {
	if p.backtracks {
		re, err := regexp2.Compile(p.source, regexp2.None)
		if err != nil {
			return nil, fmt.Errorf("pattern: %w", err)
		}
		re.MatchTimeout = p.limit
		return &program{back: re}, nil
	}
	re, err := regexp.Compile(p.source)
	if err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	if p.longest {
		re.Longest()
	}
	return &program{linear: re}, nil
}

// match reports whether a key matches. It is given as it is and widened. late is
// asked during a long search whether that is to end.
func (c *programs) match(p *pattern, key, wide string, late func() error) (bool, error) {
	if !p.needs.begin(key) {
		return false, nil
	}
	prog, err := c.forKey(p, wide)
	switch {
	case err != nil:
		return false, err
	case prog.linear == nil:
		ok, err := prog.back.MatchString(wide)
		if err != nil {
			err = errLate
		}
		return ok, err
	case late == nil:
		return prog.linear.MatchString(wide), nil
	}
	r := newWatched(p, wide, late)
	ok := prog.linear.MatchReader(r)
	return ok && r.err == nil, r.err
}

// form returns the pattern as it is for a key.
func (p *pattern) form(key string) *pattern {
	if p.newline != nil && strings.HasSuffix(key, "\n") {
		return p.newline
	}
	return p
}

// submatches returns what the parentheses matched, the whole match first.
func (c *programs) submatches(p *pattern, wide string, late func() error) ([]string, error) {
	prog, err := c.forKey(p, wide)
	switch {
	case err != nil:
		return nil, err
	case prog.linear != nil && late == nil:
		return prog.linear.FindStringSubmatch(wide), nil
	case prog.linear != nil:
		r := newWatched(p, wide, late)
		at := prog.linear.FindReaderSubmatchIndex(r)
		return cutOut(wide, at), r.err
	}
	m, err := prog.back.FindStringMatch(wide)
	if m == nil || err != nil {
		return nil, errLate
	}
	texts := make([]string, 0, p.groups+1)
	for _, g := range m.Groups() {
		texts = append(texts, g.String())
	}
	return texts, nil
}

// cutOut returns the parts of a text that stand between pairs of offsets; -1 is
// nowhere.
func cutOut(text string, at []int) []string {
	parts := make([]string, len(at)/2)
	for i := range parts {
		if at[2*i] >= 0 {
			parts[i] = text[at[2*i]:at[2*i+1]]
		}
	}
	return parts
}

// begin reports whether a key starts with one of the prefixes.
func (n *needs) begin(key string) bool {
	if n.prefixes == nil {
		return true
	}
	for _, prefix := range n.prefixes {
		if len(key) >= len(prefix) && equalLower(key[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}

// equalLower compares with a text in lower case, as far as ASCII goes.
func equalLower(s, lower string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

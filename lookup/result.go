package lookup

import (
	"fmt"
	"strconv"
	"strings"
)

// result is what a rule gives: text with the parts of the key in it that
// matched the pattern's parentheses.
type result struct {
	text  string // the whole of it when parts is empty
	parts []part
}

// part is a literal text, or the number of a parenthesis when that is not 0.
type part struct {
	text  string
	group int
}

// parseResult reads the right-hand side of a rule whose pattern has as many
// parentheses as groups says: $1, ${1} and $(1) stand for what they matched,
// $$ for a dollar.
func parseResult(s string, groups int) (result, error) {
	r := result{text: s}
	if !strings.Contains(s, "$") {
		return r, nil
	}
	var literal strings.Builder
	for s != "" {
		text, rest, found := strings.Cut(s, "$")
		literal.WriteString(text)
		if !found {
			break
		}
		if strings.HasPrefix(rest, "$") {
			literal.WriteByte('$')
			s = rest[1:]
			continue
		}
		name, after, err := reference(rest)
		if err != nil {
			return result{}, err
		}
		group, err := groupNumber(name, groups)
		if err != nil {
			return result{}, err
		}
		r.parts = append(r.parts, part{text: literal.String()}, part{group: group})
		literal.Reset()
		s = after
	}
	if len(r.parts) == 0 {
		return result{text: literal.String()}, nil
	}
	r.parts = append(r.parts, part{text: literal.String()})
	return r, nil
}

// reference cuts the name that follows a dollar off s.
func reference(s string) (name, rest string, err error) {
	if s != "" && (s[0] == '{' || s[0] == '(') {
		closing := map[byte]string{'{': "}", '(': ")"}[s[0]]
		name, rest, ok := strings.Cut(s[1:], closing)
		if !ok {
			return "", "", fmt.Errorf("no %q after $%c", closing, s[0])
		}
		return name, rest, nil
	}
	n := 0
	for n < len(s) && (isAlnum(s[n]) || s[n] == '_') {
		n++
	}
	return s[:n], s[n:], nil
}

func groupNumber(name string, groups int) (int, error) {
	n, err := strconv.Atoi(name)
	switch {
	case err != nil:
		return 0, fmt.Errorf("replacement index %q is not a number", name)
	case n < 1 || n > groups:
		return 0, fmt.Errorf("replacement index %d is out of range, the pattern has %d", n, groups)
	}
	return n, nil
}

// expand returns the result with what group returns for its parentheses.
func (r result) expand(group func(n int) string) string {
	if len(r.parts) == 0 {
		return r.text
	}
	var b strings.Builder
	for _, p := range r.parts {
		if p.group == 0 {
			b.WriteString(p.text)
			continue
		}
		b.WriteString(group(p.group))
	}
	return b.String()
}

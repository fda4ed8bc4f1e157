package rewrite

import (
	"fmt"
	"strings"
)

// ParseAddresses reads the addresses of a header field, or of a command line (RFC
// 5322, section 3.4): what stands in angle brackets, or between commas. Comments, the
// names beside the addresses, the names of groups and source routes are left out.
// Words without brackets are an address each when all of them have an @, since some
// write "a@x b@x". The error wraps ErrSyntax.
func ParseAddresses(text string) ([]Address, error) {
	var list []Address
	s := scanner{text: text}
	for s.next() {
		words, err := s.addresses()
		if err != nil {
			return nil, err
		}
		for _, word := range words {
			a, err := ParseAddress(dropRoute(word))
			if err == nil && strings.HasSuffix(word, "@") {
				err = fmt.Errorf("%w: no domain in %.100q", ErrSyntax, word)
			}
			if err != nil {
				return nil, err
			}
			list = append(list, a)
		}
	}
	return list, nil
}

// span is a piece of a text.
type span struct{ start, end int }

// scanner cuts a list of addresses into its items.
type scanner struct {
	text string
	at   int  // where the next item begins
	list bool // of a table: it has no groups, and ":", "," and ";" are letters

	words  []span // of the item, outside of brackets and comments
	angles []span // what stands in angle brackets
	broken bool   // brackets that do not close, or open twice
}

// next goes on to the next item, which may be empty. It is false at the end.
func (s *scanner) next() bool {
	s.words, s.angles, s.broken = s.words[:0], s.angles[:0], false
	if s.at >= len(s.text) {
		return false
	}
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case strings.IndexByte(space, c) >= 0:
			s.at++
		case c == '(':
			s.at = skipComment(s.text, s.at)
		case c == '<':
			s.bracket()
		case c == ':' && !s.list: // what stood before is the name of a group
			s.words = s.words[:0]
			s.at++
		case (c == ',' || c == ';') && !s.list:
			s.at++
			return true
		default:
			end := s.wordEnd()
			s.words = append(s.words, span{s.at, end})
			s.at = end
		}
	}
	return true
}

// bracket reads what stands in angle brackets.
func (s *scanner) bracket() {
	for i := s.at + 1; i < len(s.text); i++ {
		switch s.text[i] {
		case '"':
			i = skipQuoted(s.text, i) - 1
		case '>':
			s.angles = append(s.angles, span{s.at + 1, i})
			s.at = i + 1
			return
		case '<':
			s.broken = true
			s.at = i
			return
		}
	}
	s.broken = true
	s.at = len(s.text)
}

func (s *scanner) cut(p span) string { return s.text[p.start:p.end] }

// addresses returns what the item has as addresses.
func (s *scanner) addresses() ([]string, error) {
	if s.broken || len(s.angles) > 1 {
		return nil, fmt.Errorf("%w: brackets in %.100q", ErrSyntax, s.text)
	}
	if len(s.angles) == 1 {
		address := strings.TrimSpace(s.cut(s.angles[0]))
		if address == "" {
			return nil, fmt.Errorf("%w: no address in %.100q", ErrSyntax, s.text)
		}
		return []string{address}, nil
	}
	words := s.joined()
	for _, word := range words {
		if _, domain := Split(word); len(words) > 1 && domain == "" {
			return nil, fmt.Errorf("%w: white space in %.100q", ErrSyntax, s.text)
		}
	}
	return words, nil
}

// joined returns the words with "user @ example . org" put together (RFC 5322,
// section 4.4).
func (s *scanner) joined() (list []string) {
	var together strings.Builder
	open := false
	for i, p := range s.words {
		word := s.cut(p)
		second := word[0] == '@' && strings.Contains(together.String(), "@")
		if i > 0 && (second || !open && word[0] != '@' && word[0] != '.') {
			list = append(list, together.String())
			together.Reset()
		}
		together.WriteString(word)
		open = strings.HasSuffix(word, "@") || strings.HasSuffix(word, ".")
	}
	if len(s.words) > 0 {
		list = append(list, together.String())
	}
	return list
}

// skipComment returns the end of the comment that begins at i. Comments nest.
func skipComment(raw string, i int) int {
	depth := 0
	for ; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(raw)
}

// skipQuoted returns the end of the quoted string that begins at i.
func skipQuoted(raw string, i int) int {
	for i++; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(raw)
}

// wordEnd returns the end of the word that begins here. Quoted strings and address
// literals are part of words.
func (s *scanner) wordEnd() int {
	ends := space + "(<,;"
	if s.list {
		ends = space + "(<"
	}
	literal := false
	i := s.at
	for i < len(s.text) {
		switch c := s.text[i]; {
		case c == '"':
			i = skipQuoted(s.text, i)
			continue
		case c == '\\':
			i++
		case c == '[':
			literal = true
		case c == ']':
			literal = false
		case strings.IndexByte(ends, c) >= 0, c == ':' && !literal && !s.list:
			return i
		}
		i++
	}
	return min(i, len(s.text))
}

package main

import (
	"fmt"
	"strings"

	"github.com/mtakit/mtakit/lookup/rewrite"
)

// addresses finds the addresses in a field, or in an argument of the command line
// (RFC 5322, section 3.4): what stands in angle brackets, or between commas.
// Comments are skipped, and so are the names of groups. Words without brackets are
// an address each when all of them have an @, since some write "a@x b@x".
func addresses(value string) (list []string, err error) {
	s := scanner{text: value}
	for s.next() {
		found, err := s.item()
		if err != nil {
			return nil, err
		}
		for _, word := range found {
			a, err := rewrite.ParseAddress(route(word))
			if err != nil {
				return nil, err
			}
			list = append(list, a.String())
		}
	}
	return list, nil
}

// route drops a source route (RFC 5322, section 4.4): "@a,@b:user@c" is "user@c".
func route(address string) string {
	if strings.HasPrefix(address, "@") {
		if _, rest, ok := strings.Cut(address, ":"); ok {
			return rest
		}
	}
	return address
}

// scanner cuts a list into items.
type scanner struct {
	text  string
	i     int
	words []string // of the item, without brackets
	angle string   // what stood in brackets
	angled,
	some bool // there was anything
}

// next goes on to the next item, and reports whether there is one.
func (s *scanner) next() bool {
	s.words, s.angle, s.angled, s.some = nil, "", false, false
	return s.i < len(s.text)
}

// item reads up to a separator.
func (s *scanner) item() ([]string, error) {
	for s.i < len(s.text) {
		switch c := s.text[s.i]; c {
		case ' ', '\t', '\r', '\n':
			s.i++
		case '(':
			s.i = comment(s.text, s.i)
		case '<':
			end := bracket(s.text, s.i)
			if end < 0 || s.angled {
				return nil, fmt.Errorf("%w: brackets in %.100q", rewrite.ErrSyntax, s.text)
			}
			s.angled, s.angle, s.i = true, strings.TrimSpace(s.text[s.i+1:end]), end+1
		case ':': // what stood before is the name of a group
			s.i++
			s.words = nil
		case ',', ';':
			s.i++
			return s.found()
		default:
			end := word(s.text, s.i)
			s.words = append(s.words, s.text[s.i:end])
			s.i = end
		}
	}
	return s.found()
}

// found returns the addresses of the item.
func (s *scanner) found() ([]string, error) {
	if s.angled {
		if s.angle == "" {
			return nil, fmt.Errorf("%w: no address in %.100q", rewrite.ErrSyntax, s.text)
		}
		return []string{s.angle}, nil
	}
	words := joined(s.words)
	if len(words) > 1 {
		for _, w := range words {
			if _, domain := rewrite.Split(w); domain == "" {
				return nil, fmt.Errorf("%w: white space in %.100q", rewrite.ErrSyntax, s.text)
			}
		}
	}
	return words, nil
}

// joined puts "user @ example . org" together (RFC 5322, section 4.4).
func joined(words []string) (list []string) {
	var together strings.Builder
	open := false
	for i, w := range words {
		if i > 0 && !open && w[0] != '@' && w[0] != '.' {
			list = append(list, together.String())
			together.Reset()
		}
		together.WriteString(w)
		open = strings.HasSuffix(w, "@") || strings.HasSuffix(w, ".")
	}
	if len(words) > 0 {
		list = append(list, together.String())
	}
	return list
}

// comment returns the end of the comment that begins at i. Comments nest.
func comment(s string, i int) int {
	depth := 0
	for ; i < len(s); i++ {
		switch s[i] {
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
	return len(s)
}

// quoted returns the end of the quoted string that begins at i.
func quoted(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// bracket returns where the bracket closes that opens at i, or -1.
func bracket(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '"':
			i = quoted(s, i) - 1
		case '>':
			return i
		case '<':
			return -1
		}
	}
	return -1
}

// word returns the end of the word that begins at i. Quoted strings and address
// literals are parts of words.
func word(s string, i int) int {
	literal := false
	for i < len(s) {
		switch c := s[i]; {
		case c == '"':
			i = quoted(s, i)
			continue
		case c == '[':
			literal = true
		case c == ']':
			literal = false
		case strings.IndexByte(" \t\r\n(<,;", c) >= 0, c == ':' && !literal:
			return i
		}
		i++
	}
	return i
}

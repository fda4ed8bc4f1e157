package rewrite

import (
	"fmt"
	"slices"
	"strings"
)

// Kind says what an item of an aliases(5) list is.
type Kind int

const (
	ToAddress Kind = iota
	ToCommand      // |command
	ToFile         // /file/name
	ToInclude      // :include:/file/name
)

// String returns the item as manual pages spell it: "address", "|command",
// "/file", ":include:".
func (k Kind) String() string {
	names := [...]string{"address", "|command", "/file", ":include:"}
	if k < 0 || int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// Item is one destination of an alias.
type Item struct {
	Kind Kind
	// Text is the address in wire form, perhaps without a domain; or the command
	// without its bar, or the name of the file.
	Text string
	// Own is set for an address behind a backslash, `\user`: the user's own mailbox,
	// without aliases and .forward.
	Own bool
}

// ParseList reads the right-hand side of aliases(5), virtual(5) or canonical(5):
// addresses, commands, files and includes, parted by commas. Each may stand in
// double quotes; "(comments)" and the words before "<address>" are dropped.
// Words that are parted by white space alone are addresses of their own. The
// error wraps ErrSyntax.
func ParseList(value string) ([]Item, error) {
	var items []Item
	for rest := value; rest != ""; {
		var word string
		word, rest = nextItem(rest)
		if word == "" {
			continue
		}
		more, err := parseItem(word)
		if err != nil {
			return nil, err
		}
		items = append(items, more...)
	}
	return items, nil
}

// space is what parts words. A no-break space and its like are letters of an address.
const space = " \t\n\v\f\r"

// nextItem cuts value at the first comma that is not quoted, commented or in
// angle brackets, and returns what stands before it without comments and the
// white space around.
func nextItem(value string) (item, rest string) {
	var b strings.Builder
	quoted, comment, angle := false, 0, false
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case c == '\\' && i+1 < len(value):
			if comment == 0 {
				b.WriteString(value[i : i+2])
			}
			i++
			continue
		case comment > 0:
			comment += nesting(c)
			continue
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(':
			comment = 1
			if !angle {
				b.WriteByte(' ')
			}
			continue
		case c == '<' || c == '>':
			angle = c == '<'
		case c == ',' && !angle:
			return strings.Trim(b.String(), space), value[i+1:]
		}
		b.WriteByte(c)
	}
	return strings.Trim(b.String(), space), ""
}

func nesting(c byte) int {
	switch c {
	case '(':
		return 1
	case ')':
		return -1
	}
	return 0
}

// parseItem reads what stands between two commas: one item, or several
// addresses without commas.
func parseItem(word string) ([]Item, error) {
	text := word
	if inner, ok := wholeQuoted(word); ok {
		text = inner
	}
	if kind, rest, ok := special(text); ok {
		if rest == "" {
			return nil, fmt.Errorf("%w: nothing behind %q", ErrSyntax, text)
		}
		return []Item{{Kind: kind, Text: rest}}, nil
	}
	addresses, err := listed(word)
	if err != nil {
		return nil, err
	}
	items := make([]Item, 0, len(addresses))
	for _, address := range addresses {
		text, err := listAddress(address)
		if err != nil {
			return nil, err
		}
		items = append(items, Item{Kind: ToAddress, Text: text, Own: strings.HasPrefix(address, `\`)})
	}
	return items, nil
}

// listed returns the addresses between two commas of a list, as Postfix takes them:
// what stands in angle brackets, and the words behind those.
func listed(item string) (all []string, err error) {
	s := scanner{text: item, list: true}
	s.next()
	if s.broken {
		return nil, fmt.Errorf("%w: brackets in %.100q", ErrSyntax, item)
	}
	last := 0
	for _, angle := range s.angles {
		all = append(all, dropRoute(strings.Trim(s.cut(angle), space)))
		last = angle.end
	}
	s.words = slices.DeleteFunc(s.words, func(word span) bool { return word.start < last })
	for _, word := range s.joined() {
		all = append(all, dropRoute(word))
	}
	return all, nil
}

// wholeQuoted returns the inside of `"..."`, when the quotes are around all of it.
func wholeQuoted(s string) (string, bool) {
	if len(s) < 2 || s[0] != '"' {
		return "", false
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return Unquote(s), i == len(s)-1
		}
	}
	return "", false
}

// special tells commands, files and includes from addresses.
func special(s string) (Kind, string, bool) {
	const include = ":include:"
	switch {
	case strings.HasPrefix(s, "|"):
		return ToCommand, strings.Trim(s[1:], space), true
	case strings.HasPrefix(s, "/"):
		return ToFile, s, true
	case len(s) >= len(include) && strings.EqualFold(s[:len(include)], include):
		return ToInclude, strings.Trim(s[len(include):], space), true
	}
	return ToAddress, "", false
}

// listAddress checks an address of a list. "@domain" is one here.
func listAddress(word string) (string, error) {
	if strings.HasPrefix(word, "@") && len(word) > 1 && !strings.ContainsFunc(word[1:], notDomain) {
		return word, nil
	}
	if strings.HasSuffix(word, "@") {
		return "", fmt.Errorf("%w: no domain in %.100q", ErrSyntax, word)
	}
	a, err := ParseAddress(strings.TrimPrefix(word, `\`))
	if err != nil {
		return "", err
	}
	return a.String(), nil
}

// addresses reads a list that may hold nothing but addresses.
func addresses(value string) ([]string, error) {
	items, err := ParseList(value)
	if err != nil {
		return nil, err
	}
	list := make([]string, len(items))
	for i, item := range items {
		if item.Kind != ToAddress {
			return nil, fmt.Errorf("%w: %s in a list of addresses", ErrSyntax, item.Kind)
		}
		list[i] = item.Text
	}
	return list, nil
}

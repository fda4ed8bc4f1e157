package ldap

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// ErrURL is wrapped when a special attribute has an LDAP URL that is none, or is too long.
var ErrURL = errors.New("malformed LDAP URL")

// isURL reports whether the value of a special attribute is a URL.
func isURL(s string) bool {
	scheme, _, ok := strings.Cut(s, "://")
	return ok && (strings.EqualFold(scheme, "ldap") || strings.EqualFold(scheme, "ldaps") || strings.EqualFold(scheme, "ldapi"))
}

// maxURL bounds a URL, in bytes. It comes from the directory, and go-ldap needs stack for
// each parenthesis of its filter.
const maxURL = 8 << 10

// parseURL reads an LDAP URL, RFC 4516. Its host is not heeded. There are no
// attributes when the URL wants all.
func parseURL(text string) (search, error) {
	if len(text) > maxURL {
		return search{}, fmt.Errorf("%w: %d bytes", ErrURL, len(text))
	}
	_, rest, _ := strings.Cut(text, "://")
	_, rest, _ = strings.Cut(rest, "/")
	parts := strings.Split(rest, "?")
	if len(parts) > 5 || len(parts) == 5 && strings.Contains(parts[4], "!") { // a critical extension
		return search{}, fmt.Errorf("%w: %q", ErrURL, text)
	}
	parts = append(parts, "", "", "", "")
	for i, p := range parts {
		decoded, err := url.PathUnescape(p)
		if err != nil {
			return search{}, fmt.Errorf("%w: %q", ErrURL, text)
		}
		parts[i] = decoded
	}
	scope, ok := map[string]Scope{"": Base, "base": Base, "one": OneLevel, "sub": Subtree}[strings.ToLower(parts[2])]
	if !ok {
		return search{}, fmt.Errorf("%w: %q", ErrURL, text)
	}
	s := search{base: parts[0], scope: scope, filter: anything, attributes: words(parts[1])}
	if parts[3] != "" {
		s.filter = tighten(parts[3])
		if !strings.HasPrefix(s.filter, "(") {
			s.filter = "(" + s.filter + ")"
		}
	}
	return s, nil
}

// selected returns which of the table's attributes a URL wants: with the option, if
// one of the two has one.
func selected(table, wanted []string) []string {
	if len(wanted) == 0 {
		return table
	}
	var names []string
	for _, t := range table {
		for _, w := range wanted {
			switch {
			case w == "*", subtype(t, w):
				names = append(names, t+w[min(len(w), len(t)):])
			case subtype(w, t):
				names = append(names, t)
			}
		}
	}
	return names
}

// subtype reports whether name is attribute, or that with an option: "cn;lang-en".
func subtype(attribute, name string) bool {
	return len(name) >= len(attribute) && strings.EqualFold(name[:len(attribute)], attribute) &&
		(len(name) == len(attribute) || name[len(attribute)] == ';')
}

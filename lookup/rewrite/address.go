package rewrite

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// ErrSyntax is wrapped when a text is no address, or a table's value no list of
// addresses.
var ErrSyntax = errors.New("bad address syntax")

// Address is an address in its two parts, both without quoting: Local is
// `odd user` where the wire has `"odd user"`.
type Address struct {
	Local  string
	Domain string // "example.org", "[192.0.2.1]"; "" means none
}

// ParseAddress reads an address in wire form, without angle brackets. It is as
// lenient as Postfix, and refuses with ErrSyntax only what could not be written
// to the wire again: an empty local part, control characters, or white space in
// the domain.
func ParseAddress(s string) (Address, error) {
	local, domain := Split(s)
	a := Address{Local: Unquote(local), Domain: domain}
	switch {
	case a.Local == "" && local != `""`:
		return Address{}, fmt.Errorf("%w: no local part in %.100q", ErrSyntax, s)
	case strings.IndexFunc(a.Local, isControl) >= 0:
		return Address{}, fmt.Errorf("%w: control character in %.100q", ErrSyntax, s)
	case strings.ContainsFunc(domain, notDomain):
		return Address{}, fmt.Errorf("%w: domain of %.100q", ErrSyntax, s)
	}
	return a, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func notDomain(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`"(),;<>@\`, r) }

// String returns the wire form, quoted where it must be.
func (a Address) String() string {
	if a.Domain == "" {
		return Quote(a.Local)
	}
	return Quote(a.Local) + "@" + a.Domain
}

// Split cuts an address in wire form at its last @ that is not quoted. The local
// part stays quoted as it was. domain is "" when there is none.
func Split(address string) (local, domain string) {
	at, quoted := -1, false
	for i := 0; i < len(address); i++ {
		switch c := address[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '@' && !quoted:
			at = i
		}
	}
	if quoted { // a quote that nobody closed quotes nothing
		at = strings.LastIndexByte(address, '@')
	}
	if at < 0 {
		return address, ""
	}
	return address[:at], address[at+1:]
}

// Quote returns the local part in wire form: as it is when it is a dot-string
// (RFC 5321, section 4.1.2; RFC 6531 adds all non-ASCII characters), otherwise
// as a quoted string.
func Quote(local string) string {
	if dotString(local) {
		return local
	}
	var b strings.Builder
	b.Grow(len(local) + 2)
	b.WriteByte('"')
	for i := 0; i < len(local); i++ {
		if local[i] == '"' || local[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(local[i])
	}
	b.WriteByte('"')
	return b.String()
}

func dotString(s string) bool {
	last := byte('.')
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '.' && last == '.' || c != '.' && !atext(c) {
			return false
		}
		last = c
	}
	return last != '.'
}

// atext is RFC 5322's, and everything beyond ASCII.
func atext(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= 0x80 ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// Unquote returns a local part without its quotes and backslashes.
func Unquote(local string) string {
	if !strings.ContainsAny(local, `"\`) {
		return local
	}
	b := make([]byte, 0, len(local))
	for i := 0; i < len(local); i++ {
		switch {
		case local[i] == '"':
			continue
		case local[i] == '\\' && i+1 < len(local):
			i++
		}
		b = append(b, local[i])
	}
	return string(b)
}

// SplitExtension cuts an unquoted local part before the first of the delimiter
// characters: "user+list" is "user" and "+list". Names that Postfix reserves are
// never cut, nor are leading delimiters.
func SplitExtension(local, delimiters string) (user, extension string) {
	if delimiters == "" || strings.EqualFold(local, "mailer-daemon") || strings.EqualFold(local, "double-bounce") {
		return local, ""
	}
	lower := strings.ToLower(local)
	if strings.Contains(delimiters, "-") && (strings.HasPrefix(lower, "owner-") || strings.HasSuffix(lower, "-request")) {
		return local, ""
	}
	i := strings.IndexAny(local, delimiters)
	if i <= 0 {
		return local, ""
	}
	return local[:i], local[i:]
}

// ASCIIDomain returns a domain in lower case as DNS has it, with A-labels for
// internationalised ones (RFC 5890). What IDNA does not allow, what is
// far too long, and address literals, are only folded to lower case.
func ASCIIDomain(domain string) string {
	if isASCII(domain) || !utf8.ValidString(domain) || len(domain) > maxUnicodeDomain {
		return lower(domain)
	}
	ascii, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return lower(domain)
	}
	return lower(ascii)
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// lower folds a key to lower case. Bytes that are no UTF-8 stay what they are:
// strings.ToLower would make all of them equal.
func lower(s string) string {
	if utf8.ValidString(s) {
		return strings.ToLower(s)
	}
	return lowerASCII(s)
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// same reports whether two addresses are one for us.
func same(a, b string) bool { return fold(a) == fold(b) }

// fold returns the key under which an address is remembered: unquoted, and in
// lower case as far as ASCII goes. Folding more would now and then take two
// users for one and lose a recipient; folding less only costs a duplicate.
func fold(address string) string {
	local, domain := Split(address)
	return lowerASCII(Unquote(local) + "@" + domain)
}

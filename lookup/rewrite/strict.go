package rewrite

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// The limits of RFC 5321, section 4.5.3.1, and RFC 1035, section 2.3.4, in octets.
const (
	maxLocal  = 64
	maxDomain = 255
	maxLabel  = 63
	// maxUnicodeDomain is beyond all that has room in maxDomain as A-labels: longer names
	// are not worth the time of IDNA, which is quadratic.
	maxUnicodeDomain = 4 * maxDomain
)

// ParseStrict reads an address as RFC 5321, section 4.1.2, has it: a Mailbox with a
// dot-string or one quoted string, and a domain of letters, digits and hyphens or an
// address literal, each within its limit. smtputf8 allows what RFC 6531 does beside
// that: UTF-8 in the local part, and U-labels. The error wraps ErrSyntax. All that it
// reads, ParseAddress reads alike.
func ParseStrict(s string, smtputf8 bool) (Address, error) {
	local, domain := Split(s)
	a := Address{Local: Unquote(local), Domain: domain}
	switch {
	case !utf8.ValidString(s), !smtputf8 && !isASCII(s):
		return Address{}, fmt.Errorf("%w: not ASCII in %.100q", ErrSyntax, s)
	case len(local) > maxLocal:
		return Address{}, fmt.Errorf("%w: a local part of %d octets", ErrSyntax, len(local))
	case !dotString(local) && !quotedString(local):
		return Address{}, fmt.Errorf("%w: local part of %.100q", ErrSyntax, s)
	case !strictDomain(domain):
		return Address{}, fmt.Errorf("%w: domain of %.300q", ErrSyntax, s)
	}
	return a, nil
}

// quotedString reports whether s is one Quoted-string.
func quotedString(s string) bool {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return false
	}
	for i := 1; i < len(s)-1; i++ {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f || c == '"':
			return false
		case c == '\\':
			i++
			if i == len(s)-1 || s[i] < ' ' || s[i] >= 0x7f {
				return false
			}
		}
	}
	return true
}

func strictDomain(domain string) bool {
	if literal, ok := strings.CutPrefix(domain, "["); ok {
		literal, ok = strings.CutSuffix(literal, "]")
		return ok && strictLiteral(literal)
	}
	if !isASCII(domain) {
		if domain = ASCIIDomain(domain); !isASCII(domain) {
			return false
		}
	}
	if domain == "" || len(domain) > maxDomain {
		return false
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, notLetterDigitHyphen) {
			return false
		}
	}
	return true
}

func notLetterDigitHyphen(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-'
}

// strictLiteral reads "192.0.2.1" and "IPv6:2001:db8::1". Other tags are not known.
func strictLiteral(s string) bool {
	const tag = "IPv6:"
	v6 := len(s) > len(tag) && strings.EqualFold(s[:len(tag)], tag)
	if v6 {
		s = s[len(tag):]
	}
	ip, err := netip.ParseAddr(s)
	return err == nil && ip.Zone() == "" && ip.Is4() == !v6
}

// SMTPUTF8 reports whether the address can only be sent with that extension (RFC 6531):
// its local part is not ASCII. A domain that is not is no reason: see ASCII.
func (a Address) SMTPUTF8() bool { return !isASCII(a.Local) }

// ASCII returns the address with the A-labels of its domain (RFC 5890). ErrSyntax is
// wrapped when the local part is not ASCII, or the domain is none that IDNA allows, or too
// long. What is in ASCII already is returned as it is.
func (a Address) ASCII() (Address, error) {
	if a.SMTPUTF8() {
		return Address{}, fmt.Errorf("%w: local part of %.100q is not ASCII", ErrSyntax, a.String())
	}
	if isASCII(a.Domain) {
		return a, nil
	}
	if !strictDomain(a.Domain) {
		return Address{}, fmt.Errorf("%w: domain of %.300q", ErrSyntax, a.String())
	}
	return Address{Local: a.Local, Domain: ASCIIDomain(a.Domain)}, nil
}

// Unicode returns the address with the U-labels of its domain, for people to read. What
// IDNA does not allow stays as it is.
func (a Address) Unicode() Address {
	if !utf8.ValidString(a.Domain) || len(a.Domain) > maxUnicodeDomain || strings.HasPrefix(a.Domain, "[") {
		return a
	}
	if domain, err := idna.Display.ToUnicode(a.Domain); err == nil && domain != "" {
		a.Domain = domain
	}
	return a
}

// Equal reports whether two addresses mean the same: local parts alike to the letter,
// since only their own server knows more (RFC 5321, section 2.4), and domains in any
// case and either form of their labels.
func (a Address) Equal(b Address) bool {
	return a.Local == b.Local && ASCIIDomain(a.Domain) == ASCIIDomain(b.Domain)
}

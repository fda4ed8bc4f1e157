package restrictions

import (
	"context"
	"net/netip"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// RejectInvalidHELOHostname refuses a HELO name that is none: 501 5.5.2
// (Postfix: reject_invalid_helo_hostname).
type RejectInvalidHELOHostname struct{}

// Check looks at the name.
func (RejectInvalidHELOHostname) Check(_ context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	switch {
	case strings.HasPrefix(s.HELO, "["):
		return literal(s), nil
	case s.HELO == "" || hostname(strings.TrimSuffix(s.HELO, ".")) || isAddr(s.HELO):
		return mtakit.Verdict{}, nil
	}
	return subject{s.HELO, heloCommand}.reject(501, smtp.EnhancedCode{5, 5, 2}, "Invalid name"), nil
}

// RejectNonFQDNHELOHostname refuses a HELO name without a dot: 504 5.5.2
// (Postfix: reject_non_fqdn_helo_hostname).
type RejectNonFQDNHELOHostname struct{}

// Check looks at the name.
func (RejectNonFQDNHELOHostname) Check(_ context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	switch {
	case strings.HasPrefix(s.HELO, "["):
		return literal(s), nil
	case s.HELO == "" || qualified(strings.TrimSuffix(s.HELO, ".")):
		return mtakit.Verdict{}, nil
	}
	return subject{s.HELO, heloCommand}.reject(504, smtp.EnhancedCode{5, 5, 2}, "need fully-qualified hostname"), nil
}

// literal looks at a HELO name in brackets (RFC 5321, section 4.1.3).
func literal(s *mtakit.Session) mtakit.Verdict {
	inner, ok := strings.CutSuffix(s.HELO[1:], "]")
	if v6, is6 := cutPrefixFold(inner, "IPv6:"); ok && is6 {
		inner = v6
	}
	if ok && isAddr(inner) {
		return mtakit.Verdict{}
	}
	return subject{s.HELO, heloCommand}.reject(501, smtp.EnhancedCode{5, 5, 2}, "invalid ip address")
}

func isAddr(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Zone() == ""
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// qualified reports whether name is a host name with a dot inside.
func qualified(name string) bool { return strings.Contains(name, ".") && hostname(name) }

// hostname reports whether name can be a host's: labels of letters, digits, -
// and _, as Postfix's valid_hostname; not a number.
func hostname(name string) bool {
	if name == "" || len(name) > 255 {
		return false
	}
	number := true
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			digit := c >= '0' && c <= '9'
			number = number && digit
			if !digit && c != '-' && c != '_' && c < 0x80 && (c|0x20 < 'a' || c|0x20 > 'z') {
				return false
			}
		}
	}
	return !number
}

package smtpserver

import (
	"bytes"
	"errors"
	"net/netip"
	"unicode/utf8"
)

// Limits of RFC 5321, section 4.5.3.1, in octets. Those of local part and path
// hold only in strict mode: Postfix has none but the line's.
const (
	maxLocalPart = 64
	maxDomain    = 255
	maxLabel     = 63
	maxPath      = 256
)

var errPath = errors.New("bad address syntax")

// path is a reverse-path or forward-path that was read.
type path struct {
	address string // in wire form, without <>; "" is the null reverse-path
	ascii   bool
	rest    []byte // what follows: parameters
}

// parsePath reads the path that b starts with (RFC 5321, section 4.1.2).
// Source routes are dropped. A quoted local part that needs no quotes loses
// them, and one that needs them gets them, so that an address has one form:
// what comes out can be written into a command as it is.
//
// Lenient parsing takes what Postfix takes: white space before the path, a path
// without <>, an underscore in a domain and a dot at its end, stray dots and
// further @ in the local part, which is then quoted.
func parsePath(b []byte, strict bool) (path, error) {
	if !strict {
		b = bytes.TrimLeft(b, " \t")
	}
	if len(b) == 0 {
		return path{}, errPath
	}
	inner, rest, ok := pathEnd(b, strict)
	if !ok || strict && len(inner)+2 > maxPath || len(rest) > 0 && rest[0] != ' ' && rest[0] != '\t' {
		return path{}, errPath
	}
	p := path{rest: rest, ascii: isASCII(inner)}
	if len(inner) == 0 {
		return p, nil
	}
	if !p.ascii && !utf8.Valid(inner) {
		return path{}, errPath
	}
	inner, ok = dropRoute(inner)
	if !ok || len(inner) == 0 {
		return path{}, errPath
	}
	address, ok := mailbox(inner, strict)
	if !ok {
		return path{}, errPath
	}
	p.address = address
	return p, nil
}

// pathEnd finds what stands between < and >, or up to the next white space.
func pathEnd(b []byte, strict bool) (inner, rest []byte, ok bool) {
	if b[0] == '<' {
		end := find(b[1:], func(ch byte) bool { return ch == '>' })
		if end < 0 {
			return nil, nil, false
		}
		return b[1 : end+1], b[end+2:], true
	}
	if strict {
		return nil, nil, false
	}
	end := find(b, func(ch byte) bool { return ch == ' ' || ch == '\t' })
	if end < 0 {
		end = len(b)
	}
	return b[:end], b[end:], end > 0
}

// find returns the index of the first byte outside quotes that stop wants, or -1.
func find(b []byte, stop func(byte) bool) int {
	quoted := false
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '\\':
			i++
		case b[i] == '"':
			quoted = !quoted
		case !quoted && stop(b[i]):
			return i
		}
	}
	return -1
}

// dropRoute removes "@a,@b:" (RFC 5321, section 4.1.1.3, and appendix C).
func dropRoute(b []byte) ([]byte, bool) {
	if b[0] != '@' {
		return b, true
	}
	colon := find(b, func(ch byte) bool { return ch == ':' })
	if colon < 0 {
		return nil, false
	}
	for hop := range bytes.SplitSeq(b[:colon], []byte{','}) {
		if len(hop) < 2 || hop[0] != '@' || !isDomain(hop[1:], false) {
			return nil, false
		}
	}
	return b[colon+1:], true
}

// mailbox returns local part and domain in wire form.
func mailbox(b []byte, strict bool) (string, bool) {
	at := lastAt(b)
	local, domain := b, []byte(nil)
	if at >= 0 {
		local, domain = b[:at], b[at+1:]
		if !strict {
			domain = bytes.TrimSuffix(domain, []byte{'.'})
		}
		if !isDomain(domain, strict) {
			return "", false
		}
	} else if strict && !foldEqual(b, "POSTMASTER") {
		return "", false
	}
	if isDotString(local) && !(strict && len(local) > maxLocalPart) {
		if at < 0 {
			return string(local), true
		}
		return string(b[:at+1+len(domain)]), true
	}
	out, ok := requote(local, strict)
	if !ok {
		return "", false
	}
	if at >= 0 {
		out = append(append(out, '@'), domain...)
	}
	return string(out), true
}

// lastAt returns the index of the @ before the domain, or -1. It is the last one
// outside quotes and before an address literal.
func lastAt(b []byte) int {
	at, quoted := -1, false
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '\\':
			i++
		case b[i] == '"':
			quoted = !quoted
		case b[i] == '@' && !quoted:
			at = i
		}
	}
	return at
}

// requote gives a local part that is no dot-string the quoted form, or takes
// needless quotes away.
func requote(local []byte, strict bool) ([]byte, bool) {
	content, ok := unquote(local, strict)
	if !ok || len(content) == 0 && strict || strict && len(content) > maxLocalPart {
		return nil, false
	}
	if isDotString(content) {
		return content, true
	}
	out := append(make([]byte, 0, len(content)+8), '"')
	for _, ch := range content {
		if ch == '"' || ch == '\\' {
			out = append(out, '\\')
		}
		out = append(out, ch)
	}
	return append(out, '"'), true
}

// unquote returns what a local part stands for. Outside quotes lenient parsing
// takes stray dots and @, which mean what they mean to Postfix.
func unquote(local []byte, strict bool) ([]byte, bool) {
	if len(local) == 0 {
		return nil, false
	}
	if local[0] != '"' {
		for _, ch := range local {
			if strict || !isAtext(ch) && ch != '.' && ch != '@' {
				return nil, false
			}
		}
		return local, true
	}
	out := make([]byte, 0, len(local))
	for i := 1; i < len(local); i++ {
		ch := local[i]
		if ch == '"' {
			return out, i == len(local)-1
		}
		if ch == '\\' {
			if i++; i == len(local) {
				return nil, false
			}
			ch = local[i]
		}
		if ch < ' ' || ch == 0x7f {
			return nil, false
		}
		out = append(out, ch)
	}
	return nil, false
}

// isDotString reports whether b may stand without quotes (RFC 5321, section
// 4.1.2; RFC 6531, section 3.3).
func isDotString(b []byte) bool {
	if len(b) == 0 || b[0] == '.' || b[len(b)-1] == '.' {
		return false
	}
	for i, ch := range b {
		if ch == '.' && b[i-1] == '.' || ch != '.' && !isAtext(ch) {
			return false
		}
	}
	return true
}

func isAtext(ch byte) bool {
	switch {
	case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9', ch >= 0x80:
		return true
	}
	return ch > ' ' && bytes.IndexByte([]byte("!#$%&'*+-/=?^_`{|}~"), ch) >= 0
}

// isDomain reports whether b is a domain or an address literal.
func isDomain(b []byte, strict bool) bool {
	if len(b) == 0 || len(b) > maxDomain {
		return false
	}
	if b[0] == '[' {
		return isLiteral(b, strict)
	}
	label := 0
	for i, ch := range b {
		if ch == '.' {
			if label == 0 || strict && b[i-1] == '-' {
				return false
			}
			label = 0
			continue
		}
		if !isLabel(ch, strict) || strict && ch == '-' && label == 0 {
			return false
		}
		if label++; label > maxLabel {
			return false
		}
	}
	return label > 0 && !(strict && b[len(b)-1] == '-')
}

func isLabel(ch byte, strict bool) bool {
	switch {
	case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9', ch >= 0x80, ch == '-':
		return true
	}
	return ch == '_' && !strict
}

// isLiteral reports whether b is "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC
// 5321, section 4.1.3). Lenient: the tag may be missing.
func isLiteral(b []byte, strict bool) bool {
	if b[len(b)-1] != ']' {
		return false
	}
	text := b[1 : len(b)-1]
	tagged := len(text) > 5 && foldEqual(text[:5], "IPV6:")
	if tagged {
		text = text[5:]
	}
	a, err := netip.ParseAddr(string(text))
	if err != nil || a.Zone() != "" {
		return false
	}
	return a.Is6() == tagged || a.Is6() && !strict
}

func isASCII(b []byte) bool {
	for _, ch := range b {
		if ch >= 0x80 {
			return false
		}
	}
	return true
}

func trimSpace(b []byte) []byte { return bytes.Trim(b, " \t") }

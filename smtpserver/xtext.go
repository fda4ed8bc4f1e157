package smtpserver

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// decodeXtext decodes "+3D" (RFC 3461, section 4). ok is false for what is no
// xtext, and for what decodes to other than printable ASCII: it may end up in a
// header or in a command.
func decodeXtext(s string) (text string, ok bool) {
	var b []byte
	for i := 0; i < len(s); i++ {
		ch := s[i]
		if ch == '+' {
			if ch, ok = hexPair(s[i+1:]); !ok {
				return "", false
			}
			i += 2
		} else if ch <= ' ' || ch >= 0x7f || ch == '=' {
			return "", false
		}
		if ch < ' ' || ch >= 0x7f {
			return "", false
		}
		b = append(b, ch)
	}
	return string(b), true
}

// hexPair reads two digits. RFC 3461 has them in upper case only.
func hexPair(s string) (byte, bool) {
	if len(s) < 2 || strings.ToUpper(s[:2]) != s[:2] {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:2], 16, 8)
	return byte(n), err == nil
}

// decodeUTF8Address decodes "\x{20AC}" (utf-8-addr-xtext and utf-8-addr-unitext,
// RFC 6533, section 3). What it stands for must be printable UTF-8.
func decodeUTF8Address(s string) (string, bool) {
	var b []byte
	for s != "" {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case strings.HasPrefix(s, `\x{`):
			end := strings.IndexByte(s, '}')
			if end < 0 {
				return "", false
			}
			n, err := strconv.ParseUint(s[3:end], 16, 32)
			if err != nil || n > utf8.MaxRune {
				return "", false
			}
			r, size = rune(n), end+1
		case r == utf8.RuneError, r == '\\', r == '+', r == '=':
			return "", false
		}
		if !utf8.ValidRune(r) || r < ' ' || r >= 0x7f && r < 0xa0 {
			return "", false
		}
		b = utf8.AppendRune(b, r)
		s = s[size:]
	}
	return string(b), true
}

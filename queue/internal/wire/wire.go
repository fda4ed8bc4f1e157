// Package wire says what an address and a DSN parameter look like in a line of
// SMTP, for whoever under queue reads or writes such lines.
package wire

import (
	"strings"
	"unicode/utf8"
)

// maxAddress bounds an address in octets. RFC 5321 has 254; Postfix takes what
// a command line holds.
const maxAddress = 1024

// IsAddress reports whether an address can be written between < and > and nothing
// else than one address be read there: no control characters, and no space and
// no angle bracket outside quotes. The null address is one.
func IsAddress(address string) bool {
	if len(address) > maxAddress || !utf8.ValidString(address) {
		return false
	}
	quoted := false
	for i := 0; i < len(address); i++ {
		switch ch := address[i]; {
		case ch < ' ' || ch == 0x7f:
			return false
		case ch == '\\':
			// Outside quotes it is no part of an address, and servers differ in what
			// it hides from them.
			if i++; !quoted || i == len(address) || address[i] < ' ' || address[i] >= 0x7f {
				return false
			}
		case ch == '"':
			quoted = !quoted
		case !quoted && (ch == ' ' || ch == '<' || ch == '>'):
			return false
		}
	}
	return !quoted
}

// Xtext encodes as RFC 3461, section 4, has it.
func Xtext(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		ch := s[i]
		if ch <= ' ' || ch >= 0x7f || ch == '+' || ch == '=' {
			b.Write([]byte{'+', digits[ch>>4], digits[ch&15]})
		} else {
			b.WriteByte(ch)
		}
	}
	return b.String()
}

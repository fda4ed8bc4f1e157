package lookup

import (
	"strings"
	"unicode/utf8"
)

// Package regexp matches code points where Postfix matches bytes. To have the
// same results with any input, the bytes above 0x7f are given to it as code
// points of a private range, where nothing has a case or is a letter.
const highBytes = 0xE000

func wide(c byte) rune {
	if c < utf8.RuneSelf {
		return rune(c)
	}
	return highBytes + rune(c)
}

// widen returns s with one code point for each byte. A string of ASCII is
// returned as it is.
func widen(s string) string {
	if isASCII(s) {
		return s
	}
	var b strings.Builder
	b.Grow(2 * len(s))
	for i := 0; i < len(s); i++ {
		b.WriteRune(wide(s[i]))
	}
	return b.String()
}

// narrow undoes widen.
func narrow(s string) string {
	if isASCII(s) {
		return s
	}
	b := make([]byte, 0, len(s)/2)
	for _, r := range s {
		b = append(b, byte(r)) // the range starts at a multiple of 256
	}
	return string(b)
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

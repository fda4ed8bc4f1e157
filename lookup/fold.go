package lookup

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
)

// Fold returns key in the one case in which tables of fixed keys compare it:
// UTF-8 by Unicode's case folding, so that internationalised addresses are
// found too, and anything that is not UTF-8 with only its ASCII letters in
// lower case. A key of ASCII that is in lower case is returned as it is.
func Fold(key string) string {
	ascii, lower := true, true
	for i := 0; i < len(key); i++ {
		c := key[i]
		ascii = ascii && c < utf8.RuneSelf
		lower = lower && (c < 'A' || c > 'Z')
	}
	switch {
	case ascii && lower:
		return key
	case ascii:
		return strings.ToLower(key)
	case utf8.ValidString(key):
		return cases.Fold().String(key)
	}
	return lowerASCII(key)
}

func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

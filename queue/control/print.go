package control

import (
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf16"
)

// Printable returns s with "?" for what a terminal would obey or hide: control
// and format characters, and bytes that are not UTF-8.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// JSON returns v as one line without its end. What a terminal would obey or hide
// is escaped.
func JSON(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	// Outside of strings there is nothing but ASCII.
	safe := make([]byte, 0, len(b))
	for _, r := range string(b) {
		switch {
		case unicode.IsPrint(r):
			safe = append(safe, string(r)...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			safe = escape(escape(safe, high), low)
		default:
			safe = escape(safe, r)
		}
	}
	return safe, nil
}

func escape(b []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}

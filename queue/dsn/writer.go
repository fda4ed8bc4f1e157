package dsn

import (
	"bufio"
	"fmt"
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Lines are folded at white space from lineWidth on, and anywhere at lineLimit,
// in bytes: RFC 5322, section 2.1.1, allows 998.
const (
	lineWidth = 76
	lineLimit = 900
)

// writer writes lines and fields in which no text can end the line. Its errors
// are kept until Flush.
type writer struct {
	*bufio.Writer
	utf8 bool
}

// eightBits is a Writer that only notes whether it was given any.
type eightBits bool

func (e *eightBits) Write(p []byte) (int, error) {
	*e = *e || eightBits(!ascii(string(p)))
	return len(p), nil
}

// field writes "Name: value", folded.
func (w *writer) field(name, value string) {
	w.fold(name+": "+value, "\r\n ")
}

// line writes a line of text, wrapped.
func (w *writer) line(text string) { w.fold(text, "\r\n") }

// asIs writes a line of text that may be in any charset with ASCII in it.
func (w *writer) asIs(text string) {
	if w.utf8 {
		text = strings.ToValidUTF8(text, "?")
	}
	b := []byte(text)
	for i, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			b[i] = ' '
		}
	}
	for len(b) > lineLimit {
		n := runeStart(string(b[:lineLimit+1]), lineLimit)
		w.Write(b[:n])
		w.WriteString("\r\n")
		b = b[n:]
	}
	w.Write(b)
	w.WriteString("\r\n")
}

func (w *writer) fold(s, indent string) {
	width := 0
	for i, word := range strings.Fields(clean(s, w.utf8)) {
		if i > 0 && width+1+len(word) > lineWidth {
			w.WriteString(indent)
			width = len(indent) - 2
		} else if i > 0 {
			w.WriteByte(' ')
			width++
		}
		for len(word) > lineLimit {
			n := runeStart(word, lineLimit)
			w.WriteString(word[:n] + indent)
			word, width = word[n:], len(indent)-2
		}
		w.WriteString(word)
		width += len(word)
	}
	w.WriteString("\r\n")
}

// runeStart returns the last start of a rune in s that is not after n.
func runeStart(s string, n int) int {
	for n > 1 && !utf8.RuneStart(s[n]) {
		n--
	}
	return n
}

// clean makes every control character a space, and what cannot be written a
// question mark.
func clean(s string, utf8Allowed bool) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == utf8.RuneError, c > unicode.MaxASCII && !utf8Allowed:
			return '?'
		case unicode.IsControl(c), c == '\u2028', c == '\u2029':
			return ' '
		}
		return c
	}, s)
}

// encoded is a text for a field (RFC 2047).
func encoded(s string) string { return mime.QEncoding.Encode("utf-8", clean(s, true)) }

// address returns "rfc822; user@example.org", or the form of RFC 6533, section
// 3, for an address that is not ASCII.
func (w *writer) address(kind, s string) string {
	s = strings.ToValidUTF8(s, "?")
	if strings.EqualFold(kind, "utf-8") || !ascii(s) {
		if !w.utf8 {
			s = unitext(s)
		}
		return "utf-8; " + s
	}
	if kind == "" {
		kind = "rfc822"
	}
	return strings.ToLower(kind) + "; " + s
}

// unitext is utf-8-addr-xtext of RFC 6533, section 3.
func unitext(s string) string {
	var b strings.Builder
	for _, c := range s {
		if c > '~' || c <= ' ' || c == '+' || c == '=' || c == '\\' {
			fmt.Fprintf(&b, `\x{%02X}`, c)
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// name returns s with everything that no host name has made a hyphen.
func name(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', strings.ContainsRune("-._:[]", c):
			return c
		}
		return '-'
	}, s)
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] > unicode.MaxASCII {
			return false
		}
	}
	return true
}

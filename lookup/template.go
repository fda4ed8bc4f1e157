package lookup

import (
	"fmt"
	"strings"
)

// A template is a text with %-expansions in it, in the language of
// mysql_table(5).
type template []expansion

// expansion is a literal text, or a letter that stands for something.
type expansion struct {
	text string
	what byte // 0 for text; one of s u d S U D 1-9
}

// parseTemplate reads a template. %% is a percent sign.
func parseTemplate(s string) (template, error) {
	var (
		t    template
		text strings.Builder
	)
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			text.WriteByte(s[i])
			continue
		}
		i++
		switch {
		case i == len(s):
			return nil, fmt.Errorf("%q ends with a percent sign", s)
		case s[i] == '%':
			text.WriteByte('%')
		case strings.IndexByte("sudSUD123456789", s[i]) >= 0:
			t = append(t, expansion{text: text.String()}, expansion{what: s[i]})
			text.Reset()
		default:
			return nil, fmt.Errorf("unknown expansion %q in %s", s[i-1:i+1], quoteShort(s))
		}
	}
	return append(t, expansion{text: text.String()}), nil
}

// expands reports whether there is anything but text in it.
func (t template) expands() bool { return len(t) > 1 }

// subject is what is put in place of the expansions.
type subject struct {
	whole, user, domain string
	qualified           bool // there is an "@"
}

func newSubject(s string) subject {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return subject{whole: s, user: s}
	}
	return subject{whole: s, user: s[:at], domain: s[at+1:], qualified: true}
}

// expand fills the template in: s u d with parts of value, the others with
// parts of key. false means that one of the parts is missing.
func (t template) expand(value, key subject) (string, bool) {
	return t.expandQuoted(value, key, func(s string) string { return s })
}

// expandQuoted is expand with each part quoted for where it stands.
func (t template) expandQuoted(value, key subject, quote func(string) string) (string, bool) {
	var b strings.Builder
	for _, e := range t {
		if e.what == 0 {
			b.WriteString(e.text)
			continue
		}
		s, ok := e.of(value, key)
		if !ok {
			return "", false
		}
		b.WriteString(quote(s))
	}
	return b.String(), true
}

func (e expansion) of(value, key subject) (string, bool) {
	switch e.what {
	case 's':
		return value.whole, true
	case 'S':
		return key.whole, true
	case 'u':
		return value.user, value.user != ""
	case 'U':
		return key.user, key.user != ""
	case 'd':
		return value.domain, value.domain != ""
	case 'D':
		return key.domain, key.domain != ""
	}
	return key.component(int(e.what - '0'))
}

// component returns the n-th label of the domain, counted from its end. Labels
// without a letter are none: "example.org." ends with "org".
func (s subject) component(n int) (string, bool) {
	labels := strings.FieldsFunc(s.domain, func(r rune) bool { return r == '.' })
	if n > len(labels) {
		return "", false
	}
	return labels[len(labels)-n], true
}

// answerable reports whether the key has all the parts that the template wants
// of it, whatever the value will be.
func (t template) answerable(key subject) bool {
	for _, e := range t {
		if e.what == 0 || e.what == 'u' || e.what == 'd' {
			continue
		}
		if _, ok := e.of(key, key); !ok {
			return false
		}
	}
	return true
}

// Template is a text with the %-expansions of ldap_table(5), mysql_table(5) and
// their like, for tables outside of this package. The zero value is the empty text.
type Template struct{ parts template }

// ParseTemplate reads a template. %s is the whole of a value, %u and %d are what
// stands before and behind its last "@"; %S, %U and %D are the same of the key, %1 to
// %9 are the labels of the key's domain, "org" first, %% is a percent sign.
func ParseTemplate(s string) (Template, error) {
	t, err := parseTemplate(s)
	return Template{t}, err
}

// Expand fills the template in, with each part quoted by quote. false means that
// value or key lacks one of the parts: without "@" there is no %d and %u is all.
func (t Template) Expand(value, key string, quote func(string) string) (string, bool) {
	return t.parts.expandQuoted(newSubject(value), newSubject(key), quote)
}

// Answerable reports whether the key has all the parts that the template wants of it,
// whatever the value will be.
func (t Template) Answerable(key string) bool { return t.parts.answerable(newSubject(key)) }

// Expands reports whether there is anything but text in it.
func (t Template) Expands() bool { return t.parts.expands() }

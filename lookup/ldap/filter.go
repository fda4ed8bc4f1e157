package ldap

import (
	"errors"
	"fmt"
	"strings"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/mtakit/mtakit/lookup"
)

// parseFilter reads a filter with expansions. White space between its parts and
// absent outer parentheses are forgiven, as by OpenLDAP.
func parseFilter(text string) (lookup.Template, error) {
	text = tighten(text)
	if !strings.HasPrefix(text, "(") {
		text = "(" + text + ")"
	}
	t, err := lookup.ParseTemplate(text)
	if err != nil {
		return t, err
	}
	sample := marked(t)
	for i := range sample {
		part := sample[strings.LastIndexByte(sample[:i], '(')+1 : i]
		if sample[i] == mark && !strings.Contains(part, "=") {
			return t, errors.New("an expansion stands where no value does")
		}
	}
	if _, err := goldap.CompileFilter(sample); err != nil {
		return t, fmt.Errorf("%q: %w", text, err)
	}
	return t, nil
}

// mark stands for each expansion while a template is checked. It is no part of an escape
// as "\5c", of which no expansion may be one.
const mark = '\x01'

func marked(t lookup.Template) string {
	const all = "user@a.b.c.d.e.f.g.h.i" // has all parts that a template can want
	sample, _ := t.Expand(all, all, func(string) string { return string(mark) })
	return sample
}

// tighten takes white space out that stands between the parts of a filter. In a value
// "&", "|" and "!" are like any other.
func tighten(text string) string {
	text = strings.Trim(text, space)
	tight := make([]byte, 0, len(text))
	for _, c := range []byte(text) {
		if strings.IndexByte(space, c) < 0 || !betweenParts(tight) {
			tight = append(tight, c)
		}
	}
	return string(tight)
}

const space = " \t\r\n"

// betweenParts reports whether a parenthesis ends what there is of a filter, or the
// operator behind one. The first parenthesis may be absent.
func betweenParts(tight []byte) bool {
	n := len(tight)
	switch tight[n-1] {
	case '(', ')':
		return true
	case '&', '|', '!':
		return n == 1 || tight[n-2] == '('
	}
	return false
}

// parseBase reads the name of an entry, with expansions.
func parseBase(text string) (lookup.Template, error) {
	t, err := lookup.ParseTemplate(text)
	if err != nil {
		return t, err
	}
	if _, err := goldap.ParseDN(marked(t)); err != nil {
		return t, fmt.Errorf("%q: %w", text, err)
	}
	return t, nil
}

// escapeDN escapes what has a meaning in names, RFC 4514 2.4. "=" has none in a value,
// but an expansion may stand for a name, too.
func escapeDN(s string) string {
	return strings.ReplaceAll(goldap.EscapeDN(s), "=", `\3d`)
}

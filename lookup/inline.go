package lookup

import (
	"context"
	"fmt"
	"strings"
)

// Inline is a table written in the program. Keys are found in any case when
// they are written in lower case, and otherwise only as they are written. It
// must not be changed while it is in use. nil has no keys.
type Inline map[string]string

// ParseInline makes a table of "{key=value, {key = value with spaces}}", as
// Postfix's inline: tables have them. Of a key's values the last one counts. The
// error wraps ErrReference.
func ParseInline(text string) (Inline, error) {
	words, err := splitBraces(text)
	if err != nil {
		return nil, err
	}
	t := Inline{}
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		key, value = strings.TrimRight(key, space), strings.TrimLeft(value, space)
		if !ok || key == "" || value == "" {
			return nil, fmt.Errorf("%w: want key=value, not %s", ErrReference, quoteShort(w))
		}
		t[Fold(key)] = value
	}
	if len(t) == 0 {
		return nil, fmt.Errorf("%w: nothing in the braces", ErrReference)
	}
	return t, nil
}

// Lookup returns the value under key, or under key in lower case.
func (t Inline) Lookup(_ context.Context, key string) (value string, ok bool, err error) {
	if key == "" {
		return "", false, nil
	}
	if value, ok = t[key]; !ok {
		value, ok = t[Fold(key)]
	}
	return value, ok, nil
}

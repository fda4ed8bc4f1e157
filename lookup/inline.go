package lookup

import "context"

// Inline is a table written in the program. Keys are found in any case when
// they are written in lower case, and otherwise only as they are written. It
// must not be changed while it is in use. nil has no keys.
type Inline map[string]string

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

// Static is a table that has every key, always with the same value.
type Static string

// Lookup returns the value for any key but the empty one.
func (t Static) Lookup(_ context.Context, key string) (value string, ok bool, err error) {
	if key == "" {
		return "", false, nil
	}
	return string(t), true, nil
}

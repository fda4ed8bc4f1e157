package lookup

import (
	"context"
	"errors"
)

// Static is a table that has every key, always with the same value.
type Static string

// Lookup returns the value for any key but the empty one.
func (t Static) Lookup(_ context.Context, key string) (value string, ok bool, err error) {
	if key == "" {
		return "", false, nil
	}
	return string(t), true, nil
}

// Fail is a table that cannot answer, with the reason: to see what a program does
// then, and to take the place of a table that cannot be opened.
type Fail struct {
	Reason error // nil means ErrFail
}

// ErrFail is what a Fail without a reason fails with.
var ErrFail = errors.New("this table always fails")

// Lookup fails for any key but the empty one.
func (t Fail) Lookup(context.Context, string) (value string, ok bool, err error) {
	if t.Reason == nil {
		return "", false, ErrFail
	}
	return "", false, t.Reason
}

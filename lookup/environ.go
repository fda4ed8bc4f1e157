package lookup

import (
	"context"
	"os"
	"strings"
)

// Environ is a table of the environment variables with these names, in their own
// case: a table that anybody may ask should not tell the others. "*" means all.
type Environ []string

// Lookup returns the value of a variable that is set and not empty.
func (t Environ) Lookup(_ context.Context, key string) (value string, ok bool, err error) {
	for _, name := range t {
		if name == key || name == "*" && key != "" && !strings.ContainsAny(key, "=\x00") {
			value = os.Getenv(key)
			return value, value != "", nil
		}
	}
	return "", false, nil
}

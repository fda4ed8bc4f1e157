package lookup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
	"unicode/utf8"
)

// Getent is a table of the users or groups of this machine, by name. It asks
// getent(1), so that those of NIS, LDAP and SSSD are found too. The value is the
// line of passwd(5) or group(5). Postfix's "unix:passwd.byname" is one.
//
// Each lookup is a process: put a Cache in front of it.
type Getent struct {
	Database string        // "passwd" or "group"; "" means "passwd"
	Program  string        // "" means "getent" in the PATH
	Timeout  time.Duration // of one lookup; 0 means 10 seconds
}

// Lookup asks for a name. What cannot be one is not found without being asked for:
// a number, which would be asked for as an ID, and what could be an option.
func (t Getent) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	if !isUserName(key) {
		return "", false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, orElse(t.Timeout, 10*time.Second))
	defer cancel()
	database := orElse(t.Database, "passwd")
	cmd := exec.CommandContext(ctx, orElse(t.Program, "getent"), "--", database, key)
	cmd.WaitDelay = time.Second
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", false, fmt.Errorf("getent %s: %w", database, ctx.Err())
	case errors.As(err, &exit) && exit.ExitCode() == 2: // getent(1): the key is not there
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("getent %s: %w: %s", database, err, quoteShort(strings.TrimSpace(stderr.String())))
	}
	line, _, _ := strings.Cut(out.String(), "\n")
	if name, _, _ := strings.Cut(line, ":"); name != key {
		return "", false, nil // found under another name
	}
	return line, true, nil
}

func orElse[T comparable](value, other T) T {
	var zero T
	if value == zero {
		return other
	}
	return value
}

// isUserName reports whether a key can be the name of a user.
func isUserName(key string) bool {
	if key == "" || len(key) > 256 || key[0] == '-' || !utf8.ValidString(key) || strings.Trim(key, "0123456789") == "" {
		return false
	}
	return !strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == ':' || r == ',' || r == 0x7f })
}

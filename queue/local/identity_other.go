//go:build !linux || 386 || arm || mips || mipsle

package local

import "os"

// as runs f as this user, who must be the one of the process: elsewhere than on Linux
// of 64 bits no thread takes an identity of its own.
func as(u User, f func() error) error {
	if u.UID != os.Geteuid() || u.GID != os.Getegid() {
		return errIdentity
	}
	return f()
}

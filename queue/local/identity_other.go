//go:build !linux

package local

import "os"

// as runs f as this user, who must be the one of the process: elsewhere than on Linux
// no thread has an identity of its own.
func as(u User, f func() error) error {
	if u.UID != os.Geteuid() || u.GID != os.Getegid() {
		return errIdentity
	}
	return f()
}

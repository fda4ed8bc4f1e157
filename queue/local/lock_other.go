//go:build !linux

package local

import (
	"os"
	"syscall"
)

// tryLock locks a file for writing; EAGAIN means that somebody else has it. The systems
// that have flock(2) only for files of their own use it for mailboxes.
func tryLock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

package compiled

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Share takes the lock that Postfix's programs share when they read a table and
// hold alone while they write it, for as long as the file is open. The error is
// ErrUnsettled when somebody is writing.
func Share(file *os.File) error {
	err := unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrUnsettled
	}
	return nil // a file system without locks has none to wait for
}

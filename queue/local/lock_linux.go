package local

import (
	"os"
	"syscall"
)

// ofdSetlk is F_OFD_SETLK of fcntl(2): a lock that is the open file's and not the
// process's, so that two deliveries of this process exclude each other too. It
// conflicts with the locks of others as F_SETLK does.
const ofdSetlk = 37

// tryLock locks a file for writing; EAGAIN means that somebody else has it.
func tryLock(f *os.File) error {
	return syscall.FcntlFlock(f.Fd(), ofdSetlk, &syscall.Flock_t{Type: syscall.F_WRLCK})
}

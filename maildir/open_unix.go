//go:build unix

package maildir

import "syscall"

// nonblocking opens a pipe that somebody has put in a file's place without
// waiting for who is at its other end.
const nonblocking = syscall.O_NONBLOCK

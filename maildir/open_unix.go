//go:build unix

package maildir

import (
	"io/fs"
	"syscall"
)

// nonblocking opens a pipe that somebody has put in a file's place without
// waiting for who is at its other end.
const nonblocking = syscall.O_NONBLOCK

// uidOf returns the user whom a file belongs to, and -1 where nobody can tell.
func uidOf(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

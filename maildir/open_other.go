//go:build !unix

package maildir

import "io/fs"

// nonblocking is Unix's.
const nonblocking = 0

// uidOf cannot tell.
func uidOf(fs.FileInfo) int { return -1 }

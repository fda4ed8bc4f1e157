//go:build !unix

package maildir

// nonblocking is Unix's.
const nonblocking = 0

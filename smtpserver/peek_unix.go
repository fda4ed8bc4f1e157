//go:build unix && !aix

package smtpserver

import (
	"net"
	"syscall"
)

// talksFirst reports whether the client has already sent something, without
// waiting and without taking it. Connections that are no sockets cannot be
// asked: for them, and inside TLS, it is false.
func talksFirst(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, _ = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err == nil && n > 0
}

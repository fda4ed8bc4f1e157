//go:build !unix || aix

package smtpserver

import "net"

// talksFirst cannot tell on this system.
func talksFirst(net.Conn) bool { return false }

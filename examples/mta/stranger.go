package main

import (
	"net"
	"net/netip"
)

// strangers is a listener whose clients seem to come from another address, as
// behind a proxy. The demonstration's relay attempt has to come from outside of
// networks, and all that a demonstration has is loopback.
type strangers struct {
	net.Listener
	from netip.Addr
}

func (s strangers) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return stranger{Conn: c, from: netip.AddrPortFrom(s.from, 40000)}, nil
}

type stranger struct {
	net.Conn
	from netip.AddrPort
}

func (s stranger) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.from) }

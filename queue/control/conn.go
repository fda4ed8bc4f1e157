package control

import (
	"net"
	"sync"
)

// conn is a connection whose other end is known.
type conn struct {
	net.Conn
	peer Peer
	free func()
}

// Close closes the connection and gives its place free.
func (c *conn) Close() error {
	c.free()
	return c.Conn.Close()
}

// crowd bounds the connections: a user who opens many keeps nobody else from
// being served.
type crowd struct {
	net.Listener
	each, all int // of users without privileges

	mu    sync.Mutex
	users map[int]int
	total int
}

// Accept returns the next connection that there is a place for. The others are
// closed.
func (c *crowd) Accept() (net.Conn, error) {
	for {
		nc, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		p, err := credentials(nc)
		if err != nil || !c.enter(p) {
			_ = nc.Close()
			continue
		}
		return &conn{Conn: nc, peer: p, free: sync.OnceFunc(func() { c.leave(p) })}, nil
	}
}

func (c *crowd) enter(p Peer) bool {
	if p.privileged() {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.users[p.UID] >= c.each || c.total >= c.all {
		return false
	}
	if c.users == nil {
		c.users = make(map[int]int)
	}
	c.users[p.UID]++
	c.total++
	return true
}

func (c *crowd) leave(p Peer) {
	if p.privileged() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
	if c.users[p.UID]--; c.users[p.UID] == 0 {
		delete(c.users, p.UID)
	}
}

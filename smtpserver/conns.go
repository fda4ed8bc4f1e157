package smtpserver

import (
	"context"
	"net"
	"net/netip"
)

// prepare makes what Serve, ServeConn and Shutdown share, once. s.mu is held.
func (s *Server) prepare() {
	if s.ready {
		return
	}
	s.ready = true
	s.listeners = make(map[net.Listener]struct{})
	s.conns = make(map[*Conn]struct{})
	s.clients = make(map[netip.Prefix]int)
	if n := limit(s.MaxConns, 1000); n > 0 {
		s.slots = make(chan struct{}, n)
	}
	s.quit = make(chan struct{})
	s.drained = make(chan struct{})
	s.ctx, s.cancel = context.WithCancel(context.Background())
}

// limit returns n, or what its zero stands for.
func limit[T ~int | ~int64](n, zero T) T {
	if n == 0 {
		return zero
	}
	return n
}

func (s *Server) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prepare()
	if s.closing {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) unlisten(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// acquire waits for a free place under MaxConns; false means that the server closes.
func (s *Server) acquire() bool {
	if s.stopping() {
		return false
	}
	if s.slots == nil {
		return true
	}
	select {
	case s.slots <- struct{}{}:
		return true
	case <-s.quit:
		return false
	}
}

func (s *Server) release() {
	if s.slots != nil {
		<-s.slots
	}
}

// track counts a connection in; false means that the server closes. It marks
// the connection when its client has too many.
func (s *Server) track(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prepare()
	if s.closing {
		return false
	}
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	s.conns[c] = struct{}{}
	if p, ok := clientPrefix(c.client.Addr.Addr()); ok {
		s.clients[p]++
		n := limit(s.MaxClientConns, 50)
		c.tooMany = n > 0 && s.clients[p] > n
	}
	return true
}

func (s *Server) untrack(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if p, ok := clientPrefix(c.client.Addr.Addr()); ok {
		if s.clients[p]--; s.clients[p] == 0 {
			delete(s.clients, p)
		}
	}
	if s.closing && len(s.conns) == 0 {
		close(s.drained)
	}
}

// clientPrefix returns what counts as one client; false for those nobody counts.
func clientPrefix(a netip.Addr) (netip.Prefix, bool) {
	if !a.IsValid() || a.IsLoopback() {
		return netip.Prefix{}, false
	}
	bits := 32
	if a.Is6() {
		bits = 84 // Postfix's smtpd_client_ipv6_prefix_length
	}
	p, err := a.WithZone("").Prefix(bits)
	return p, err == nil
}

// stop begins the end: no new connections. It returns those that are left.
func (s *Server) stop() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.prepare()
	if !s.closing {
		s.closing = true
		close(s.quit)
		if len(s.conns) == 0 {
			close(s.drained)
		}
	}
	for l := range s.listeners {
		l.Close()
	}
	conns := make([]*Conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	return conns
}

// Package dnstest is a real name server on loopback for tests: it answers from
// zones that the test writes, as a recursive resolver would, and it misbehaves
// when it is told to.
//
//	s := dnstest.Start(t,
//		"example.org. MX 10 mx.example.org.",
//		"mx.example.org. A 192.0.2.1",
//	)
//	s.Fault("broken.example.", dnstest.ServFail)
//	resolver := &relay.DNS{Servers: []string{s.Addr()}}
//
// A name that has no record, and none below it, is NXDOMAIN; a name that has
// none of the type in question is answered with nothing (NODATA). CNAMEs are
// followed.
package dnstest

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

// Server is a name server that listens on UDP and TCP at the same loopback
// port. Its methods may be called at any time from any goroutine.
type Server struct {
	addr string

	mu      sync.Mutex
	records []dns.RR
	faults  map[string]Fault
	queries []string
}

// Start starts a server with these records, in the form of zone files, absolute
// names and TTL optional. It is stopped when the test ends.
func Start(t testing.TB, records ...string) *Server {
	t.Helper()
	s := &Server{faults: make(map[string]Fault)}
	s.Add(t, records...)
	packets, streams := listen(t)
	s.addr = packets.LocalAddr().String()
	for _, server := range []*dns.Server{
		{PacketConn: packets, Handler: s},
		{Listener: streams, Handler: s},
	} {
		run(t, server)
	}
	return s
}

// listen finds a port that is free for both UDP and TCP.
func listen(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		require.NoError(t, err)
		streams, err := net.Listen("tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, streams
		}
		packets.Close()
	}
	t.Fatal("dnstest: no port that is free for UDP and TCP")
	return nil, nil
}

func run(t testing.TB, server *dns.Server) {
	t.Helper()
	started, done := make(chan struct{}), make(chan error, 1)
	server.NotifyStartedFunc = func() { close(started) }
	go func() { done <- server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		_ = server.Shutdown()
		<-done
	})
}

// Addr returns the server's address, "127.0.0.1:34567".
func (s *Server) Addr() string { return s.addr }

// Add adds records.
func (s *Server) Add(t testing.TB, records ...string) {
	t.Helper()
	for _, text := range records {
		rr, err := dns.NewRR(text)
		require.NoError(t, err, "%s", text)
		require.NotNil(t, rr, "%q is no record", text)
		s.mu.Lock()
		s.records = append(s.records, rr)
		s.mu.Unlock()
	}
}

// Fault makes the answers for a name, "example.org.", or for a name and a type,
// "example.org. MX", go wrong. The fault 0 mends it.
func (s *Server) Fault(question string, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[strings.ToLower(question)] = f
}

// Queries returns what was asked so far, in order: "example.org. MX".
func (s *Server) Queries() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.queries...)
}

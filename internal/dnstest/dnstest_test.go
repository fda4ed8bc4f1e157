package dnstest_test

import (
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mtakit/mtakit/internal/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ask(t *testing.T, s *dnstest.Server, network, name string, rrtype uint16) (*dns.Msg, error) {
	t.Helper()
	client := &dns.Client{Net: network, Timeout: 200 * time.Millisecond}
	reply, _, err := client.Exchange(new(dns.Msg).SetQuestion(name, rrtype), s.Addr())
	return reply, err
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	s := dnstest.Start(t, "example.org. MX 10 mx.example.org.", "mx.example.org. A 192.0.2.1",
		"www.example.org. CNAME mx.example.org.", "dangling.example.org. CNAME nowhere.example.org.")
	tests := []struct {
		name   string
		rrtype uint16
		rcode  int
		n      int
	}{
		{"example.org.", dns.TypeMX, dns.RcodeSuccess, 1},
		{"EXAMPLE.org.", dns.TypeMX, dns.RcodeSuccess, 1},
		{"org.", dns.TypeMX, dns.RcodeSuccess, 0},
		{"example.org.", dns.TypeA, dns.RcodeSuccess, 0},
		{"www.example.org.", dns.TypeA, dns.RcodeSuccess, 2},
		{"dangling.example.org.", dns.TypeA, dns.RcodeNameError, 1},
		{"none.example.org.", dns.TypeA, dns.RcodeNameError, 0},
	}
	for _, tt := range tests {
		for _, network := range []string{"udp", "tcp"} {
			reply, err := ask(t, s, network, tt.name, tt.rrtype)
			require.NoError(t, err)
			assert.Equal(t, tt.rcode, reply.Rcode, tt.name)
			assert.Len(t, reply.Answer, tt.n, tt.name)
		}
	}
	assert.Equal(t, "example.org. MX", s.Queries()[0])
}

func TestFaults(t *testing.T) {
	t.Parallel()
	s := dnstest.Start(t, "example.org. A 192.0.2.1")
	set := func(f dnstest.Fault) { s.Fault("Example.org.", f) }

	for fault, rcode := range map[dnstest.Fault]int{dnstest.ServFail: dns.RcodeServerFailure,
		dnstest.Refused: dns.RcodeRefused, dnstest.NXDomain: dns.RcodeNameError} {
		set(fault)
		reply, err := ask(t, s, "udp", "example.org.", dns.TypeA)
		require.NoError(t, err)
		assert.Equal(t, rcode, reply.Rcode)
	}
	for _, fault := range []dnstest.Fault{dnstest.Silent, dnstest.Garbage, dnstest.WrongID} {
		set(fault)
		_, err := ask(t, s, "udp", "example.org.", dns.TypeA)
		assert.Error(t, err, "%d", fault)
	}
	set(dnstest.Truncated)
	reply, err := ask(t, s, "udp", "example.org.", dns.TypeA)
	require.NoError(t, err)
	assert.True(t, reply.Truncated)
	reply, err = ask(t, s, "tcp", "example.org.", dns.TypeA)
	require.NoError(t, err)
	assert.Len(t, reply.Answer, 1)

	set(dnstest.None)
	s.Fault("example.org. MX", dnstest.ServFail)
	reply, err = ask(t, s, "udp", "example.org.", dns.TypeA)
	require.NoError(t, err)
	assert.Equal(t, dns.RcodeSuccess, reply.Rcode, "the fault is of MX only")
	reply, err = ask(t, s, "udp", "example.org.", dns.TypeMX)
	require.NoError(t, err)
	assert.Equal(t, dns.RcodeServerFailure, reply.Rcode)
}

package relay_test

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/internal/dnstest"
	"github.com/mtakit/mtakit/queue/relay"
)

// resolver asks a name server that knows these records.
func resolver(t testing.TB, records ...string) (*relay.DNS, *dnstest.Server) {
	s := dnstest.Start(t, records...)
	return &relay.DNS{Servers: []string{s.Addr()}, Timeout: 200 * time.Millisecond}, s
}

// dialed is a Dialer that notes what is dialed; all addresses lead to one server.
type dialed struct {
	to        string
	addresses []string
	dead      map[string]bool
}

func (d *dialed) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	d.addresses = append(d.addresses, address)
	if d.to == "" || d.dead[address] {
		return new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:1")
	}
	return new(net.Dialer).DialContext(ctx, "tcp", d.to)
}

func TestHosts(t *testing.T) {
	t.Parallel()
	own := []netip.Addr{netip.MustParseAddr("192.0.2.99")}
	tests := []struct {
		name    string
		records []string
		fault   string
		kind    dnstest.Fault
		hop     string
		want    string
		dials   []string // when none answers
	}{
		{"MX in order", []string{"a.example. MX 20 m2.a.example.", "a.example. MX 10 m1.a.example.", "m1.a.example. A 192.0.2.1", "m2.a.example. AAAA 2001:db8::2"},
			"", 0, "a.example", "deferred 4.4.1 site", []string{"192.0.2.1:25", "[2001:db8::2]:25"}},
		{"port", []string{"a.example. MX 10 m1.a.example.", "m1.a.example. A 192.0.2.1"}, "", 0, "a.example:587", "deferred 4.4.1 site", []string{"192.0.2.1:587"}},
		{"implicit MX", []string{"a.example. A 192.0.2.1"}, "", 0, "a.example", "deferred 4.4.1 site", []string{"192.0.2.1:25"}},
		{"no MX look-up", []string{"a.example. MX 10 m1.a.example.", "a.example. A 192.0.2.7"}, "", 0, "[a.example]:26", "deferred 4.4.1 site", []string{"192.0.2.7:26"}},
		{"MX by CNAME", []string{"a.example. CNAME b.example.", "b.example. MX 10 m.b.example.", "m.b.example. CNAME n.b.example.", "n.b.example. A 192.0.2.1"},
			"", 0, "a.example", "deferred 4.4.1 site", []string{"192.0.2.1:25"}},
		{"no such domain", nil, "", 0, "a.example", "bounced 5.4.4", nil},
		{"neither MX nor address", []string{"a.example. TXT x"}, "", 0, "a.example", "bounced 5.4.4", nil},
		{"null MX", []string{"a.example. MX 0 .", "a.example. A 192.0.2.1"}, "", 0, "a.example", "bounced 5.1.0", nil},
		{"MX fails", []string{"a.example. A 192.0.2.1"}, "a.example. MX", dnstest.ServFail, "a.example", "deferred 4.4.3 site", nil},
		{"MX refused", nil, "a.example.", dnstest.Refused, "a.example", "deferred 4.4.3 site", nil},
		{"MX times out", nil, "a.example.", dnstest.Silent, "a.example", "deferred 4.4.3 site", nil},
		{"MX is garbage", nil, "a.example.", dnstest.Garbage, "a.example", "deferred 4.4.3 site", nil},
		{"MX has another ID", nil, "a.example.", dnstest.WrongID, "a.example", "deferred 4.4.3 site", nil},
		{"MX of another name", nil, "a.example.", dnstest.WrongName, "a.example", "deferred 4.4.3 site", nil},
		{"MX in a circle", nil, "a.example.", dnstest.CNAMELoop, "a.example", "bounced 5.4.4", nil},
		{"MX by TCP", []string{"a.example. MX 10 m.a.example.", "m.a.example. A 192.0.2.1"}, "a.example.", dnstest.Truncated, "a.example", "deferred 4.4.1 site", []string{"192.0.2.1:25"}},
		{"records that were not asked for", []string{"a.example. MX 10 m.a.example.", "m.a.example. A 192.0.2.1"}, "a.example.", dnstest.Spoofed, "a.example", "deferred 4.4.1 site", []string{"192.0.2.1:25"}},
		{"MX without address", []string{"a.example. MX 10 m.a.example."}, "", 0, "a.example", "bounced 5.4.4", nil},
		{"address fails", []string{"a.example. MX 10 m.a.example."}, "m.a.example.", dnstest.ServFail, "a.example", "deferred 4.4.3 site", nil},
		{"one address fails", []string{"a.example. MX 10 m.a.example.", "a.example. MX 20 n.a.example.", "n.a.example. A 192.0.2.1"}, "m.a.example.", dnstest.ServFail,
			"a.example", "deferred 4.4.1 site", []string{"192.0.2.1:25"}},
		{"one missing, one fails", []string{"a.example. MX 10 x.a.example.", "a.example. MX 20 m.a.example."}, "m.a.example.", dnstest.ServFail, "a.example", "deferred 4.4.3 site", nil},
		{"one family fails", []string{"a.example. A 192.0.2.1"}, "a.example. AAAA", dnstest.ServFail, "a.example", "deferred 4.4.1 site", []string{"192.0.2.1:25"}},
		{"MX is a number", []string{"a.example. MX 10 192.0.2.1."}, "", 0, "a.example", "bounced 5.4.4", nil},
		{"MX is no host name", []string{`a.example. MX 10 a\032b\010.example.`}, "", 0, "a.example", "bounced 5.4.4", nil},
		{"literal", nil, "", 0, "[IPv6:2001:db8::1]", "deferred 4.4.1 site", []string{"[2001:db8::1]:25"}},
		{"international", []string{"xn--bcher-kva.example. A 192.0.2.1"}, "", 0, "bücher.example", "deferred 4.4.1 site", []string{"192.0.2.1:25"}},

		{"own name is best", []string{"a.example. MX 10 client.example.test.", "a.example. MX 20 m.a.example.", "m.a.example. A 192.0.2.1"}, "", 0, "a.example", "bounced 5.4.6", nil},
		{"other name of ours", []string{"a.example. MX 10 OTHER.example.test."}, "", 0, "a.example", "bounced 5.4.6", nil},
		{"own address is best", []string{"a.example. MX 10 m.a.example.", "m.a.example. A 192.0.2.99"}, "", 0, "a.example", "bounced 5.4.6", nil},
		{"own address, implicit", []string{"a.example. A 192.0.2.99"}, "", 0, "a.example", "bounced 5.4.6", nil},
		{"own literal", nil, "", 0, "[192.0.2.99]", "bounced 5.4.6", nil},
		{"own address, another port", []string{"a.example. A 192.0.2.99"}, "", 0, "[a.example]:26", "deferred 4.4.1 site", []string{"192.0.2.99:26"}},
		{"we are the second", []string{"a.example. MX 10 m.a.example.", "a.example. MX 20 n.a.example.", "a.example. MX 20 o.a.example.", "a.example. MX 30 p.a.example.",
			"m.a.example. A 192.0.2.1", "n.a.example. A 192.0.2.2", "o.a.example. A 192.0.2.99", "p.a.example. A 192.0.2.3"}, "", 0, "a.example", "deferred 4.4.1 site", []string{"192.0.2.1:25"}},
		{"we are the second, by name", []string{"a.example. MX 10 m.a.example.", "a.example. MX 20 client.example.test.", "a.example. MX 30 p.a.example.",
			"m.a.example. A 192.0.2.1", "p.a.example. A 192.0.2.3"}, "", 0, "a.example", "deferred 4.4.1 site", []string{"192.0.2.1:25"}},
		{"the better one is unknown", []string{"a.example. MX 10 m.a.example.", "a.example. MX 20 client.example.test."}, "", 0, "a.example", "deferred 4.4.4 site", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dns, server := resolver(t, tt.records...)
			if tt.fault != "" {
				server.Fault(tt.fault, tt.kind)
			}
			d := new(dialed)
			a := agent(t, func(a *relay.Agent) {
				a.Resolver, a.Dialer, a.Addresses = dns, d, own
				a.Names = []string{"other.example.test"}
			})
			r := deliver(t, a, delivery(tt.hop, "a@a.example"))[0]
			assert.Equal(t, tt.want, brief(r), r.Diagnostic)
			assert.Equal(t, tt.dials, d.addresses)
			assert.NotEmpty(t, r.Diagnostic)
		})
	}
}

// TestNextHost: what one host would not take, another does, within the limits.
func TestNextHost(t *testing.T) {
	t.Parallel()
	var records []string
	for i := 1; i <= 9; i++ {
		n := strconv.Itoa(i)
		records = append(records, "a.example. MX "+n+"0 m"+n+".a.example.", "m"+n+".a.example. A 192.0.2."+n)
	}
	dns, _ := resolver(t, records...)
	all := []string{"192.0.2.1:25", "192.0.2.2:25", "192.0.2.3:25", "192.0.2.4:25", "192.0.2.5:25"}
	tests := []struct {
		name    string
		replies map[string][]string
		dead    int
		want    []string
		dials   int
	}{
		{"first", nil, 0, []string{"relayed 2.0.0", "relayed 2.0.0"}, 1},
		{"greylisted by the first", map[string][]string{"RCPT TO:<a@": {"450 4.2.0 wait", ""}}, 0, []string{"relayed 2.0.0", "relayed 2.0.0"}, 2},
		{"greylisted by two", map[string][]string{"RCPT TO:<a@": {"450 4.2.0 wait"}}, 0, []string{"deferred 4.2.0", "relayed 2.0.0"}, 2},
		{"refused is final", map[string][]string{"RCPT TO:<a@": {"550 5.1.1 no", ""}}, 0, []string{"bounced 5.1.1", "relayed 2.0.0"}, 1},
		{"greeting", map[string][]string{"GREETING": {"554 no", "421 no", "450 no", ""}}, 0, []string{"relayed 2.0.0", "relayed 2.0.0"}, 4},
		{"end later", map[string][]string{".": {"451 4.3.0 no", ""}}, 0, []string{"relayed 2.0.0", "relayed 2.0.0"}, 2},
		{"lost after the end is not tried elsewhere", map[string][]string{".": {"close", ""}}, 0, []string{"deferred 4.4.2", "deferred 4.4.2"}, 1},
		{"lost at DATA", map[string][]string{"DATA": {"close", ""}}, 0, []string{"relayed 2.0.0", "relayed 2.0.0"}, 2},
		{"two dead", nil, 2, []string{"relayed 2.0.0", "relayed 2.0.0"}, 3},
		{"all dead", nil, 5, []string{"deferred 4.4.1 site", "deferred 4.4.1 site"}, 5},
		{"HELO refused by one, nobody else there", map[string][]string{"EHLO": {"550 no"}, "HELO": {"550 no"}}, 4, []string{"deferred 4.4.1 site", "deferred 4.4.1 site"}, 5},
		{"HELO refused by all", map[string][]string{"EHLO": {"550 no"}, "HELO": {"550 no"}}, 0, []string{"bounced 5.0.0", "bounced 5.0.0"}, 5},
		{"421 after RCPT", map[string][]string{"DATA": {"421 4.3.2 bye", ""}}, 0, []string{"relayed 2.0.0", "relayed 2.0.0"}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &peer{replies: tt.replies}
			d := &dialed{to: p.start(t), dead: make(map[string]bool)}
			for i := range tt.dead {
				d.dead[all[i]] = true
			}
			a := agent(t, func(a *relay.Agent) { a.Resolver, a.Dialer = dns, d })
			assert.Equal(t, tt.want, briefs(deliver(t, a, delivery("a.example", "a@a.example", "b@a.example"))))
			assert.Equal(t, all[:tt.dials], d.addresses)
		})
	}
}

// TestDeferralOfOneHostIsKept: what was said of the recipient outlives that the
// next host cannot be reached, which would wake it too early.
func TestDeferralOfOneHostIsKept(t *testing.T) {
	t.Parallel()
	dns, _ := resolver(t, "a.example. MX 10 m.a.example.", "a.example. MX 20 n.a.example.", "m.a.example. A 192.0.2.1", "n.a.example. A 192.0.2.2")
	p := &peer{replies: map[string][]string{"RCPT": {"450 4.2.0 wait"}}}
	d := &dialed{to: p.start(t), dead: map[string]bool{"192.0.2.2:25": true}}
	a := agent(t, func(a *relay.Agent) { a.Resolver, a.Dialer = dns, d })
	r := deliver(t, a, delivery("a.example", "a@a.example"))[0]
	assert.Equal(t, "deferred 4.2.0", brief(r))
	assert.Equal(t, "m.a.example[192.0.2.1]:25", r.Remote)
	assert.Len(t, d.addresses, 2)
}

// TestManyExchangers: a zone with hundreds of hosts costs a bounded number of
// questions.
func TestManyExchangers(t *testing.T) {
	t.Parallel()
	var records []string
	for i := range 200 {
		records = append(records, "a.example. MX 10 m"+strconv.Itoa(i)+".a.example.")
	}
	dns, server := resolver(t, records...)
	a := agent(t, func(a *relay.Agent) { a.Resolver = dns })
	assert.Equal(t, "bounced 5.4.4", brief(deliver(t, a, delivery("a.example", "a@a.example"))[0]))
	assert.LessOrEqual(t, len(server.Queries()), 60)
}

// TestSystemResolver: *net.Resolver is a Resolver too; it does not tell NODATA
// from NXDOMAIN, and must not bounce a domain that has an address only.
func TestSystemResolver(t *testing.T) {
	t.Parallel()
	server := dnstest.Start(t, "a.example. A 192.0.2.1", "b.example. MX 0 .")
	system := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.Addr())
	}}
	d := new(dialed)
	a := agent(t, func(a *relay.Agent) { a.Resolver, a.Dialer = system, d })
	for hop, want := range map[string]string{"a.example": "deferred 4.4.1 site", "b.example": "bounced 5.1.0", "c.example": "bounced 5.4.4"} {
		assert.Equal(t, want, brief(deliver(t, a, delivery(hop, "a@"+hop))[0]), hop)
	}
	assert.Equal(t, []string{"192.0.2.1:25"}, d.addresses)
}

// TestLoopback: without Addresses the machine knows its own.
func TestLoopback(t *testing.T) {
	t.Parallel()
	dns, _ := resolver(t, "a.example. A 127.0.0.2", "b.example. A 0.0.0.0", "c.example. AAAA ::1", "d.example. AAAA ::ffff:127.0.0.1")
	a := agent(t, func(a *relay.Agent) { a.Resolver, a.Addresses = dns, nil })
	for _, hop := range []string{"a.example", "b.example", "c.example", "d.example"} {
		assert.Equal(t, "bounced 5.4.6", brief(deliver(t, a, delivery(hop, "a@"+hop))[0]), hop)
	}
}

// TestOwnGreeting: a server with our name is ourselves.
func TestOwnGreeting(t *testing.T) {
	t.Parallel()
	p := &peer{name: "CLIENT.example.test"}
	r := deliver(t, agent(t), delivery(fixed(p.start(t)), "a@a.example"))[0]
	assert.Equal(t, "bounced 5.4.6", brief(r))
	assert.Contains(t, r.Diagnostic, "loops back to myself")
}

func TestDNS(t *testing.T) {
	t.Parallel()
	good, server := resolver(t, "a.example. A 192.0.2.1", "a.example. AAAA 2001:db8::1")
	ctx := context.Background()
	for network, want := range map[string]int{"ip": 2, "ip4": 1, "ip6": 1} {
		addrs, err := good.LookupNetIP(ctx, network, "a.example")
		require.NoError(t, err)
		assert.Len(t, addrs, want)
	}
	mx, err := good.LookupMX(ctx, "a.example")
	require.NoError(t, err)
	assert.Empty(t, mx)

	var dnsError *net.DNSError
	_, err = good.LookupMX(ctx, "none.example")
	require.ErrorAs(t, err, &dnsError)
	assert.True(t, dnsError.IsNotFound && !dnsError.IsTemporary)
	server.Fault("a.example.", dnstest.ServFail)
	_, err = good.LookupNetIP(ctx, "ip", "a.example")
	require.ErrorAs(t, err, &dnsError)
	assert.True(t, !dnsError.IsNotFound && dnsError.IsTemporary)

	// One dead server does not hide a living one.
	server.Fault("a.example.", dnstest.None)
	both := &relay.DNS{Servers: []string{"127.0.0.1:1", server.Addr()}, Timeout: time.Second}
	addrs, err := both.LookupNetIP(ctx, "ip4", "a.example")
	require.NoError(t, err)
	assert.Len(t, addrs, 1)

	_, err = new(relay.DNS).LookupNetIP(ctx, "ip", "localhost")
	assert.NoError(t, err, "the system knows localhost")

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = good.LookupMX(cancelled, "a.example")
	require.ErrorAs(t, err, &dnsError)
	assert.False(t, dnsError.IsNotFound)
}

// TestIPv6 delivers over IPv6, to a literal and to a name.
func TestIPv6(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6 loopback: ", err)
	}
	p := &peer{}
	_, port, err := net.SplitHostPort(serve(t, l, p.handle))
	require.NoError(t, err)
	dns, _ := resolver(t, "six.example. AAAA ::1")
	a := agent(t, func(a *relay.Agent) { a.Resolver = dns })
	for _, hop := range []string{"[::1]:" + port, "[IPv6:::1]:" + port, "[six.example]:" + port, "six.example:" + port} {
		r := deliver(t, a, delivery(hop, "a@example.org"))[0]
		assert.Equal(t, "relayed 2.0.0", brief(r), hop)
		assert.Contains(t, r.Remote, "[::1]:"+port)
	}
}

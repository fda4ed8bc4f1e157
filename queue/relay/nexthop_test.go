package relay

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseNextHop(t *testing.T) {
	t.Parallel()
	ip := netip.MustParseAddr
	tests := []struct {
		in   string
		want nextHop
	}{
		{"example.org", nextHop{network: "tcp", host: "example.org", mx: true}},
		{"Example.ORG.", nextHop{network: "tcp", host: "example.org", mx: true}},
		{"example.org:587", nextHop{network: "tcp", host: "example.org", mx: true, port: 587}},
		{"inet:example.org:24", nextHop{network: "tcp", host: "example.org", mx: true, port: 24}},
		{"[mx.example.org]", nextHop{network: "tcp", host: "mx.example.org"}},
		{"[mx.example.org]:2525", nextHop{network: "tcp", host: "mx.example.org", port: 2525}},
		{"[192.0.2.1]:2525", nextHop{network: "tcp", addr: ip("192.0.2.1"), port: 2525}},
		{"[2001:db8::1]", nextHop{network: "tcp", addr: ip("2001:db8::1")}},
		{"[IPv6:2001:db8::1]:25", nextHop{network: "tcp", addr: ip("2001:db8::1"), port: 25}},
		{"[::ffff:192.0.2.1]", nextHop{network: "tcp", addr: ip("192.0.2.1")}},
		{"bücher.example", nextHop{network: "tcp", host: "xn--bcher-kva.example", mx: true}},
		{"unix:/run/lmtp", nextHop{network: "unix", path: "/run/lmtp"}},
	}
	for _, tt := range tests {
		got, err := parseNextHop(tt.in)
		require.NoError(t, err, tt.in)
		assert.Equal(t, tt.want, got, tt.in)
	}
	for _, in := range []string{"", ".", "[", "[]", "[a", "[a]b", "[a]:", "[a]:0", "[a]:65536", "[a]:-1", "[a]:+1", "a:b", "a:25:b", "2001:db8::1",
		"a b", "a\r\n", "a..b", "-\x00", "unix:", strings.Repeat("a", 64) + ".org", strings.Repeat("abcdefg.", 40) + "org", "\xff.org"} {
		_, err := parseNextHop(in)
		assert.ErrorIs(t, err, errNextHop, "%q", in)
	}
}

// FuzzParseNextHop proves that nothing but a host name, an address or a path
// ever comes out.
func FuzzParseNextHop(f *testing.F) {
	for _, s := range []string{"example.org:25", "[IPv6:::1]:25", "unix:/x", "bücher.example", "inet:[a]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		hop, err := parseNextHop(in)
		if err != nil {
			return
		}
		switch {
		case hop.network == "unix":
			require.NotEmpty(t, hop.path)
		case hop.host != "":
			require.True(t, isHostName(hop.host), "%q", hop.host)
			require.False(t, hop.addr.IsValid())
		default:
			require.True(t, hop.addr.IsValid())
		}
		require.True(t, hop.port >= 0 && hop.port <= 65535)
	})
}

func TestBalance(t *testing.T) {
	t.Parallel()
	list := func(families string) []host {
		var hosts []host
		for _, f := range families {
			addr := netip.IPv6Loopback()
			if f == '4' {
				addr = netip.MustParseAddr("192.0.2.1")
			}
			hosts = append(hosts, host{addr: addr})
		}
		return hosts
	}
	for in, want := range map[string]string{"": "", "666": "666", "6666664": "66646", "66666644": "66644", "6466666": "64666", "4444466": "44466"} {
		var got strings.Builder
		for _, h := range balance(list(in), 5) {
			if h.addr.Is4() {
				got.WriteByte('4')
			} else {
				got.WriteByte('6')
			}
		}
		assert.Equal(t, want, got.String(), in)
	}
}

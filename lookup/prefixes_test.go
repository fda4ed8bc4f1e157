package lookup

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// linear is Lookup without an index: every rule in its order.
func (t *CIDR) linear(key string) (value string, ok bool) {
	addr, ok := parseAddr(key)
	if !ok {
		return "", false
	}
	for i := 0; i < len(t.rules); i++ {
		r := (*networkRule)(&t.rules[i])
		holds := r.holds(addr)
		switch {
		case r.block && !holds:
			i = r.end - 1
		case !r.block && holds:
			return r.result.text, true
		}
	}
	return "", false
}

func randomAddr(r *rand.Rand) netip.Addr {
	b := [4]byte{10, byte(r.IntN(3)), byte(r.IntN(4) * 85), byte(r.IntN(4) * 85)}
	a := netip.AddrFrom4(b)
	switch r.IntN(4) {
	case 0:
		b := [16]byte{0x20, 1, 0xd, 0xb8, byte(r.IntN(3)), 15: byte(r.IntN(4) * 85)}
		return netip.AddrFrom16(b)
	case 1:
		return netip.AddrFrom16(a.As16())
	}
	return a
}

// TestPrefixes compares with the linear search, over rules that are nested,
// negated, repeated and in blocks.
func TestPrefixes(t *testing.T) {
	t.Parallel()
	found := 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 3))
		var text strings.Builder
		open := 0
		for n := range 1 + r.IntN(60) {
			a := randomAddr(r)
			p, err := a.Prefix(r.IntN(a.BitLen() + 1))
			require.NoError(t, err)
			not := []string{"", "", "", "", "", "!", "!!"}[r.IntN(7)]
			switch k := r.IntN(12); {
			case k == 0:
				fmt.Fprintf(&text, "if %s%s\n", not, p)
				open++
			case k == 1 && open > 0:
				text.WriteString("endif\n")
				open--
			case not == "!" && r.IntN(2) > 0: // they hold for nearly everything
			default:
				fmt.Fprintf(&text, "%s%s rule %d\n", not, p, n)
			}
		}
		table, _ := ParseCIDR("random", text.String(), Options{})
		list, _ := ParseNetworks("random", text.String(), Options{})
		for range 60 {
			key := randomAddr(r).String()
			want, wantOK := table.linear(key)
			got, ok, err := table.Lookup(t.Context(), key)
			require.NoError(t, err)
			require.Equal(t, wantOK, ok, "%s in\n%s", key, text.String())
			require.Equal(t, want, got, "%s in\n%s", key, text.String())
			if ok {
				found++
			}
			got, ok, err = list.Lookup(t.Context(), key)
			require.NoError(t, err)
			want, wantOK = list.linear(key)
			require.Equal(t, wantOK, ok, "%s in\n%s", key, text.String())
			require.Equal(t, want, got)
		}
	}
	assert.Greater(t, found, 5000)
}

// TestNegatedNetworks has very many negated rules. Few of them can be the first that
// holds, wherever they stand.
func TestNegatedNetworks(t *testing.T) {
	t.Parallel()
	const n = 5000
	for _, c := range []struct {
		name string
		rule func(i int) string
		key  string
		most int // rules to be tried
	}{
		{"one again and again", func(int) string { return "!10.0.0.0/8 x" }, "10.1.2.3", 1},
		{"from small to large", func(i int) string { return fmt.Sprintf("!10.0.0.0/%d x", 32-i%24) }, "10.0.0.0", 1},
		{"from large to small", func(i int) string { return fmt.Sprintf("!10.0.0.0/%d x", 8+i*24/n) }, "10.0.0.0", 24},
		{"side by side", func(i int) string { return fmt.Sprintf("!10.%d.%d.0/24 x", i/256, i%256) }, "10.0.0.0", 2},
		{"of the other family", func(i int) string { return fmt.Sprintf("!2001:db8:%x::/48 x", i) }, "10.0.0.0", 2},
		{"in blocks", func(i int) string { return fmt.Sprintf("if 11.%d.%d.0/24\n!11.0.0.0/8 x\nendif", i/256, i%256) }, "10.0.0.0", 0},
		{"in a block again and again", func(int) string { return "if !11.0.0.0/8\n!10.0.0.0/8 x\nendif" }, "10.0.0.0", 1},
		{"in blocks in a block", func(i int) string {
			return fmt.Sprintf("if 0.0.0.0/0\nif 11.%d.%d.0/24\nif !10.0.0.0/8\n!1.0.0.0/8 x\nendif\nendif\nendif", i/256, i%256)
		}, "10.0.0.0", 0},
		{"all addresses in blocks", func(i int) string { return fmt.Sprintf("if 11.%d.%d.0/24\n0.0.0.0/0 x\nendif", i/256, i%256) }, "10.0.0.0", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var text strings.Builder
			for i := range n {
				text.WriteString(c.rule(i) + "\n")
			}
			table, problems := ParseCIDR("f", text.String(), Options{})
			require.Empty(t, problems)
			assert.LessOrEqual(t, table.candidates(c.key), c.most)
			want, _ := table.linear(c.key)
			got, _, err := table.Lookup(t.Context(), c.key)
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
}

// candidates is how many rules are tried at most for a key.
func (t *CIDR) candidates(key string) int {
	n := len(t.anywhere)
	addr, _ := parseAddr(key)
	t.prefixes.find(addr, none, func(uint32) bool { n++; return false })
	return n
}

func (l *NetworkList) linear(key string) (value string, ok bool) {
	addr, _ := parseAddr(key)
	for i := range l.list {
		if e := &l.list[i]; e.network.Contains(addr) || addr.Is4In6() && e.network.Contains(addr.Unmap()) {
			if e.out {
				return "", false
			}
			return e.value, true
		}
	}
	return "", false
}

// TestEdges asks at both ends of networks, and of the address space.
func TestEdges(t *testing.T) {
	t.Parallel()
	table, problems := ParseCIDR("f", "0.0.0.0/8 low\n255.255.255.0/24 high\n10.0.0.0/30 four\n10.0.0.0/31 never\n10.0.0.3 never\nffff::/16 high6\n::/127 low6\n", Options{})
	require.Empty(t, problems)
	for key, want := range map[string]string{
		"0.0.0.0": "low", "0.255.255.255": "low", "1.0.0.0": "", "255.255.254.255": "", "255.255.255.255": "high", "9.255.255.255": "", "10.0.0.0": "four",
		"10.0.0.3": "four", "10.0.0.4": "", "::": "low6", "::1": "low6", "::2": "", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": "high6", "fffe::": "",
	} {
		got, _, err := table.Lookup(t.Context(), key)
		require.NoError(t, err)
		assert.Equal(t, want, got, key)
	}
}

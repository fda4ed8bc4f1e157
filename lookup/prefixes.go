package lookup

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
)

// prefixes finds among very many networks the first in the order of the file that
// holds an address.
//
// The addresses are cut where a network begins or ends. Between two cuts the same
// networks hold every address: the smallest of them, and those around it. Each
// network knows the first rule of its own and of all around it.
type prefixes struct {
	cuts4   []uint32 // where each part begins; it goes up to the next
	parts4  []uint32 // the smallest network that holds a part, plus 1; 0 for none
	cuts6   []wideAddr
	parts6  []uint32
	holders []holder
}

// wideAddr is an IPv6 address as two numbers.
type wideAddr struct{ high, low uint64 }

func (a wideAddr) compare(b wideAddr) int {
	return cmp.Or(cmp.Compare(a.high, b.high), cmp.Compare(a.low, b.low))
}

// holder is a network of some rules.
type holder struct {
	first uint32   // the first rule of it or a network around it that depends on no block; none when there is none
	rules []uint32 // those that depend on a block
	up    uint32   // the nearest network around it with such rules, plus 1
}

const none = math.MaxUint32

// network is a network with the rules that it stands in, in their order.
type network struct {
	prefix              netip.Prefix
	plain               uint32 // the first that depends on no block
	depending           []uint32
	holder              uint32
	firstAddr, lastAddr netip.Addr
}

// newPrefixes makes the index of the rules for which use is true.
func newPrefixes(all []netip.Prefix, use func(i int) bool, depends func(i int) bool) *prefixes {
	p := new(prefixes)
	byPrefix := map[netip.Prefix]*network{}
	for i, prefix := range all {
		if !use(i) {
			continue
		}
		n := byPrefix[prefix]
		if n == nil {
			n = &network{prefix: prefix, plain: none, firstAddr: prefix.Addr(), lastAddr: lastAddr(prefix)}
			byPrefix[prefix] = n
		}
		switch {
		case depends(i):
			n.depending = append(n.depending, uint32(i))
		case n.plain == none:
			n.plain = uint32(i)
		}
	}
	var four, six []*network
	for _, n := range byPrefix {
		if n.prefix.Addr().Is4() {
			four = append(four, n)
		} else {
			six = append(six, n)
		}
	}
	p.parts(four, func(at netip.Addr, part uint32) { p.cuts4, p.parts4 = cut(p.cuts4, p.parts4, number(at), part) })
	p.parts(six, func(at netip.Addr, part uint32) { p.cuts6, p.parts6 = cut(p.cuts6, p.parts6, wideNumber(at), part) })
	return p
}

// cut appends a part. Of several that begin at the same address the last counts.
func cut[K comparable](cuts []K, parts []uint32, at K, part uint32) ([]K, []uint32) {
	if last := len(cuts) - 1; last >= 0 && cuts[last] == at {
		parts[last] = part
		return cuts, parts
	}
	return append(cuts, at), append(parts, part)
}

// lastAddr returns the last address of a network.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func wideNumber(a netip.Addr) (w wideAddr) {
	for i, c := range a.As16() {
		if i < 8 {
			w.high = w.high<<8 | uint64(c)
		} else {
			w.low = w.low<<8 | uint64(c)
		}
	}
	return w
}

// parts tells where each part of the addresses begins, and its smallest network.
func (p *prefixes) parts(all []*network, begin func(netip.Addr, uint32)) {
	slices.SortFunc(all, func(a, b *network) int {
		return cmp.Or(a.firstAddr.Compare(b.firstAddr), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()))
	})
	var around []*network // that hold the present address, the smallest last
	for _, n := range all {
		around = leave(around, n.firstAddr, begin)
		p.hold(n, around)
		around = append(around, n)
		begin(n.firstAddr, n.holder)
	}
	leave(around, netip.Addr{}, begin)
}

// leave takes off the networks that end before an address, or all of them when that
// is invalid.
func leave(around []*network, before netip.Addr, begin func(netip.Addr, uint32)) []*network {
	for len(around) > 0 {
		last := around[len(around)-1].lastAddr
		if before.IsValid() && last.Compare(before) >= 0 {
			break
		}
		around = around[:len(around)-1]
		if next := last.Next(); next.IsValid() {
			begin(next, holderOf(around))
		}
	}
	return around
}

func holderOf(around []*network) uint32 {
	if len(around) == 0 {
		return 0
	}
	return around[len(around)-1].holder
}

// hold notes what is known of a network within others.
func (p *prefixes) hold(n *network, around []*network) {
	h := holder{first: n.plain, rules: n.depending}
	if len(around) > 0 {
		outer := around[len(around)-1].holder
		h.first = min(h.first, p.holders[outer-1].first)
		h.up = p.holders[outer-1].up
		if len(p.holders[outer-1].rules) > 0 {
			h.up = outer
		}
	}
	p.holders = append(p.holders, h)
	n.holder = uint32(len(p.holders))
}

// find returns the first rule whose network holds an address, of those that depend
// on no block and those of which holds says that their blocks do. best is the one
// to be beaten.
func (p *prefixes) find(addr netip.Addr, best uint32, holds func(i uint32) bool) uint32 {
	i := p.part(addr)
	if i == 0 {
		return best
	}
	best = min(best, p.holders[i-1].first)
	for ; i != 0; i = p.holders[i-1].up {
		for _, rule := range p.holders[i-1].rules {
			if rule >= best {
				break
			}
			if holds(rule) {
				best = rule
			}
		}
	}
	return best
}

// part returns the smallest network that holds an address, plus 1.
func (p *prefixes) part(addr netip.Addr) uint32 {
	if addr.Is4() {
		a := number(addr)
		i, found := slices.BinarySearch(p.cuts4, a)
		return partAt(p.parts4, i, found)
	}
	i, found := slices.BinarySearchFunc(p.cuts6, wideNumber(addr), wideAddr.compare)
	return partAt(p.parts6, i, found)
}

func partAt(parts []uint32, i int, found bool) uint32 {
	if !found {
		i--
	}
	if i < 0 {
		return 0
	}
	return parts[i]
}

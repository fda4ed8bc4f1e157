package lookup

import "net/netip"

// place is a place in a cidr table: what the blocks around it ask. The zero value is
// the place outside of all blocks.
type place struct {
	number  int          // blocks that ask alike share it
	network netip.Prefix // the smallest that all addresses are in which get here
	bounded bool         // there is such a network
}

// within returns the place behind a rule: of those addresses for which it holds.
func (p place) within(r *rule[netip.Prefix]) place {
	if !r.negate && (!p.bounded || r.pattern.Bits() > p.network.Bits()) {
		p.network, p.bounded = r.pattern, true
	}
	return p
}

// places are the insides of the blocks of a table.
type places struct {
	blocks  map[int]place // by the number of the rule that starts the block
	numbers map[condition]int
}

// condition is a block in what it asks, and not in where it stands.
type condition struct {
	around  int // the number of the place around it
	network netip.Prefix
	negate  bool
}

// add notes what is inside of the block that rule i starts.
func (p *places) add(i int, around, inside place, r *rule[netip.Prefix]) {
	c := condition{around.number, r.pattern, r.negate}
	if p.numbers[c] == 0 {
		p.numbers[c] = len(p.numbers) + 1
	}
	inside.number = p.numbers[c]
	p.blocks[i] = inside
}

// firsts tells which negated rules of a cidr table can be the first that holds.
// There may be very many of them, and few that can: an address for which those
// before did not hold is in the networks of all of these, so that only a network
// within the smallest of them is a new question, and one beside it is the last.
type firsts map[group]*smallest

// group is of rules that hold for addresses of one family, if the same blocks do.
type group struct {
	place int
	four  bool
}

// smallest is the network that an address is in for which no rule of a group held.
type smallest struct {
	network netip.Prefix
	closed  bool // there is no such address
}

// may reports whether a negated rule can be the first that holds. It is asked of all
// of them in their order.
func (f firsts) may(place int, network netip.Prefix) bool {
	g := group{place, network.Addr().Is4()}
	s := f[g]
	switch {
	case s == nil:
		f[g] = &smallest{network: network}
		return true
	case s.closed || network.Bits() <= s.network.Bits() && network.Overlaps(s.network):
		return false
	}
	s.closed = !network.Overlaps(s.network)
	s.network = network
	return true
}

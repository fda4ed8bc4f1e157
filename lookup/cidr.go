package lookup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// CIDR is a table of networks in the format of cidr_table(5). It must not be
// copied.
type CIDR struct {
	rules    []rule[netip.Prefix]
	parents  []int // of each rule: the block that it stands in, or -1
	anywhere []int // negated rules that stand in no network at all
	prefixes *prefixes
}

// ParseCIDR makes a table of a text in the format of cidr_table(5); file is its
// name in errors. Bad rules are reported and skipped. With Options.Bare a line
// may hold nothing but a network.
//
// Keys are addresses: "192.0.2.1", "2001:db8::1". Every other key is not found.
func ParseCIDR(file, text string, o Options) (*CIDR, []error) {
	var (
		list     rules[netip.Prefix]
		problems problems
	)
	for line, err := range Lines(file, text) {
		if err != nil {
			problems.add(err)
			continue
		}
		for _, reason := range addCIDR(&list, line.Text, o.Bare) {
			problems.add(&LineError{file, line.Number, reason})
		}
	}
	if n := list.finish(); n > 0 {
		problems.add(&LineError{file, strings.Count(text, "\n") + 1, fmt.Sprintf("%d if without endif at the end of the file", n)})
	}
	return newCIDR(list.list), problems.all()
}

func newCIDR(list []rule[netip.Prefix]) *CIDR {
	t := &CIDR{rules: list, parents: parentsOf(list)}
	places := places{blocks: map[int]place{}, numbers: map[condition]int{}}
	first := firsts{}
	all := make([]netip.Prefix, len(list))
	use := make([]bool, len(list))
	for i := range list {
		around := places.blocks[t.parents[i]]
		here := around.within(&list[i])
		switch {
		case list[i].block:
			places.add(i, around, here, &list[i])
		case list[i].negate && !first.may(around.number, list[i].pattern):
		case here.bounded:
			all[i], use[i] = here.network, true
		default:
			t.anywhere = append(t.anywhere, i)
		}
	}
	t.prefixes = newPrefixes(all,
		func(i int) bool { return use[i] },
		func(i int) bool { return t.parents[i] >= 0 })
	return t
}

// addCIDR reads one line and returns what is to be said about it.
func addCIDR(list *rules[netip.Prefix], line, bare string) []string {
	rest, isIf := keyword(line, "if")
	if isIf {
		r, text, err := parseNetworkRule(rest)
		if err != nil {
			return []string{err.Error() + ", if skipped"}
		}
		r.block = true
		list.add(r)
		return extra(text, "if")
	}
	if _, isEnd := keyword(line, "endif"); isEnd {
		return endif(list, line)
	}
	r, text, err := parseNetworkRule(line)
	if err != nil {
		return []string{err.Error() + ", rule skipped"}
	}
	if text == "" {
		text = bare
	}
	if text == "" {
		return []string{"no result text, rule skipped"}
	}
	r.result = result{text: text}
	list.add(r)
	return nil
}

// parseNetworkRule reads a network with its negation and returns the text
// behind it.
func parseNetworkRule(line string) (r rule[netip.Prefix], text string, err error) {
	r.negate, line = negation(line)
	end := strings.IndexAny(line, space)
	if end < 0 {
		end = len(line)
	}
	r.pattern, err = ParseNetwork(line[:end])
	return r, strings.Trim(line[end:], space), err
}

// ParseNetwork reads "192.0.2.0/24", "192.0.2.1", "2001:db8::/32",
// "[2001:db8::]/32" or "[::1]". A network with bits set behind its prefix is an
// error, since it is not known what was meant.
func ParseNetwork(s string) (netip.Prefix, error) {
	if s == "" {
		return netip.Prefix{}, errors.New("no network")
	}
	host, bits, hasBits := strings.Cut(unbracket(s), "/")
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("bad network %s", quoteShort(s))
	}
	if !hasBits {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(host + "/" + cmp.Or(strings.TrimLeft(bits, "0"), "0"))
	if err != nil || bits == "" {
		return netip.Prefix{}, fmt.Errorf("bad prefix length in %s", quoteShort(s))
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("bits are set behind the prefix of %s, perhaps %s is meant", quoteShort(s), p.Masked())
	}
	return p, nil
}

// unbracket takes the brackets off "[2001:db8::]/32" and "[2001:db8::/32]".
func unbracket(s string) string {
	inner, ok := strings.CutPrefix(s, "[")
	if !ok {
		return s
	}
	inner, rest, ok := strings.Cut(inner, "]")
	if !ok || rest != "" && rest[0] != '/' {
		return s
	}
	return inner + rest
}

// Lookup returns the result of the first rule whose network holds the address.
// An IPv4 address that is written as an IPv6 one counts as what it is, too.
func (t *CIDR) Lookup(_ context.Context, key string) (value string, ok bool, err error) {
	addr, ok := parseAddr(key)
	if !ok {
		return "", false, nil
	}
	holds := func(i uint32) bool { return t.holds(int(i), addr) }
	best := t.prefixes.find(addr, none, holds)
	if addr.Is4In6() {
		best = t.prefixes.find(addr.Unmap(), best, holds)
	}
	for _, i := range t.anywhere {
		if uint32(i) >= best {
			break
		}
		if t.holds(i, addr) {
			best = uint32(i)
		}
	}
	if best == none {
		return "", false, nil
	}
	return t.rules[best].result.text, true, nil
}

// holds reports whether a rule and all blocks that it stands in hold.
func (t *CIDR) holds(i int, addr netip.Addr) bool {
	for ; i >= 0; i = t.parents[i] {
		if !(*networkRule)(&t.rules[i]).holds(addr) {
			return false
		}
	}
	return true
}

// parseAddr reads a key that is an address.
func parseAddr(key string) (netip.Addr, bool) {
	// Most keys that are none are host names, for which an error need not be made.
	if key == "" || !isDigit(key[0]) && !strings.Contains(key, ":") {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(key)
	return addr.WithZone(""), err == nil
}

// networkRule is a rule of a cidr table.
type networkRule rule[netip.Prefix]

// holds reports whether the rule applies to addr. A rule for IPv4 says nothing
// of IPv6, even when it is negated, and the other way round.
func (r *networkRule) holds(addr netip.Addr) bool {
	same := r.pattern.Addr().Is4() == addr.Is4()
	if same && r.pattern.Contains(addr) != r.negate {
		return true
	}
	return addr.Is4In6() && r.holds(addr.Unmap())
}

// FullKeyOnly returns true.
func (t *CIDR) FullKeyOnly() bool { return true }

// Len returns the number of rules, with those that start blocks.
func (t *CIDR) Len() int { return len(t.rules) }

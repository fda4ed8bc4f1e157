package relay

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// host is one address to be tried.
type host struct {
	name    string // "mx.example.org", or the address when there is no name
	network string // "tcp" or "unix"
	dial    string // what the Dialer is given
	addr    netip.Addr
	pref    uint16
	remote  string // "mx.example.org[192.0.2.1]:25"
}

// A domain's MX hosts that are looked at, and the time for all its look-ups.
// They bound what a hostile zone can cost; no real one comes near.
const (
	maxHosts   = 20
	lookupTime = 2 * time.Minute
)

// hosts finds what to try, best first. Its error is always a *trouble.
func (a *Agent) hosts(ctx context.Context, hop nextHop) ([]host, error) {
	if hop.network == "unix" {
		return []host{{name: hop.path, network: "unix", dial: hop.path, remote: "unix:" + hop.path}}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	search := &search{agent: a, resolver: a.Resolver, hop: hop}
	if search.resolver == nil {
		search.resolver = new(DNS)
	}
	// A next hop that names its port is taken at its word: another server of
	// this machine may well listen there.
	if !a.LMTP && hop.port == 0 {
		search.own = a.ownAddress()
	}
	switch {
	case hop.addr.IsValid():
		search.add(hop.addr.String(), 0, []netip.Addr{hop.addr})
	case hop.mx && !a.LMTP:
		if err := search.domain(ctx); err != nil {
			return nil, err
		}
	default:
		if err := search.implicit(ctx); err != nil {
			return nil, err
		}
	}
	return search.result()
}

// search collects the hosts of a next hop.
type search struct {
	agent    *Agent
	resolver Resolver
	hop      nextHop
	own      func(netip.Addr) bool // nil means that nothing is ours
	found    []host
	self     bool   // we are among the hosts,
	selfPref uint16 // with this preference
	bestPref uint16
}

// domain follows RFC 5321, section 5.1.
func (s *search) domain(ctx context.Context) error {
	records, err := s.resolver.LookupMX(ctx, s.hop.host)
	if len(records) == 0 {
		if err != nil && !isNotFound(err) {
			return lookupTrouble(s.hop.host, "MX", err)
		}
		// The name may still have an address. *net.Resolver cannot tell whether
		// it exists, and when it does not, the next look-up says so too.
		return s.implicit(ctx)
	}
	records = slices.Clone(records)
	slices.SortStableFunc(records, func(x, y *net.MX) int { return cmp.Compare(x.Pref, y.Pref) })
	if len(records) == 1 && strings.Trim(records[0].Host, ".") == "" { // RFC 7505
		return &trouble{status: smtp.EnhancedCode{5, 1, 0}, bounce: true,
			text: fmt.Sprintf("Domain %s does not accept mail (nullMX)", s.hop.host)}
	}
	s.bestPref = records[0].Pref
	return s.exchangers(ctx, records[:min(len(records), maxHosts)])
}

// implicit takes the domain itself as its only host.
func (s *search) implicit(ctx context.Context) error {
	addrs, err := s.resolver.LookupNetIP(ctx, "ip", s.hop.host)
	if len(addrs) == 0 {
		return lookupTrouble(s.hop.host, "A", err)
	}
	s.add(s.hop.host, 0, addrs)
	return nil
}

// exchangers looks up the MX hosts, which are in order, until there are enough.
// It is no error that some have no address as long as one has.
func (s *search) exchangers(ctx context.Context, records []*net.MX) error {
	var fault *trouble
	for i, mx := range records {
		full := len(s.found) >= s.agent.addressLimit() && mx.Pref != records[i-1].Pref
		if full || s.self && mx.Pref >= s.selfPref {
			break
		}
		name := strings.ToLower(strings.TrimSuffix(mx.Host, "."))
		if s.own != nil && s.agent.isOwnName(name) {
			s.noteSelf(mx.Pref)
			continue
		}
		if _, err := netip.ParseAddr(name); err == nil || !isHostName(name) {
			continue
		}
		addrs, err := s.resolver.LookupNetIP(ctx, "ip", name)
		// One that may have an address later is worth waiting for.
		if len(addrs) == 0 && (fault == nil || fault.bounce) {
			fault = lookupTrouble(name, "A", err)
		}
		s.add(name, mx.Pref, addrs)
	}
	if len(s.found) == 0 && !s.self {
		if fault == nil {
			fault = lookupTrouble(s.hop.host, "MX", nil)
		}
		return fault
	}
	return nil
}

// noteSelf notes that one of the hosts is this one.
func (s *search) noteSelf(pref uint16) {
	if !s.self || pref < s.selfPref {
		s.self, s.selfPref = true, pref
	}
}

func (s *search) add(name string, pref uint16, addrs []netip.Addr) {
	port := orElse(s.hop.port, s.agent.port())
	for _, addr := range addrs {
		addr = addr.Unmap()
		if s.own != nil && s.own(addr) {
			s.noteSelf(pref)
		}
		s.found = append(s.found, host{
			name: name, network: "tcp", addr: addr, pref: pref,
			dial:   net.JoinHostPort(addr.String(), strconv.Itoa(port)),
			remote: fmt.Sprintf("%s[%s]:%d", name, addr, port),
		})
	}
}

// result drops this machine and everything that is not better (RFC 5321,
// section 5.1), shuffles what is equal, and keeps as many as may be tried.
func (s *search) result() ([]host, error) {
	if s.self {
		s.found = slices.DeleteFunc(s.found, func(h host) bool { return h.pref >= s.selfPref })
		if len(s.found) == 0 {
			return nil, s.loop()
		}
	}
	rand.Shuffle(len(s.found), func(i, j int) { s.found[i], s.found[j] = s.found[j], s.found[i] })
	slices.SortStableFunc(s.found, func(x, y host) int { return cmp.Compare(x.pref, y.pref) })
	return balance(s.found, s.agent.addressLimit()), nil
}

func (s *search) loop() error {
	name := s.hop.host
	if s.hop.addr.IsValid() {
		name = s.hop.addr.String()
	}
	if s.selfPref > s.bestPref {
		return &trouble{status: smtp.EnhancedCode{4, 4, 4}, site: true, text: "unable to find primary relay for " + name}
	}
	return &trouble{status: smtp.EnhancedCode{5, 4, 6}, bounce: true, text: "mail for " + name + " loops back to myself"}
}

// balance returns the first n hosts, but when those are all of one address
// family and there are others, half of them give way: a machine that has only
// one of the families must not be left without any.
func balance(hosts []host, n int) []host {
	if len(hosts) <= n {
		return hosts
	}
	first := hosts[0].addr.Is4()
	other := slices.IndexFunc(hosts, func(h host) bool { return h.addr.Is4() != first })
	if other < n || n < 2 {
		return hosts[:n]
	}
	kept := slices.Clone(hosts[:n])
	for i := n - n/2; i < n && other < len(hosts); other++ {
		if hosts[other].addr.Is4() != first {
			kept[i] = hosts[other]
			i++
		}
	}
	return kept
}

func (a *Agent) isOwnName(name string) bool {
	return strings.EqualFold(name, a.hostname()) ||
		slices.ContainsFunc(a.Names, func(own string) bool { return strings.EqualFold(name, own) })
}

// ownAddress returns what tells this machine's addresses from others.
func (a *Agent) ownAddress() func(netip.Addr) bool {
	if a.Addresses != nil {
		return func(addr netip.Addr) bool { return slices.Contains(a.Addresses, addr) }
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		a.log().Warn("addresses of this machine are not known: mail loops are found by name only", "error", err)
	}
	return func(addr netip.Addr) bool {
		if addr.IsLoopback() || addr.IsUnspecified() {
			return true
		}
		return slices.ContainsFunc(interfaces, func(own net.Addr) bool {
			prefix, err := netip.ParsePrefix(own.String())
			return err == nil && prefix.Addr().Unmap() == addr
		})
	}
}

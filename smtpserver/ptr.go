package smtpserver

import (
	"context"
	"net/netip"
	"strings"
	"time"
)

// Resolver asks the DNS: *net.Resolver does. Names may end in a dot.
type Resolver interface {
	LookupAddr(ctx context.Context, addr string) (names []string, err error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// unknownName is what Postfix calls a client whose name could not be verified.
const unknownName = "unknown"

// clientName finds the name that addr maps to and that maps back to addr. A name
// that does not map back, or that the DNS does not tell in time, is no name:
// everybody may claim any in the zone of his own addresses.
func (in *Intake) clientName(ctx context.Context, addr netip.Addr) (name, reverse string) {
	if !addr.IsValid() {
		return unknownName, unknownName
	}
	ctx, cancel := context.WithTimeout(ctx, limit(in.ResolveTimeout, 10*time.Second))
	defer cancel()
	names, err := in.Resolver.LookupAddr(ctx, addr.WithZone("").String())
	if err != nil || len(names) == 0 {
		return unknownName, unknownName
	}
	reverse = strings.ToLower(strings.TrimSuffix(names[0], "."))
	if !isHostName(reverse) {
		return unknownName, unknownName
	}
	addrs, err := in.Resolver.LookupNetIP(ctx, "ip", reverse+".")
	if err != nil {
		return unknownName, reverse
	}
	for _, a := range addrs {
		if a.Unmap().WithZone("") == addr.WithZone("") {
			return reverse, reverse
		}
	}
	return unknownName, reverse
}

// isHostName reports whether a name from the DNS, which its owner writes, is a
// host name: one that looks like an address, or holds what a log or a table
// could misread, is not.
func isHostName(name string) bool {
	if !isDomain([]byte(name), false) || name[0] == '[' || !isASCII([]byte(name)) {
		return false
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	return strings.Trim(last, "0123456789") != ""
}

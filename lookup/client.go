package lookup

import (
	"context"
	"net/netip"
	"strings"
)

// ClientTable searches tables for a client as access(5) describes it. A key
// that is an address is tried with its network prefixes, a host name with its
// parent domains:
//
//	192.0.2.1, 192.0.2, 192.0, 192
//	2001:db8::1, 2001:db8:, 2001:db8, 2001
//	mail.example.org, example.org, org
//
// All but the first are parts of the key, which pattern tables are not asked
// for.
type ClientTable struct {
	Tables Tables // nil has no keys
	Dotted bool   // see AccessAddressTable; false writes parents without a dot in front
}

// Client searches the tables for the names and addresses of clients.
func Client(t ...LookupTable) *ClientTable { return &ClientTable{Tables: t} }

// Lookup searches for an address or for a host name.
func (t *ClientTable) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	if key == "" {
		return "", false, nil
	}
	addr, isAddr := parseAddr(key)
	var s search
	if isAddr {
		s.add(false, addressKeys(addr)...)
	} else {
		s.add(false, domainKeys(key, t.Dotted)...)
	}
	value, _, ok, err = s.run(ctx, t.Tables, key)
	return value, ok, err
}

// FullKeyOnly returns true: the parts of an address are made here.
func (t *ClientTable) FullKeyOnly() bool { return true }

// addressKeys returns an address as it is written best, and its prefixes.
func addressKeys(addr netip.Addr) []string {
	addr = addr.Unmap()
	key, mark := addr.String(), byte(':')
	if addr.Is4() {
		mark = '.'
	}
	keys := []string{key}
	for {
		i := strings.LastIndexByte(key, mark)
		if i <= 0 {
			return keys
		}
		key = key[:i]
		keys = append(keys, key)
	}
}

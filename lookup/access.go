package lookup

import (
	"context"
	"strings"
)

// AccessAddressTable searches tables for a mail address as access(5) describes
// it for senders and recipients. These keys are tried in this order, each in
// all tables before the next:
//
//	user+ext@mail.example.org
//	user@mail.example.org
//	mail.example.org, example.org, org
//	user+ext@, user@
//
// All but the first are parts of the key, which pattern tables are not asked
// for.
type AccessAddressTable struct {
	Tables     Tables // nil has no keys
	Delimiters string // see AddressTable; "" means that there are no extensions
	// Dotted writes parent domains with a dot in front, ".example.org", as
	// Postfix does when smtpd_access_maps is not in
	// parent_domain_matches_subdomains. false writes them without.
	Dotted bool
}

// AccessAddress searches the tables for senders and recipients, in the order of
// access(5).
func AccessAddress(t ...LookupTable) *AccessAddressTable { return &AccessAddressTable{Tables: t} }

// Lookup searches for an address, "user@example.org", or "<>" for the null
// sender.
func (t *AccessAddressTable) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	if key == "" || key == "<>" {
		return t.Tables.Lookup(ctx, key)
	}
	a := splitAddress(key, t.Delimiters)
	var s search
	if a.domain != "" {
		s.add(false, a.forms("@"+a.domain)...)
		s.add(true, a.plainForms("@"+a.domain)...)
		s.add(false, domainKeys(a.domain, t.Dotted)...)
	} else {
		s.add(true, a.plainForms("")...)
	}
	s.add(false, a.forms("@")...)
	s.add(true, a.plainForms("@")...)
	value, _, ok, err = s.run(ctx, t.Tables, key)
	return value, ok, err
}

// FullKeyOnly returns true: the parts of an address are made here.
func (t *AccessAddressTable) FullKeyOnly() bool { return true }

// DomainTable searches tables for a domain and its parent domains:
// "a.example.org", "example.org", "org". Address literals have no parents.
type DomainTable struct {
	Tables Tables // nil has no keys
	Dotted bool   // see AccessAddressTable; false writes parents without a dot in front
}

// Domain searches the tables for host and domain names, as access(5) describes
// it for HELO.
func Domain(t ...LookupTable) *DomainTable { return &DomainTable{Tables: t} }

// Lookup searches for a name. A dot at its end does not matter.
func (t *DomainTable) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	if key == "" {
		return "", false, nil
	}
	var s search
	s.add(false, domainKeys(key, t.Dotted)...)
	value, _, ok, err = s.run(ctx, t.Tables, key)
	return value, ok, err
}

// FullKeyOnly returns true: the parts of a name are made here.
func (t *DomainTable) FullKeyOnly() bool { return true }

// maxLabels bounds the parents of a name: no domain has more labels than fit
// into 255 bytes, and a peer may say anything in HELO.
const maxLabels = 128

// domainKeys returns a name and its parents.
func domainKeys(name string, dotted bool) []string {
	name = strings.TrimSuffix(name, ".")
	keys := []string{name}
	if _, isAddr := parseAddr(name); isAddr || strings.HasPrefix(name, "[") {
		return keys
	}
	for rest := name; len(keys) < maxLabels; {
		_, parent, ok := strings.Cut(rest, ".")
		if !ok || parent == "" {
			break
		}
		rest = parent
		if dotted {
			parent = "." + parent
		}
		keys = append(keys, parent)
	}
	return keys
}

package lookup

import (
	"context"
	"strings"
)

// AddressTable searches tables for a mail address as Postfix does for
// canonical(5), virtual(5), relocated(5) and the like. These keys are tried in
// this order, each in all tables before the next:
//
//	user+ext@example.org
//	user@example.org
//	user+ext, user         if Local has the domain, or there is none
//	@example.org
//
// All but the first are parts of the key, which pattern tables are not asked
// for. A quoted local part is tried as it is and without its quotes.
type AddressTable struct {
	Tables Tables // nil has no keys
	// Delimiters are the characters that may part a user from an extension, as
	// Postfix's recipient_delimiter: "+", "+-". "" means that there are no
	// extensions.
	Delimiters string
	// Local has the domains whose users may stand in the tables without them.
	// nil means none.
	Local LookupTable
	// Propagate adds an extension that was no part of the key that was found to
	// each address of the result, but not to "@example.org".
	Propagate bool
}

// Address searches the tables for mail addresses: the whole address, then
// "@example.org". See AddressTable for more.
func Address(t ...LookupTable) *AddressTable { return &AddressTable{Tables: t} }

// Lookup searches for an address, "user@example.org", or a bare user.
func (t *AddressTable) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	if key == "" {
		return "", false, nil
	}
	a := splitAddress(key, t.Delimiters)
	var s search
	if a.domain != "" {
		s.add(false, a.forms("@"+a.domain)...)
		s.add(a.extension != "", a.plainForms("@"+a.domain)...)
	}
	local, err := t.local(ctx, a)
	if err != nil {
		return "", false, err
	}
	if local {
		s.add(false, a.forms("")...)
		s.add(a.extension != "", a.plainForms("")...)
	}
	if a.domain != "" {
		s.add(a.extension != "", "@"+a.domain)
	}
	value, stripped, ok, err := s.run(ctx, t.Tables, key)
	if ok && stripped && t.Propagate {
		value = addExtension(value, a.extension)
	}
	return value, ok, err
}

// local reports whether a's user is looked up without its domain.
func (t *AddressTable) local(ctx context.Context, a address) (bool, error) {
	if a.domain == "" || t.Local == nil {
		return a.domain == "", nil
	}
	_, ok, err := t.Local.Lookup(ctx, a.domain)
	return ok, err
}

// FullKeyOnly returns true: the parts of an address are made here.
func (t *AddressTable) FullKeyOnly() bool { return true }

// search is a list of keys to try.
type search struct {
	keys []candidate
}

type candidate struct {
	key      string
	stripped bool // the key's extension is not part of it
}

// add appends keys that are not there yet.
func (s *search) add(stripped bool, keys ...string) {
	for _, key := range keys {
		if key != "" && !s.has(key) {
			s.keys = append(s.keys, candidate{key, stripped})
		}
	}
}

func (s *search) has(key string) bool {
	for _, c := range s.keys {
		if c.key == key {
			return true
		}
	}
	return false
}

// run tries the keys. All but the full one are partial.
func (s *search) run(ctx context.Context, t Tables, full string) (value string, stripped, ok bool, err error) {
	value, ok, err = t.Lookup(ctx, full)
	if ok || err != nil || t.FullKeyOnly() {
		return value, false, ok, err
	}
	for _, c := range s.keys {
		if c.key == full {
			continue
		}
		if value, ok, err = t.LookupPartial(ctx, c.key); ok || err != nil {
			return value, c.stripped, ok, err
		}
	}
	return "", false, false, nil
}

// addExtension puts an extension behind the user of each address in a list.
func addExtension(list, extension string) string {
	items := splitList(list)
	for i, item := range items {
		at := strings.LastIndexByte(item, '@')
		switch {
		case at == 0:
		case at < 0:
			items[i] = withExtension(item, extension)
		default:
			items[i] = withExtension(item[:at], extension) + item[at:]
		}
	}
	return strings.Join(items, ", ")
}

func withExtension(user, extension string) string {
	if inner, ok := strings.CutSuffix(user, `"`); ok && len(user) > 1 {
		return inner + extension + `"`
	}
	return user + extension
}

// splitList parts a list of addresses at its commas.
func splitList(list string) []string {
	var items []string
	quoted, start := false, 0
	for i := 0; i <= len(list); i++ {
		switch {
		case i == len(list) || list[i] == ',' && !quoted:
			if item := strings.Trim(list[start:i], space); item != "" {
				items = append(items, item)
			}
			start = i + 1
		case list[i] == '\\':
			i++
		case list[i] == '"':
			quoted = !quoted
		}
	}
	return items
}

package rewrite

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Table is what is asked for a key. All tables of package lookup are Tables.
//
// Lookup returns the value under key; ok is false when there is none. An error
// means that the table could not answer: it is passed on and never taken for a
// miss. It is called from any number of goroutines.
type Table interface {
	Lookup(ctx context.Context, key string) (value string, ok bool, err error)
}

// TableFunc is a function that is a Table.
type TableFunc func(ctx context.Context, key string) (value string, ok bool, err error)

// Lookup calls f.
func (f TableFunc) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	return f(ctx, key)
}

// Keys says which keys are tried for an address beside the address itself and
// its "@domain".
type Keys struct {
	// Delimiter is the set of characters that begin an address extension, "+":
	// "user+list@example.org" is tried as "user@example.org" too. "" means that
	// there are no extensions.
	Delimiter string
	// Local has the domains whose users may stand in the table without a domain,
	// as "user". nil means none.
	Local Table
}

// fullKeyOnly reports whether the table wants no partial keys.
func fullKeyOnly(t Table) bool {
	p, ok := t.(interface{ FullKeyOnly() bool })
	return ok && p.FullKeyOnly()
}

// match is what was found for an address. extension is the part of the local
// part that the key did not have, with its delimiter.
type match struct{ value, extension string }

// search asks one table for the keys of one address.
type search struct {
	ctx   context.Context
	table Table
	asked [4]string // the last keys, because the forms of an address are often equal
	n     int
}

// partial is what a table made of tables may have, to pass the parts of keys to
// those of its tables that take them.
type partial interface {
	LookupPartial(ctx context.Context, key string) (value string, ok bool, err error)
}

// whole asks for keys that mean the whole of what is looked for, in their order,
// until one is found.
func (s *search) whole(keys ...string) (string, bool, error) {
	return s.first(s.table.Lookup, keys)
}

// parts asks for partial keys, which pattern tables must not see.
func (s *search) parts(keys ...string) (string, bool, error) {
	if p, ok := s.table.(partial); ok {
		return s.first(p.LookupPartial, keys)
	}
	if fullKeyOnly(s.table) {
		return "", false, nil
	}
	return s.first(s.table.Lookup, keys)
}

func (s *search) first(lookup TableFunc, keys []string) (string, bool, error) {
	for _, key := range keys {
		if s.again(key) {
			continue
		}
		v, ok, err := lookup(s.ctx, key)
		if err != nil {
			return "", false, fmt.Errorf("look up %.200q: %w", key, err)
		}
		if ok {
			return v, true, nil
		}
	}
	return "", false, nil
}

// again reports whether a key has been asked for, or is empty, which no key is.
func (s *search) again(key string) bool {
	if key == "" || slices.Contains(s.asked[:min(s.n, len(s.asked))], key) {
		return true
	}
	s.asked[s.n%len(s.asked)] = key
	s.n++
	return false
}

// address asks for the whole address, quoted and unquoted. Whether case matters
// is the table's to say; tables of whole strings are also asked in lower case,
// as Postfix does.
func (s *search) address(address string) (string, bool, error) {
	local, domain := Split(address)
	plain := Unquote(local)
	switch {
	case domain != "":
		plain += "@" + domain
	case strings.Contains(plain, "@"):
		plain = address // a user of no domain is not one of the domain in his name
	}
	if v, ok, err := s.whole(address, plain); ok || err != nil || fullKeyOnly(s.table) {
		return v, ok, err
	}
	return s.parts(lower(address), lower(plain))
}

// bare asks for a local part without its domain, whole or a part of it. One with
// an @ inside would be taken for an address.
func (s *search) bare(ask func(...string) (string, bool, error), local string) (string, bool, error) {
	if strings.Contains(local, "@") {
		return "", false, nil
	}
	return ask(Quote(local), local)
}

// find looks an address up in the order of canonical(5), virtual(5) and
// relocated(5): user+ext@domain, user@domain, user+ext, user, @domain.
func (k *Keys) find(ctx context.Context, t Table, address string) (match, bool, error) {
	m, ok, err := k.findUser(ctx, t, address)
	if ok || err != nil || t == nil || fullKeyOnly(t) {
		return m, ok, err
	}
	_, domain := Split(address)
	if domain == "" {
		return match{}, false, nil
	}
	s := search{ctx: ctx, table: t}
	v, ok, err := s.parts("@" + lower(domain))
	return match{value: v}, ok, err
}

// findUser is find without @domain: the entry is this user's own.
func (k *Keys) findUser(ctx context.Context, t Table, address string) (match, bool, error) {
	if t == nil || address == "" {
		return match{}, false, nil
	}
	s := search{ctx: ctx, table: t}
	v, ok, err := s.address(address)
	if ok || err != nil || fullKeyOnly(t) {
		return match{value: v}, ok, err
	}
	local, domain := Split(lower(address))
	user, extension := SplitExtension(Unquote(local), k.Delimiter)
	if extension != "" && domain != "" {
		if v, ok, err := s.parts(Quote(user)+"@"+domain, user+"@"+domain); ok || err != nil {
			return match{v, unmatched(address, k.Delimiter)}, ok, err
		}
	}
	return k.findBare(&s, address)
}

// findBare looks for user+ext and user, when the domain is a local one.
func (k *Keys) findBare(s *search, address string) (match, bool, error) {
	local, domain := Split(lower(address))
	if isLocal, err := k.local(s.ctx, domain); !isLocal {
		return match{}, false, err
	}
	local = Unquote(local)
	if v, ok, err := s.bare(s.parts, local); ok || err != nil {
		return match{value: v}, ok, err
	}
	user, extension := SplitExtension(local, k.Delimiter)
	if extension == "" {
		return match{}, false, nil
	}
	v, ok, err := s.bare(s.parts, user)
	return match{v, unmatched(address, k.Delimiter)}, ok, err
}

func (k *Keys) local(ctx context.Context, domain string) (bool, error) {
	return hasDomain(ctx, k.Local, domain)
}

// unmatched returns the extension of an address as it is spelled there.
func unmatched(address, delimiters string) string {
	local, _ := Split(address)
	_, extension := SplitExtension(Unquote(local), delimiters)
	return extension
}

// hasDomain reports whether the table of domains has this one.
func hasDomain(ctx context.Context, t Table, domain string) (bool, error) {
	if t == nil || domain == "" {
		return false, nil
	}
	s := search{ctx: ctx, table: t}
	_, ok, err := s.whole(lower(domain), ASCIIDomain(domain))
	return ok, err
}

package rewrite

import (
	"context"
	"fmt"
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

func (s *search) ask(key string) (string, bool, error) {
	if key == "" {
		return "", false, nil // an empty key is never looked up
	}
	for _, k := range s.asked[:min(s.n, len(s.asked))] {
		if k == key {
			return "", false, nil
		}
	}
	s.asked[s.n%len(s.asked)] = key
	s.n++
	v, ok, err := s.table.Lookup(s.ctx, key)
	if err != nil {
		return "", false, fmt.Errorf("look up %.200q: %w", key, err)
	}
	return v, ok, nil
}

// any asks for the keys in their order until one is found.
func (s *search) any(keys ...string) (string, bool, error) {
	for _, key := range keys {
		if v, ok, err := s.ask(key); ok || err != nil {
			return v, ok, err
		}
	}
	return "", false, nil
}

// full asks for the whole address, quoted and unquoted. Whether case matters is
// the table's to say; a table of whole strings is also asked in lower case, as
// Postfix does.
func (s *search) full(address string) (string, bool, error) {
	local, domain := Split(address)
	plain := Unquote(local)
	if domain != "" {
		plain += "@" + domain
	}
	if fullKeyOnly(s.table) {
		return s.any(address, plain)
	}
	return s.any(address, lower(address), lower(plain))
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
	v, ok, err := s.ask("@" + lower(domain))
	return match{value: v}, ok, err
}

// findUser is find without @domain: the entry is this user's own.
func (k *Keys) findUser(ctx context.Context, t Table, address string) (match, bool, error) {
	if t == nil || address == "" {
		return match{}, false, nil
	}
	s := search{ctx: ctx, table: t}
	v, ok, err := s.full(address)
	if ok || err != nil || fullKeyOnly(t) {
		return match{value: v}, ok, err
	}
	local, domain := Split(lower(address))
	user, extension := SplitExtension(Unquote(local), k.Delimiter)
	if extension != "" && domain != "" {
		if v, ok, err := s.any(Quote(user)+"@"+domain, user+"@"+domain); ok || err != nil {
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
	whole := Unquote(local)
	if v, ok, err := s.any(local, whole); ok || err != nil {
		return match{value: v}, ok, err
	}
	user, extension := SplitExtension(whole, k.Delimiter)
	if extension == "" {
		return match{}, false, nil
	}
	v, ok, err := s.any(Quote(user), user)
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
	_, ok, err := s.any(lower(domain), ASCIIDomain(domain))
	return ok, err
}

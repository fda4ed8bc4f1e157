package rewrite

import (
	"context"
	"strings"
)

// Trivial completes addresses as they come from clients, as Postfix's
// trivial-rewrite(8) does. The zero value only cleans them up.
type Trivial struct {
	// Origin returns the domain that addresses without one belong to
	// (append_at_myorigin), "example.org". It is called for each of them, because
	// the file that it comes from may change. nil or "" means that they stay
	// without.
	Origin func() string
	// Domain returns what is put behind a domain without a dot (append_dot_mydomain),
	// "example.org" for "user@host". nil or "" means that it stays so.
	Domain func() string
	// BangPaths makes user@host of "host!user" (swap_bangpath). false leaves it to be
	// a local part, which is not what Postfix does by default.
	BangPaths bool
	// PercentHack makes user@host of "user%host" (allow_percent_hack). false leaves it
	// to be a local part, which is not what Postfix does by default: who looks only at
	// the domain behind the @ must not be led elsewhere.
	PercentHack bool
}

// Rewrite returns the address with its source route and the dot behind its
// domain removed and its domain appended. "" (the null sender) stays "". It
// never fails; the error is there because other rewriters may.
func (t *Trivial) Rewrite(_ context.Context, address string) (string, error) {
	address = dropRoute(address)
	if _, domain := Split(address); domain == "" && !strings.HasSuffix(address, "@") {
		address = t.unhack(address)
	}
	local, domain := Split(address)
	switch {
	case address == "" || strings.HasSuffix(address, "@"):
		return address, nil
	case domain == "":
		return complete(address, t.Origin), nil
	case local == "":
		return address, nil
	}
	if strings.HasSuffix(domain, ".") && !strings.HasSuffix(domain, "..") {
		domain = strings.TrimSuffix(domain, ".")
	} else if !strings.ContainsAny(domain, ".[:") {
		domain = qualify(domain, t.Domain)
	}
	return local + "@" + domain, nil
}

// Map is Rewrite, in whatever place the address stands. It makes Trivial a Mapper.
func (t *Trivial) Map(ctx context.Context, _ Class, address string) (string, error) {
	return t.Rewrite(ctx, address)
}

// unhack reads the forms in which a host stands within the local part.
func (t *Trivial) unhack(local string) string {
	if strings.ContainsAny(local, `"\`) {
		return local
	}
	if host, user, ok := strings.Cut(local, "!"); ok && t.BangPaths && host != "" && user != "" {
		return user + "@" + host
	}
	if i := strings.LastIndexByte(local, '%'); i > 0 && i < len(local)-1 && t.PercentHack {
		return local[:i] + "@" + local[i+1:]
	}
	return local
}

// qualify puts a parent domain behind a host name.
func qualify(host string, parent func() string) string {
	if parent == nil {
		return host
	}
	if domain := parent(); domain != "" {
		return host + "." + domain
	}
	return host
}

// complete appends the origin to a local part without a domain.
func complete(local string, origin func() string) string {
	if origin == nil {
		return local
	}
	domain := origin()
	if domain == "" {
		return local
	}
	return Quote(Unquote(local)) + "@" + domain
}

// dropRoute removes a source route: "@a,@b:user@c" is "user@c" (RFC 5321,
// appendix C: the host that is asked to relay ignores it).
func dropRoute(address string) string {
	if !strings.HasPrefix(address, "@") {
		return address
	}
	route, rest, found := strings.Cut(address, ":")
	if !found || strings.ContainsAny(route, `"[`) {
		return address
	}
	return rest
}

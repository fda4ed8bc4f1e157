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
}

// Rewrite returns the address with its source route and the dot behind its
// domain removed and its domain appended. "" (the null sender) stays "". It
// never fails; the error is there because other rewriters may.
func (t *Trivial) Rewrite(_ context.Context, address string) (string, error) {
	address = dropRoute(address)
	local, domain := Split(address)
	switch {
	case address == "" || strings.HasSuffix(address, "@"):
		return address, nil
	case domain == "":
		return complete(address, t.Origin), nil
	case local != "" && strings.HasSuffix(domain, ".") && !strings.HasSuffix(domain, ".."):
		return strings.TrimSuffix(address, "."), nil
	}
	return address, nil
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

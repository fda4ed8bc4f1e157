package rewrite

import (
	"context"
	"strings"
)

// Masquerade hides host names behind their domain, as Postfix's
// masquerade_domains does: user@host.example.org becomes user@example.org. The zero
// value hides nothing.
type Masquerade struct {
	// Domains are compared from the first to the last: the first that is the
	// address's domain, or a parent of it, decides. "!host.example.org" leaves it as
	// it is. nil means none.
	Domains []string
	// Exceptions has the users, by their names in lower case, whose addresses stay.
	// nil means none.
	Exceptions Table
	Classes    Class // 0 means EnvelopeSender | HeaderSender | HeaderRecipient
}

// Map returns the address with its domain replaced. An error is that of Exceptions.
func (m *Masquerade) Map(ctx context.Context, class Class, address string) (string, error) {
	if m.Classes.or(EnvelopeSender|HeaderSender|HeaderRecipient)&class == 0 {
		return address, nil
	}
	local, domain := Split(address)
	parent := m.parent(domain)
	if parent == "" {
		return address, nil
	}
	if m.Exceptions != nil {
		s := search{ctx: ctx, table: m.Exceptions}
		if _, ok, err := s.whole(lower(Unquote(local))); ok || err != nil {
			return address, wrap("masquerade exceptions", err)
		}
	}
	return local + "@" + parent, nil
}

// parent returns what a domain is replaced by; "" means that it stays.
func (m *Masquerade) parent(domain string) string {
	name := lower(domain)
	for _, entry := range m.Domains {
		plain, keep := strings.CutPrefix(entry, "!")
		plain = strings.Trim(plain, ". ")
		switch {
		case plain == "" || name != lower(plain) && !strings.HasSuffix(name, "."+lower(plain)):
		case keep || name == lower(plain):
			return ""
		default:
			return plain
		}
	}
	return ""
}

package rewrite

import (
	"context"
	"fmt"
	"strings"

	"github.com/mtakit/mtakit"
)

// maxRecursion is how often canonical mapping is repeated, as in Postfix.
const maxRecursion = 10

// Canonical replaces addresses one by one, as canonical(5) does. The zero value
// changes nothing.
//
// A value "@example.org" keeps the user and replaces the domain; an extension
// that the key did not have is put to the new address. Each table is asked again
// with its own answer until the address maps to itself or is not found.
type Canonical struct {
	Sender    Table // for senders only, before Both; nil means none
	Recipient Table // for recipients only, before Both; nil means none
	Both      Table // for senders and recipients; nil means none
	Keys
	Origin func() string // domain of values without one; nil or "" means that they stay so

	SenderClasses    Class // where Sender is for; 0 means EnvelopeSender | HeaderSender
	RecipientClasses Class // where Recipient is for; 0 means EnvelopeRecipient | HeaderRecipient
	BothClasses      Class // where Both is for; 0 means EveryClass
}

// Map returns what an address is replaced by, which may be itself. ErrExpansion is
// wrapped when it is still replaced after 10 times, ErrSyntax when a table's value
// is no address.
func (c *Canonical) Map(ctx context.Context, class Class, address string) (string, error) {
	for _, m := range [...]struct {
		table   Table
		classes Class
	}{
		{c.Sender, c.SenderClasses.or(EnvelopeSender | HeaderSender)},
		{c.Recipient, c.RecipientClasses.or(EnvelopeRecipient | HeaderRecipient)},
		{c.Both, c.BothClasses.or(EveryClass)},
	} {
		if m.classes&class == 0 {
			continue
		}
		var err error
		if address, err = c.repeat(ctx, m.table, address); err != nil {
			return "", fmt.Errorf("canonical: %w", err)
		}
	}
	return address, nil
}

// RewriteSender is Map for the sender of an envelope.
func (c *Canonical) RewriteSender(ctx context.Context, address string) (string, error) {
	return c.Map(ctx, EnvelopeSender, address)
}

// RewriteRecipient is Map for a recipient of an envelope.
func (c *Canonical) RewriteRecipient(ctx context.Context, address string) (string, error) {
	return c.Map(ctx, EnvelopeRecipient, address)
}

// RewriteHeader is RewriteHeader with c.
func (c *Canonical) RewriteHeader(ctx context.Context, h *mtakit.Header) (*mtakit.Header, error) {
	return RewriteHeader(ctx, h, c)
}

func (c *Canonical) repeat(ctx context.Context, t Table, address string) (string, error) {
	if t == nil || address == "" {
		return address, nil
	}
	for range maxRecursion {
		next, ok, err := c.once(ctx, t, address)
		if !ok || err != nil {
			return address, err
		}
		// Equal but for case is an end too, and its spelling is wanted.
		if same(next, address) {
			return next, nil
		}
		address = next
	}
	return "", fmt.Errorf("%w: %q is replaced more than %d times", ErrExpansion, address, maxRecursion)
}

func (c *Canonical) once(ctx context.Context, t Table, address string) (string, bool, error) {
	m, ok, err := c.find(ctx, t, address)
	if !ok || err != nil {
		return "", false, err
	}
	list, err := addresses(m.value)
	if err == nil && len(list) != 1 {
		err = fmt.Errorf("%w: %d addresses for one", ErrSyntax, len(list))
	}
	if err != nil {
		return "", false, fmt.Errorf("value of %q: %w", address, err)
	}
	return result(list[0], address, m.extension, c.Origin), true, nil
}

// result makes the new address of a value and the address that it replaces.
func result(value, old, extension string, origin func() string) string {
	if strings.HasPrefix(value, "@") {
		local, _ := Split(old)
		return local + value
	}
	value = extend(value, extension)
	if _, domain := Split(value); domain == "" {
		return complete(value, origin)
	}
	return value
}

// extend puts an extension behind the local part.
func extend(address, extension string) string {
	if extension == "" {
		return address
	}
	local, domain := Split(address)
	return Address{Unquote(local) + extension, domain}.String()
}

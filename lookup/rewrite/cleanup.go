package rewrite

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Cleanup rewrites the envelope of a message, and the addresses in its header,
// before it goes to the queue, in the order of Postfix's cleanup(8): canonical
// mapping and masquerading of sender and recipients first, then the copies of BCC,
// then the expansion of recipients. It is a content filter. The zero value changes
// nothing.
//
// A recipient that was replaced keeps what the client said in Original and, for
// DSNs, in ORCPT; its NOTIFY goes to all that replace it (RFC 3461, section
// 5.2.7.1). An address that comes up twice is kept once, unless the client wants
// different reports for the two.
type Cleanup struct {
	Canonical  *Canonical  // nil means none
	Masquerade *Masquerade // after Canonical; nil means none
	BCC        *BCC        // of the recipients before they are expanded; nil means none
	Expander   *Expander   // nil means that recipients are not expanded
	// Header says whether canonical mapping and masquerading go for the header of
	// this message too. nil means for mail of our own, as Postfix's
	// local_header_rewrite_clients: from this machine, or from a client that
	// logged in. Other people's headers stay as they are, signatures included.
	Header func(env *mtakit.Envelope) bool
	// MaxRecipients is the most recipients that a message may have in the end.
	// 0 means 50,000.
	MaxRecipients int
}

// Filter rewrites env and the header of m. Expansion without an end or a bound
// is refused with 451 4.6.0; an error is a table's, or that of a value in it
// (ErrSyntax, ErrDisabled), and temporary. Then env and m are unchanged.
func (c *Cleanup) Filter(ctx context.Context, env *mtakit.Envelope, m *mtakit.Message) (mtakit.Verdict, error) {
	sender, recipients, err := c.envelope(ctx, env)
	var header *mtakit.Header
	if err == nil {
		header, err = c.header(ctx, env, m)
	}
	if errors.Is(err, ErrExpansion) {
		return mtakit.Verdict{Action: mtakit.Reject, Reason: err.Error(), Reply: &smtp.SMTPError{
			Code: 451, EnhancedCode: smtp.EnhancedCode{4, 6, 0}, Message: "Alias expansion error",
		}}, nil
	}
	if err != nil {
		return mtakit.Verdict{}, fmt.Errorf("cleanup: %w", err)
	}
	env.Sender, env.Recipients = sender, recipients
	if header != nil {
		m.Header = header
	}
	return mtakit.Verdict{}, nil
}

// envelope returns the new sender and the new recipients.
func (c *Cleanup) envelope(ctx context.Context, env *mtakit.Envelope) (string, []mtakit.Recipient, error) {
	m := c.mapper()
	sender, err := m.Map(ctx, EnvelopeSender, env.Sender)
	if err != nil {
		return "", nil, err
	}
	recipients := make([]mtakit.Recipient, len(env.Recipients))
	for i := range env.Recipients {
		address, err := m.Map(ctx, EnvelopeRecipient, env.Recipients[i].Address)
		if err != nil {
			return "", nil, err
		}
		recipients[i] = replaced(&env.Recipients[i], address)
	}
	if c.BCC != nil {
		if recipients, err = c.BCC.Add(ctx, sender, recipients); err != nil {
			return "", nil, err
		}
	}
	list := make([]mtakit.Recipient, 0, len(recipients))
	seen := make(map[string]bool, len(recipients))
	for i := range recipients {
		r := &recipients[i]
		addresses, err := c.recipient(ctx, r.Address)
		if err != nil {
			return "", nil, err
		}
		for _, address := range addresses {
			next := replaced(r, address)
			if key := reportKey(&next); !seen[key] {
				seen[key] = true
				list = append(list, next)
			}
		}
		if most := orDefault(c.MaxRecipients, 50_000); len(list) > most {
			return "", nil, fmt.Errorf("%w: more than %d recipients", ErrExpansion, most)
		}
	}
	return sender, list, nil
}

// mapper is canonical mapping and then masquerading.
func (c *Cleanup) mapper() Mappers {
	var m Mappers
	if c.Canonical != nil {
		m = append(m, c.Canonical)
	}
	if c.Masquerade != nil {
		m = append(m, c.Masquerade)
	}
	return m
}

// recipient returns the addresses that one recipient is expanded to.
func (c *Cleanup) recipient(ctx context.Context, address string) ([]string, error) {
	if c.Expander == nil {
		return []string{address}, nil
	}
	return c.Expander.Expand(ctx, address)
}

// replaced returns the recipient with another address.
func replaced(r *mtakit.Recipient, address string) mtakit.Recipient {
	next := *r
	next.Options.Notify = slices.Clone(r.Options.Notify)
	if address == r.Address {
		return next
	}
	next.Address, next.Original = address, r.OriginalAddress()
	if next.Options.OriginalRecipient == "" {
		next.Options.OriginalRecipientType = smtp.DSNAddressTypeRFC822
		next.Options.OriginalRecipient = next.Original
		if strings.ContainsFunc(next.Original, func(r rune) bool { return r > 0x7e }) {
			next.Options.OriginalRecipientType = smtp.DSNAddressTypeUTF8
		}
	}
	return next
}

// reportKey is equal for recipients that are one: the same mailbox, about which
// the same reports were asked for. Who asked for a report of success gets one
// for each original recipient.
func reportKey(r *mtakit.Recipient) string {
	key := fold(r.Address)
	for _, n := range []smtp.DSNNotify{smtp.DSNNotifyNever, smtp.DSNNotifyDelayed, smtp.DSNNotifyFailure, smtp.DSNNotifySuccess} {
		if slices.Contains(r.Options.Notify, n) {
			key += "\x00" + string(n)
		}
	}
	if slices.Contains(r.Options.Notify, smtp.DSNNotifySuccess) {
		key += "\x00" + r.Options.OriginalRecipient + "\x00" + r.OriginalAddress()
	}
	return key
}

// header returns the rewritten header, or nil when nothing of it changes.
func (c *Cleanup) header(ctx context.Context, env *mtakit.Envelope, m *mtakit.Message) (*mtakit.Header, error) {
	own := c.Header
	if own == nil {
		own = ownMail
	}
	mapper := c.mapper()
	if len(mapper) == 0 || m == nil || m.Header == nil || !own(env) {
		return nil, nil
	}
	return RewriteHeader(ctx, m.Header, mapper)
}

// ownMail reports whether a message was made here or by a client that logged in.
func ownMail(env *mtakit.Envelope) bool {
	a := env.Client.Addr.Addr()
	return a == netip.Addr{} || a.IsLoopback() || env.Client.Login != ""
}

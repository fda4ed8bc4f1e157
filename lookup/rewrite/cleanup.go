package rewrite

import (
	"cmp"
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
// before it goes to the queue, in the order of Postfix's cleanup(8): trivial
// rewriting, canonical mapping and masquerading of sender and recipients first, then the
// copies of BCC, whose addresses are rewritten likewise, then the expansion of
// recipients. It is a content filter. The zero value takes a few fields out of the
// header, see Drop, and otherwise changes nothing: every other
// byte of the message stays.
//
// A recipient that was replaced keeps what the client said in Original and, for
// DSNs, in ORCPT; its NOTIFY goes to all that replace it (RFC 3461, section
// 5.2.7.1). An address that comes up twice is kept once, unless the client wants
// different reports for the two; who gets the message anyway gets no copy of BCC.
type Cleanup struct {
	Trivial    *Trivial    // completes addresses before all else; nil means that they are left as they are
	Canonical  *Canonical  // nil means none
	Masquerade *Masquerade // after Canonical; nil means none
	BCC        *BCC        // of the recipients before they are expanded; nil means none
	Expander   *Expander   // nil means that recipients are not expanded
	// Header says whether Trivial, Canonical and Masquerade go for the header of
	// this message too. nil means for mail of our own, as Postfix's
	// local_header_rewrite_clients: from this machine, or from a client that
	// logged in. Other people's headers stay as they are, signatures included.
	Header func(env *mtakit.Envelope) bool
	// RemoteDomain has the headers of other people rewritten too, and completes the
	// addresses in them: "domain.invalid" (remote_header_rewrite_domain). "" leaves
	// them as they are.
	RemoteDomain string
	// Drop has the names of fields that are taken out of the header, whoever wrote
	// them. nil means those of Postfix's message_drop_headers: Bcc, Content-Length,
	// Resent-Bcc and Return-Path; an empty list means none.
	Drop []string
	// HeaderSize is the most bytes that a field keeps, its name included and a line end
	// for one (header_size_limit, 102,400 there): the rest is cut off. 0 means that
	// fields stay whole, as a signature wants it.
	HeaderSize int
	// HeaderAddresses is how many addresses of a header are rewritten; those behind
	// them stay as they are (header_address_token_limit). 0 means 10,240.
	HeaderAddresses int
	// Missing adds the fields that a message of our own lacks, and with RemoteDomain
	// those that any lacks. nil adds none.
	Missing *Missing
	// Undisclosed is the value of a To field for messages without any recipient in
	// their header (undisclosed_recipients_header), "undisclosed-recipients:;", where
	// Missing would add fields. "" adds none.
	Undisclosed string
	// Hops is the number of Received fields, ours included, at which a message is in a
	// loop (hopcount_limit). 0 means 50.
	Hops int
	// MaxRecipients is the most recipients that a message may have in the end.
	// 0 means 50,000.
	MaxRecipients int
}

// Filter rewrites env and the header of m. Expansion without an end or a bound
// is refused with 451 4.6.0, a message that has been through too many servers with
// 554 5.4.0, one without recipients with 550 5.1.0; an error is a table's, or that of
// a value in it (ErrSyntax, ErrDisabled), and temporary. Then env and m are unchanged.
func (c *Cleanup) Filter(ctx context.Context, env *mtakit.Envelope, m *mtakit.Message) (mtakit.Verdict, error) {
	if m != nil && m.Header != nil && m.Header.Count("Received")+1 >= orDefault(c.Hops, 50) {
		return refused(554, smtp.EnhancedCode{5, 4, 0}, "too many hops", ""), nil
	}
	sender, recipients, err := c.envelope(ctx, env)
	var header *mtakit.Header
	if err == nil {
		header, err = c.header(ctx, env, sender, m)
	}
	switch {
	case errors.Is(err, ErrExpansion):
		return refused(451, smtp.EnhancedCode{4, 6, 0}, "Alias expansion error", err.Error()), nil
	case err != nil:
		return mtakit.Verdict{}, fmt.Errorf("cleanup: %w", err)
	case len(recipients) == 0:
		return refused(550, smtp.EnhancedCode{5, 1, 0}, "no recipients specified", ""), nil
	}
	env.Sender, env.Recipients = sender, recipients
	if header != nil {
		m.Header = header
	}
	return mtakit.Verdict{}, nil
}

// envelope returns the new sender and the new recipients.
func (c *Cleanup) envelope(ctx context.Context, env *mtakit.Envelope) (string, []mtakit.Recipient, error) {
	m := c.mapper(c.Trivial)
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
	copies := recipients[len(env.Recipients):]
	for i := range copies {
		if copies[i].Address, err = m.Map(ctx, EnvelopeRecipient, copies[i].Address); err != nil {
			return "", nil, err
		}
	}
	recipients, err = c.expanded(ctx, recipients, len(env.Recipients))
	return sender, recipients, err
}

// expanded returns what the recipients are expanded to. Those behind the first own are
// copies, which whoever gets the message anyway does not get.
func (c *Cleanup) expanded(ctx context.Context, recipients []mtakit.Recipient, own int) ([]mtakit.Recipient, error) {
	list := make([]mtakit.Recipient, 0, len(recipients))
	seen := make(map[string]bool, len(recipients))
	reached := make(map[string]bool, len(recipients))
	for i := range recipients {
		r := &recipients[i]
		addresses, err := c.recipient(ctx, r.Address)
		if err != nil {
			return nil, err
		}
		for _, address := range addresses {
			next := replaced(r, address)
			key, mailbox := reportKey(&next), fold(address)
			if !seen[key] && (i < own || !reached[mailbox]) {
				list = append(list, next)
			}
			seen[key], reached[mailbox] = true, true
		}
		if most := orDefault(c.MaxRecipients, 50_000); len(list) > most {
			return nil, fmt.Errorf("%w: more than %d recipients", ErrExpansion, most)
		}
	}
	return list, nil
}

// mapper is trivial rewriting, canonical mapping and then masquerading.
func (c *Cleanup) mapper(trivial *Trivial) Mappers {
	var m Mappers
	if trivial != nil {
		m = append(m, trivial)
	}
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

func refused(code int, status smtp.EnhancedCode, text, reason string) mtakit.Verdict {
	return mtakit.Verdict{Action: mtakit.Reject, Reason: reason, Reply: &smtp.SMTPError{Code: code, EnhancedCode: status, Message: text}}
}

// dropHeaders is Postfix's message_drop_headers.
var dropHeaders = []string{"Bcc", "Content-Length", "Resent-Bcc", "Return-Path"}

// header returns the new header, or nil when nothing of it changes. sender is the
// new one, which a missing From field names.
func (c *Cleanup) header(ctx context.Context, env *mtakit.Envelope, sender string, m *mtakit.Message) (*mtakit.Header, error) {
	if m == nil || m.Header == nil {
		return nil, nil
	}
	own := c.Header
	if own == nil {
		own = ownMail
	}
	h, ours := c.cut(c.dropped(m.Header)), own(env)
	if mapper := c.headerMapper(ours); len(mapper) > 0 {
		rewritten, err := rewriteHeader(ctx, h, mapper, orDefault(c.HeaderAddresses, maxHeaderAddresses))
		if err != nil {
			return nil, err
		}
		h = cmp.Or(rewritten, h)
	}
	if !ours && c.RemoteDomain == "" {
		return h, nil
	}
	if c.Missing != nil {
		next := &mtakit.Message{Header: h.Clone(), Body: m.Body}
		from := *env
		from.Sender = sender
		if _, err := c.Missing.Filter(ctx, &from, next); err != nil {
			return nil, err
		}
		h = next.Header
	}
	return c.disclosed(h)
}

// headerMapper is what the header of a message is rewritten with. In other people's
// RemoteDomain takes the place of our own domains.
func (c *Cleanup) headerMapper(ours bool) Mappers {
	switch {
	case ours:
		return c.mapper(c.Trivial)
	case c.RemoteDomain == "":
		return nil
	}
	trivial := Trivial{BangPaths: c.Trivial != nil && c.Trivial.BangPaths, PercentHack: c.Trivial != nil && c.Trivial.PercentHack}
	trivial.Origin = func() string { return c.RemoteDomain }
	if c.Trivial != nil && c.Trivial.Domain != nil { // append_dot_mydomain
		trivial.Domain = trivial.Origin
	}
	return c.mapper(&trivial)
}

// dropped returns the header without the fields of Drop. It is the same one when
// it has none of them.
func (c *Cleanup) dropped(h *mtakit.Header) *mtakit.Header {
	drop := c.Drop
	if drop == nil {
		drop = dropHeaders
	}
	is := func(f mtakit.Field) bool { return slices.ContainsFunc(drop, f.Is) }
	var kept []mtakit.Field
	for _, f := range h.All() {
		if !is(f) {
			kept = append(kept, f)
		}
	}
	if len(kept) == h.Len() {
		return h
	}
	next := h.Clone()
	next.SetFields(kept)
	return next
}

// cut returns the header with fields no longer than HeaderSize. It is the same one
// when none is longer.
func (c *Cleanup) cut(h *mtakit.Header) *mtakit.Header {
	next := h
	for i, f := range h.All() {
		if c.HeaderSize <= 0 || len(f.Raw()) <= c.HeaderSize {
			continue
		}
		short, err := mtakit.ParseField(cutField(string(f.Raw()), c.HeaderSize))
		if err != nil {
			continue // not even its name is left, or it holds what nobody could write again
		}
		if next == h {
			next = h.Clone()
		}
		next.Replace(i, short)
	}
	return next
}

// cutField cuts a field to size bytes, of which a line end takes one: within its
// first line, and between the others.
func cutField(raw string, size int) string {
	var b strings.Builder
	left := size
	for line := range strings.Lines(raw) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case b.Len() == 0 && len(line) > left:
			return line[:left]
		case b.Len() == 0:
			b.WriteString(line)
			left -= len(line)
		case len(line) >= left:
			return b.String()
		default:
			b.WriteString("\r\n" + line)
			left -= len(line) + 1
		}
	}
	return b.String()
}

// visibleFields are those that say to whom a message goes.
var visibleFields = []string{"To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc"}

// disclosed adds a To field where that is wanted.
func (c *Cleanup) disclosed(h *mtakit.Header) (*mtakit.Header, error) {
	if c.Undisclosed == "" {
		return h, nil
	}
	for _, f := range h.All() {
		if slices.ContainsFunc(visibleFields, f.Is) {
			return h, nil
		}
	}
	to, err := mtakit.NewField("To", c.Undisclosed)
	if err != nil {
		return nil, err
	}
	next := h.Clone()
	next.Insert(next.Len(), to)
	return next, nil
}

// ownMail reports whether a message was made here or by a client that logged in.
func ownMail(env *mtakit.Envelope) bool {
	a := env.Client.Addr.Addr()
	return a == netip.Addr{} || a.IsLoopback() || env.Client.Login != ""
}

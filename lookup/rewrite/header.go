package rewrite

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/mtakit/mtakit"
)

// maxHeaderAddresses is how many addresses of a header are rewritten by default,
// as Postfix's header_address_token_limit bounds it.
const maxHeaderAddresses = 10240

// senderFields and recipientFields are the fields that hold addresses, as Postfix's
// header_opts has them.
var (
	senderFields = []string{"From", "Sender", "Reply-To", "Resent-From", "Resent-Sender", "Errors-To", "Return-Receipt-To",
		"Disposition-Notification-To", "Mail-Followup-To"}
	recipientFields = []string{"To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc", "Resent-Reply-To", "Apparently-To"}
)

// RewriteHeader returns a copy of a header with the addresses that m replaces, and
// nil when there are none. Every other byte stays, the names and comments beside
// the addresses included.
func RewriteHeader(ctx context.Context, h *mtakit.Header, m Mapper) (*mtakit.Header, error) {
	return rewriteHeader(ctx, h, m, maxHeaderAddresses)
}

// rewriteHeader replaces no more than the first left addresses.
func rewriteHeader(ctx context.Context, h *mtakit.Header, m Mapper, left int) (*mtakit.Header, error) {
	var changed *mtakit.Header
	for i, f := range h.All() {
		class := fieldClass(f)
		if class == 0 {
			continue
		}
		raw, err := rewriteField(ctx, string(f.Raw()), func(ctx context.Context, address string) (string, error) {
			return m.Map(ctx, class, address)
		}, &left)
		if err != nil {
			return nil, fmt.Errorf("header %s: %w", f.Name(), err)
		}
		if raw == string(f.Raw()) {
			continue
		}
		next, err := mtakit.ParseField(strings.TrimRight(raw, "\r\n"))
		if err != nil {
			continue // it holds a NUL or a bare CR: it came so, and goes on so
		}
		if changed == nil {
			changed = h.Clone()
		}
		changed.Replace(i, next)
	}
	return changed, nil
}

// fieldClass returns the place of the addresses in a field; 0 means that it holds
// none.
func fieldClass(f mtakit.Field) Class {
	for _, name := range senderFields {
		if f.Is(name) {
			return HeaderSender
		}
	}
	for _, name := range recipientFields {
		if f.Is(name) {
			return HeaderRecipient
		}
	}
	return 0
}

// rewriteField replaces the addresses of one raw field.
func rewriteField(ctx context.Context, raw string, rewrite func(context.Context, string) (string, error), left *int) (string, error) {
	var b strings.Builder
	done := 0
	s := scanner{text: raw, at: strings.IndexByte(raw, ':') + 1}
	for s.next() {
		for _, p := range s.found() {
			old := s.cut(p)
			if *left--; *left < 0 || len(old) > maxAddress {
				continue
			}
			address, err := rewrite(ctx, old)
			if err != nil {
				return "", err
			}
			if address == old {
				continue
			}
			b.WriteString(raw[done:p.start])
			b.WriteString(address)
			done = p.end
		}
	}
	b.WriteString(raw[done:])
	return b.String(), nil
}

// found returns where the item has addresses that may be replaced: in brackets, or as
// its only word. One with white space or a comment inside is none for us, and stays.
func (s *scanner) found() []span {
	places := s.angles
	for i, p := range places {
		inner := strings.TrimLeft(s.cut(p), space)
		places[i].start = p.end - len(inner)
		places[i].end = places[i].start + len(strings.TrimRight(inner, space))
	}
	if len(places) == 0 && len(s.words) == 1 && !s.broken {
		places = s.words
	}
	return slices.DeleteFunc(places, func(p span) bool { return !isAddress(s.cut(p)) })
}

// isAddress reports whether a word is an address as it would stand in an
// envelope. It may lack a domain, and have a source route.
func isAddress(word string) bool {
	word = dropRoute(word)
	local, domain := Split(word)
	if domain == "" && strings.HasSuffix(word, "@") || strings.ContainsAny(local, "\r\n") {
		return false
	}
	if !strings.HasPrefix(local, `"`) && strings.ContainsAny(local, " \t()<>,;:[]") {
		return false
	}
	_, err := ParseAddress(word)
	return err == nil
}

package rewrite

import (
	"context"
	"fmt"
	"strings"

	"github.com/mtakit/mtakit"
)

// maxHeaderAddresses is how many addresses of a header are rewritten by default,
// as Postfix's header_address_token_limit bounds it.
const maxHeaderAddresses = 10240

// senderFields and recipientFields are the fields that hold addresses.
var (
	senderFields    = []string{"From", "Sender", "Reply-To", "Resent-From", "Resent-Sender", "Resent-Reply-To"}
	recipientFields = []string{"To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc"}
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
	done := strings.IndexByte(raw, ':') + 1
	b.WriteString(raw[:done])
	for _, s := range addressSpans(raw, done) {
		old := raw[s.start:s.end]
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
		b.WriteString(raw[done:s.start])
		b.WriteString(address)
		done = s.end
	}
	b.WriteString(raw[done:])
	return b.String(), nil
}

// span is a piece of a field.
type span struct{ start, end int }

// addressSpans finds the addresses of a field from offset i on: what stands in
// angle brackets, or alone between commas (RFC 5322, section 3.4). Comments and
// quoted strings are skipped; "name:" and ";" of groups part like commas. An
// address with white space or a comment inside is none for us, and stays.
func addressSpans(raw string, i int) []span {
	var spans []span
	word, words := span{}, 0 // the only word since the last comma, and how many there were
	bare := func() {
		if words == 1 && isAddress(raw[word.start:word.end]) {
			spans = append(spans, word)
		}
		words = 0
	}
	for i < len(raw) {
		switch c := raw[i]; {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			i++
		case c == '(':
			i = skipComment(raw, i)
		case c == '<':
			end := skipAngle(raw, i)
			if raw[end-1] == '>' && isAddress(raw[i+1:end-1]) {
				spans = append(spans, span{i + 1, end - 1})
			}
			words = 2 // what stood before is a name
			i = end
		case c == ':':
			words = 0
			i++
		case c == ',' || c == ';':
			bare()
			i++
		default:
			word.start = i
			i = skipWord(raw, i)
			word.end = i
			words++
		}
	}
	bare()
	return spans
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

// skipComment returns the end of the comment that begins at i. Comments nest.
func skipComment(raw string, i int) int {
	depth := 0
	for ; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(raw)
}

// skipQuoted returns the end of the quoted string that begins at i.
func skipQuoted(raw string, i int) int {
	for i++; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(raw)
}

// skipAngle returns the end of the angle brackets that begin at i.
func skipAngle(raw string, i int) int {
	for i++; i < len(raw); {
		switch raw[i] {
		case '"':
			i = skipQuoted(raw, i)
			continue
		case '>':
			return i + 1
		}
		i++
	}
	return len(raw)
}

// skipWord returns the end of the word that begins at i. Quoted strings and
// address literals are part of words.
func skipWord(raw string, i int) int {
	literal := false
	for i < len(raw) {
		switch c := raw[i]; {
		case c == '"':
			i = skipQuoted(raw, i)
			continue
		case c == '[':
			literal = true
		case c == ']':
			literal = false
		case strings.IndexByte(" \t\r\n(<,;", c) >= 0, c == ':' && !literal:
			return i
		}
		i++
	}
	return i
}

package filter

import (
	"context"
	"strings"

	"github.com/mtakit/mtakit"
)

// maxUnit is Postfix's header_size_limit: as much of a field, in bytes, tables see.
const maxUnit = 102400

// HeaderChecks asks a table for each header field (Postfix: header_checks). The
// key is the whole field, "Subject: hello", with "\n" between its lines; the
// value is an action, see header_checks(5) and the package.
//
// As in Postfix, the headers of MIME parts and of attached messages are asked
// for too; the body is read only when there can be any.
type HeaderChecks struct {
	Table  Table // for the message's own header; nil has no actions
	MIME   Table // mime_header_checks, for Content-... and MIME-Version, and the headers of parts; nil means Table
	Nested Table // nested_header_checks, for the headers of attached messages; nil means Table
	// PrimaryOnly leaves parts and attached messages alone; false asks for them.
	PrimaryOnly bool
}

// Filter asks for the message's header, then for those in its body.
func (h HeaderChecks) Filter(ctx context.Context, _ *mtakit.Envelope, m *mtakit.Message) (mtakit.Verdict, error) {
	if h.MIME == nil {
		h.MIME = h.Table
	}
	if h.Nested == nil {
		h.Nested = h.Table
	}
	h.Table, h.MIME, h.Nested = asked(h.Table), asked(h.MIME), asked(h.Nested)
	if h.Table == nil && h.MIME == nil && h.Nested == nil {
		return mtakit.Verdict{}, nil
	}
	contentType, _ := m.Header.Get("Content-Type")
	j := new(judge)
	if err := h.primary(ctx, j, m.Header); err != nil || j.done() || h.PrimaryOnly {
		return j.verdict(), err
	}
	s := scan{judge: j, mime: h.MIME, nested: h.Nested}
	err := s.message(ctx, contentType, m)
	return j.verdict(), err
}

// primary asks for the fields of the message's own header. The new list is made
// beside the old one, so that a header of a hundred thousand fields is no more
// work than a hundred thousand fields.
func (h HeaderChecks) primary(ctx context.Context, j *judge, header *mtakit.Header) error {
	var edited []mtakit.Field // nil: as it was up to here
	for i, f := range header.All() {
		table, kind := h.Table, "header"
		if isMIME(f.Name()) {
			table, kind = h.MIME, "mime header"
		}
		c, text := keep, ""
		if !j.done() {
			var err error
			if c, text, err = j.ask(ctx, table, kind, unitOf(f.Raw())); err != nil {
				return err
			}
		}
		if c != keep && edited == nil {
			edited = make([]mtakit.Field, 0, header.Len()+1)
			for k := range i {
				edited = append(edited, header.At(k))
			}
		}
		if edited != nil {
			edited = j.change(edited, f, c, text)
		}
	}
	if edited != nil {
		header.SetFields(edited)
	}
	return nil
}

// change appends what the action makes of f.
func (j *judge) change(to []mtakit.Field, f mtakit.Field, c change, text string) []mtakit.Field {
	switch c {
	case keep:
		return append(to, f)
	case remove:
		return to
	}
	fresh, err := mtakit.ParseField(text)
	switch {
	case err != nil:
		j.log("warning: " + printable(err.Error()))
		return append(to, f)
	case c == replace:
		return append(to, fresh)
	}
	return append(to, fresh, f)
}

// verdict is what was collected. PASS is a Permit, unless there is a decision.
func (j *judge) verdict() mtakit.Verdict {
	if j.pass && j.sum.Action == mtakit.Dunno {
		j.sum.Action = mtakit.Permit
	}
	return j.sum
}

// isMIME reports whether a field belongs to MIME (RFC 2045, section 3).
func isMIME(name string) bool {
	const content = "content-"
	return strings.EqualFold(name, "mime-version") || len(name) > len(content) && strings.EqualFold(name[:len(content)], content)
}

// unitOf makes the key of a field: lines joined by "\n", none at the end.
func unitOf(raw []byte) string {
	s := strings.TrimRight(string(raw[:min(len(raw), maxUnit)]), "\r\n")
	if strings.Contains(s, "\r\n") {
		s = strings.ReplaceAll(s, "\r\n", "\n")
	}
	return s
}

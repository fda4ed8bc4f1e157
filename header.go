package mtakit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
)

// MaxHeader is how many bytes of a message are looked at for its header: a longer
// one is carried byte-exact, but what lies beyond is not seen as header.
const MaxHeader = 1 << 20

// ErrField is wrapped by NewField and ParseField for what cannot be a header field.
var ErrField = errors.New("not a header field")

// Header is the header of a message: an ordered list of fields, each with the
// bytes it came with. Fields that nobody changes are written as they were read.
//
// The zero value is an empty header. A Header is not safe for concurrent
// changes; the Fields taken out of it are immutable.
type Header struct {
	fields []Field
	// end is what stood between the last field and the body: an empty line, or
	// nothing when the message ended with its header.
	end string
	cut bool
}

// Field is one header field with its line end and its continuation lines.
type Field struct {
	raw  []byte
	name int // length of the name
}

// NewField makes a field of a name and a value. The value may be folded
// ("\r\n " or "\n " inside); it must not hold a line end that is followed by
// anything but a space or a tab, nor a NUL or a bare CR.
func NewField(name, value string) (Field, error) {
	return ParseField(name + ": " + value)
}

// ParseField makes a field of "Name: value", without its last line end. See
// NewField for what the value may hold.
func ParseField(s string) (Field, error) {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == 0 || s[i] == '\r':
			return Field{}, fmt.Errorf("%w: control character in %.40q", ErrField, s)
		case s[i] == '\n' && (i+1 == len(s) || s[i+1] != ' ' && s[i+1] != '\t'):
			return Field{}, fmt.Errorf("%w: line end in %.40q", ErrField, s)
		}
	}
	n := fieldName([]byte(s))
	if n == 0 {
		return Field{}, fmt.Errorf("%w: no name in %.40q", ErrField, s)
	}
	return Field{raw: []byte(strings.ReplaceAll(s, "\n", "\r\n") + "\r\n"), name: n}, nil
}

// Name returns the name as it is spelled: "Subject".
func (f Field) Name() string { return string(f.raw[:f.name]) }

// Is reports whether the field has this name, in any case.
func (f Field) Is(name string) bool {
	return f.name == len(name) && strings.EqualFold(string(f.raw[:f.name]), name)
}

// Value returns what follows the colon, unfolded (line ends removed, RFC 5322,
// section 2.2.3) and without white space around it. Encoded words stay encoded.
func (f Field) Value() string {
	i := bytes.IndexByte(f.raw, ':')
	if i < 0 {
		return ""
	}
	v := bytes.TrimSpace(f.raw[i+1:])
	if bytes.IndexByte(v, '\n') < 0 {
		return string(v)
	}
	return strings.NewReplacer("\r\n", "", "\n", "").Replace(string(v))
}

// Raw returns the bytes of the field with its line end. They must not be changed.
func (f Field) Raw() []byte { return f.raw }

// ParseHeader reads the header that b starts with and returns it together with
// the number of bytes that belong to it, the empty line included: the body is
// b[n:]. The header ends at an empty line, at the end of b, or before the first
// line that can be no header line; in that last case the written message gets
// the empty line that was missing. The header shares b, which must not be
// changed any more. Line ends are CRLF or LF.
func ParseHeader(b []byte) (h *Header, n int) {
	h = &Header{end: "\r\n"}
	for n < len(b) {
		if l := emptyLine(b[n:]); l > 0 {
			h.end = "\r\n"[2-l:]
			return h, n + l
		}
		name := fieldName(b[n:])
		if name == 0 {
			return h, n
		}
		end := n + fieldEnd(b[n:])
		if h.fields == nil {
			h.fields = make([]Field, 0, 16)
		}
		h.fields = append(h.fields, Field{raw: b[n:end:end], name: name})
		n = end
	}
	h.end = ""
	return h, n
}

// ParseStart is ParseHeader for the start of a message that may be long: it looks
// at MaxHeader bytes of b. A header that does not end in them is Cut before the
// field that may not be whole.
func ParseStart(b []byte) (h *Header, n int) {
	b = b[:min(len(b), MaxHeader)]
	h, n = ParseHeader(b)
	last := len(h.fields) - 1
	switch {
	case len(b) < MaxHeader:
	case h.end == "" && last >= 0:
		n -= len(h.fields[last].raw)
		h.fields, h.cut = h.fields[:last], true
	case int64(n) == h.Size()-int64(len(h.end)) && unfinished(b[n:]):
		h.end, h.cut = "", true
	}
	return h, n
}

// unfinished reports whether b may be the beginning of a header line: a name is
// no longer than a line (RFC 5322, section 2.1.1).
func unfinished(b []byte) bool { return len(b) <= 998 && bytes.IndexByte(b, '\n') < 0 }

// emptyLine returns the length of the empty line that b starts with, or 0.
func emptyLine(b []byte) int {
	switch {
	case b[0] == '\n':
		return 1
	case len(b) > 1 && b[0] == '\r' && b[1] == '\n':
		return 2
	}
	return 0
}

// fieldName returns the length of the field name that b starts with, or 0 when
// b is no header field. White space before the colon is tolerated as Postfix
// does (RFC 5322, section 4.5).
func fieldName(b []byte) int {
	n := 0
	for n < len(b) && b[n] > ' ' && b[n] < 0x7f && b[n] != ':' {
		n++
	}
	i := n
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	if n == 0 || i == len(b) || b[i] != ':' {
		return 0
	}
	return n
}

// fieldEnd returns where the field that b starts with ends, behind its
// continuation lines.
func fieldEnd(b []byte) int {
	for i := 0; ; {
		l := bytes.IndexByte(b[i:], '\n')
		if l < 0 {
			return len(b)
		}
		i += l + 1
		if i == len(b) || b[i] != ' ' && b[i] != '\t' {
			return i
		}
	}
}

// Cut reports whether ParseStart did not see the end of the header: then the rest
// of it, from a whole field on, is taken for body, and whoever judges a message
// by its header sees only a part of it.
func (h *Header) Cut() bool { return h.cut }

// Len returns the number of fields.
func (h *Header) Len() int { return len(h.fields) }

// At returns the i-th field from the top, 0 <= i < Len.
func (h *Header) At(i int) Field { return h.fields[i] }

// All yields the fields from the top with their indexes.
func (h *Header) All() iter.Seq2[int, Field] { return slices.All(h.fields) }

// Get returns the value of the topmost field with this name, in any case.
func (h *Header) Get(name string) (value string, ok bool) {
	for _, f := range h.fields {
		if f.Is(name) {
			return f.Value(), true
		}
	}
	return "", false
}

// Count returns how many fields have this name, in any case.
func (h *Header) Count(name string) int {
	n := 0
	for _, f := range h.fields {
		if f.Is(name) {
			n++
		}
	}
	return n
}

// Prepend puts fields above all others, in the order given.
func (h *Header) Prepend(fields ...Field) { h.Insert(0, fields...) }

// Insert puts fields before the i-th one; i may be Len.
func (h *Header) Insert(i int, fields ...Field) { h.fields = slices.Insert(h.fields, i, fields...) }

// Replace puts f in the place of the i-th field.
func (h *Header) Replace(i int, f Field) { h.fields[i] = f }

// Remove takes the i-th field away.
func (h *Header) Remove(i int) { h.fields = slices.Delete(h.fields, i, i+1) }

// SetFields puts fields in the place of all that there are. Many changes of a long
// header are made so: Insert and Remove move all fields behind.
func (h *Header) SetFields(fields []Field) { h.fields = fields }

// Clone returns a copy whose list of fields can be changed independently.
func (h *Header) Clone() *Header {
	return &Header{fields: slices.Clone(h.fields), end: h.end, cut: h.cut}
}

// Size returns how many bytes WriteTo writes.
func (h *Header) Size() int64 {
	n := int64(len(h.end))
	for _, f := range h.fields {
		n += int64(len(f.raw))
	}
	return n
}

// Bytes returns what WriteTo writes.
func (h *Header) Bytes() []byte {
	b := make([]byte, 0, h.Size())
	for _, f := range h.fields {
		b = append(b, f.raw...)
	}
	return append(b, h.end...)
}

// WriteTo writes the fields and the empty line that ends them, if there was one.
func (h *Header) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(h.Bytes())
	return int64(n), err
}

package filter

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/mtakit/mtakit"
)

const (
	maxLine    = 2048  // line_length_limit: longer lines are asked for in pieces
	maxSegment = 51200 // body_checks_size_limit: bytes of each MIME part
)

// BodyChecks asks a table for each line of the body (Postfix: body_checks), in
// one pass, without its line end, and in pieces of 2048 bytes where it is
// longer. Only the first 51200 bytes of each MIME part are asked for, and none
// of the headers of parts; nothing is decoded.
//
// The body is not copied for a change: Message.Body becomes one that is edited
// while it is read.
type BodyChecks struct {
	Table Table // nil has no actions
}

// Filter asks for each line.
func (b BodyChecks) Filter(ctx context.Context, _ *mtakit.Envelope, m *mtakit.Message) (mtakit.Verdict, error) {
	if b.Table = asked(b.Table); b.Table == nil {
		return mtakit.Verdict{}, nil
	}
	contentType, _ := m.Header.Get("Content-Type")
	j := new(judge)
	s := scan{judge: j, body: b.Table}
	err := s.message(ctx, contentType, m)
	return j.verdict(), err
}

// scan is one pass over a body.
type scan struct {
	*judge
	mime, nested, body Table
	structure
	edits edits
	seen  int // bytes of this part that were asked for

	// The header field that is being read.
	field      []byte
	fieldOf    where
	fieldStart int64
	fieldSize  int64 // 0 means that there is none
}

// piece is a line, or a part of a line that is too long.
type piece struct {
	text   []byte
	at     int64 // offset in the body
	size   int64 // with the line end
	starts bool  // the line starts here
	ends   bool  // the line ends here, by CRLF or LF
}

// message scans the body of m and puts the edited one in its place.
func (s *scan) message(ctx context.Context, contentType string, m *mtakit.Message) error {
	s.begin(contentType)
	if s.idle() {
		return nil
	}
	r, err := m.Body.Open()
	if err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	defer r.Close()
	if err := s.read(ctx, r, m.Body.Size()); err != nil {
		return err
	}
	m.Body = s.edits.body(m.Body)
	return nil
}

// idle reports whether nothing can come that is to be asked for.
func (s *scan) idle() bool {
	return s.done() || !s.open() && (s.body == nil || s.seen >= maxSegment)
}

func (s *scan) read(ctx context.Context, r io.Reader, size int64) error {
	in := lines{r: bufio.NewReaderSize(struct{ io.Reader }{bufio.NewReaderSize(r, int(min(size, 64<<10)))}, maxLine), fresh: true}
	for !s.idle() {
		p, err := in.next()
		if errors.Is(err, io.EOF) {
			return s.flush(ctx)
		}
		if err != nil {
			return fmt.Errorf("filter: %w", err)
		}
		if err := s.take(ctx, p); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// lines cuts a body into pieces, the same ones however it is read.
type lines struct {
	r     *bufio.Reader
	at    int64
	fresh bool
}

func (l *lines) next() (piece, error) {
	raw, err := l.r.ReadSlice('\n')
	if len(raw) == 0 {
		return piece{}, err
	}
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
		return piece{}, err
	}
	if errors.Is(err, bufio.ErrBufferFull) && raw[len(raw)-1] == '\r' && l.r.UnreadByte() == nil {
		raw = raw[:len(raw)-1] // it belongs to the line end
	}
	p := piece{text: raw, at: l.at, size: int64(len(raw)), starts: l.fresh}
	if text, ok := bytes.CutSuffix(raw, []byte("\n")); ok {
		p.ends, p.text = true, bytes.TrimSuffix(text, []byte("\r"))
	}
	l.at, l.fresh = l.at+p.size, p.ends
	return p, nil
}

// take looks at the next piece.
func (s *scan) take(ctx context.Context, p piece) error {
	switch {
	case !p.starts && s.fieldSize > 0:
		s.extend(p)
		return nil
	case !p.starts:
		return s.line(ctx, p)
	case s.isBoundary(p.text):
		if err := s.flush(ctx); err != nil || s.done() {
			return err
		}
		s.boundary(p.text)
		s.seen = 0
		return s.line(ctx, p)
	case s.at != inBody:
		return s.header(ctx, p)
	}
	return s.line(ctx, p)
}

// header takes a line of the header of a part.
func (s *scan) header(ctx context.Context, p piece) error {
	if s.fieldSize > 0 && len(p.text) > 0 && (p.text[0] == ' ' || p.text[0] == '\t') {
		s.extend(p)
		return nil
	}
	if err := s.flush(ctx); err != nil || s.done() {
		return err
	}
	if name := fieldName(p.text); name != "" {
		s.fieldOf, s.fieldStart = s.at, p.at
		s.extend(p)
		return nil
	}
	s.begin(s.kind)
	s.seen = 0
	if len(p.text) == 0 {
		return nil
	}
	s.at = inBody // what is no header is body, even where an attached message should start
	return s.line(ctx, p)
}

func (s *scan) extend(p piece) {
	if p.starts && s.fieldSize > 0 && len(s.field) < maxUnit {
		s.field = append(s.field, '\n')
	}
	s.fieldSize += p.size
	s.field = append(s.field, p.text[:min(len(p.text), max(0, maxUnit-len(s.field)))]...)
}

// flush asks for the field that has ended.
func (s *scan) flush(ctx context.Context) error {
	if s.fieldSize == 0 {
		return nil
	}
	unit, size := string(s.field), s.fieldSize
	s.field, s.fieldSize = s.field[:0], 0
	name := fieldName([]byte(unit))
	if value, ok := contentType(name, unit); ok {
		s.kind = value
	}
	table, kind := s.mime, "mime header"
	if s.fieldOf == inNested && !isMIME(name) {
		table, kind = s.nested, "nested header"
	}
	c, text, err := s.ask(ctx, table, kind, unit)
	if err != nil || c == keep {
		return err
	}
	if c == remove {
		return s.edits.add(s.fieldStart, size, "")
	}
	f, err := mtakit.ParseField(text)
	if err != nil {
		s.log("warning: " + printable(err.Error()))
		return nil
	}
	if c == prepend {
		size = 0
	}
	return s.edits.add(s.fieldStart, size, string(f.Raw()))
}

// line asks for a line that is no header.
func (s *scan) line(ctx context.Context, p piece) error {
	if s.body == nil || s.seen >= maxSegment || len(p.text) == 0 {
		return nil
	}
	s.seen += int(p.size)
	c, text, err := s.ask(ctx, s.body, "body", string(p.text))
	if err != nil || c == keep {
		return err
	}
	text = printable(text)
	switch {
	case c == remove && p.starts && p.ends:
		return s.edits.add(p.at, p.size, "")
	case c == remove:
		return s.edits.add(p.at, int64(len(p.text)), "")
	case c == replace:
		return s.edits.add(p.at, int64(len(p.text)), text)
	case !p.starts:
		s.log("warning: PREPEND skipped in the middle of a long line")
		return nil
	}
	return s.edits.add(p.at, 0, text+"\r\n")
}

// fieldName is the name of the field that b starts with, "" when it is none.
func fieldName(b []byte) string {
	name, _, ok := bytes.Cut(b, []byte(":"))
	if name = bytes.TrimRight(name, " \t"); !ok || len(name) == 0 {
		return ""
	}
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return ""
		}
	}
	return string(name)
}

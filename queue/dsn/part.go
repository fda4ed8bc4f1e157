package dsn

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"

	"github.com/mtakit/mtakit"
)

// splitter reads the parts of a multipart body, one after the other. A part
// that has no end ends with the body.
type splitter struct {
	in        *bufio.Reader
	delimiter []byte // "--" and the boundary
	rest      []byte // of the current part, read and not handed out
	middle    bool   // the next byte is not the first of its line
	ended     bool   // the current part
	last      bool   // no part follows
}

// next goes to the next part, and at first over what stands before them.
func (s *splitter) next() bool {
	_, _ = io.Copy(io.Discard, s)
	s.ended = s.last
	return !s.last
}

// Read reads the current part.
func (s *splitter) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		if s.ended {
			return 0, io.EOF
		}
		s.piece()
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// piece reads a line, or as much of it as fits into the buffer.
func (s *splitter) piece() {
	b, _ := s.in.ReadSlice('\n')
	if len(b) == 0 {
		s.ended, s.last = true, true
		return
	}
	if !s.middle && bytes.HasPrefix(b, s.delimiter) {
		switch string(bytes.TrimRight(b[len(s.delimiter):], " \t\r\n")) {
		case "":
			s.ended = true
			return
		case "--":
			s.ended, s.last = true, true
			return
		}
	}
	s.middle = b[len(b)-1] != '\n'
	s.rest = b
}

// readHeader reads fields to the empty line behind them. What is no field is
// left out, and what is too long too. more is false at the end of in.
func readHeader(in *bufio.Reader) (h *mtakit.Header, more bool) {
	var fields []byte
	middle, wanted, full := false, false, false
	for {
		b, _ := in.ReadSlice('\n')
		if len(b) == 0 {
			break
		}
		if !middle {
			if len(bytes.TrimRight(b, "\r\n")) == 0 {
				more = true
				break
			}
			if b[0] != ' ' && b[0] != '\t' { // else it belongs to what is before
				wanted = isField(b)
			}
		}
		middle = b[len(b)-1] != '\n'
		if full = full || len(fields)+len(b) > maxFields; wanted && !full {
			fields = append(fields, b...)
		}
	}
	h, _ = mtakit.ParseHeader(append(fields, '\n', '\n'))
	return h, more
}

// isField reports whether a line begins a field.
func isField(line []byte) bool {
	h, _ := mtakit.ParseHeader(line)
	return h.Len() > 0
}

// contentType returns the type of a part, in lower case, and its boundary.
func contentType(h *mtakit.Header) (kind, boundary string) {
	v, ok := h.Get("Content-Type")
	if !ok {
		return "text/plain", ""
	}
	if kind, params, err := mime.ParseMediaType(v); err == nil {
		return kind, params["boundary"]
	}
	kind, params, _ := strings.Cut(v, ";")
	if i := strings.Index(strings.ToLower(params), "boundary="); i >= 0 {
		boundary = params[i+len("boundary="):]
		if rest, ok := strings.CutPrefix(boundary, `"`); ok {
			boundary, _, _ = strings.Cut(rest, `"`)
		} else if i := strings.IndexAny(boundary, "; \t"); i >= 0 {
			boundary = boundary[:i]
		}
	}
	return strings.ToLower(strings.TrimSpace(kind)), boundary
}

// decoded takes the encoding off a body.
func decoded(h *mtakit.Header, body io.Reader) io.Reader {
	encoding, _ := h.Get("Content-Transfer-Encoding")
	switch strings.ToLower(firstWord(encoding)) {
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		return quotedprintable.NewReader(body)
	}
	return body
}

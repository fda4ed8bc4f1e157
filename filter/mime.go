package filter

import (
	"bytes"
	"strings"
)

const (
	maxNesting  = 100  // mime_nesting_limit
	maxBoundary = 2048 // mime_boundary_length_limit
)

// where is what a line of a body belongs to.
type where int

const (
	inBody   where = iota
	inPart         // the header of a part of a multipart
	inNested       // the header of an attached message
)

// level is a multipart that is open.
type level struct {
	boundary string
	digest   bool // its parts are messages unless they say otherwise (RFC 2046, section 5.1.5)
}

// structure follows the MIME structure of a body line by line (RFC 2046). It
// keeps only the boundaries of the parts that are open.
type structure struct {
	levels []level
	at     where
	kind   string // Content-Type of the header that is being read
}

// begin enters what a header with this Content-Type announces.
func (m *structure) begin(contentType string) {
	kind, params, _ := strings.Cut(contentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	m.at, m.kind = inBody, ""
	switch {
	case kind == "message/rfc822" || kind == "message/global":
		m.at = inNested
	case strings.HasPrefix(kind, "multipart/") && len(m.levels) < maxNesting:
		if b := parameter(params, "boundary"); b != "" && len(b) <= maxBoundary {
			m.levels = append(m.levels, level{b, kind == "multipart/digest"})
		}
	}
}

// find returns which of the open multiparts a line parts, or -1, and whether it
// ends it. As in Postfix, what follows the boundary does not matter.
func (m *structure) find(line []byte) (i int, ends bool) {
	if len(line) < 3 || line[0] != '-' || line[1] != '-' {
		return -1, false
	}
	for i = len(m.levels) - 1; i >= 0; i-- {
		b := m.levels[i].boundary
		if len(line)-2 >= len(b) && string(line[2:2+len(b)]) == b {
			return i, bytes.HasPrefix(line[2+len(b):], []byte("--"))
		}
	}
	return -1, false
}

// isBoundary reports whether a line parts two parts.
func (m *structure) isBoundary(line []byte) bool {
	i, _ := m.find(line)
	return i >= 0
}

// boundary enters what stands behind such a line. An outer boundary ends all
// that is inside.
func (m *structure) boundary(line []byte) {
	i, ends := m.find(line)
	m.kind = ""
	if ends {
		m.levels, m.at = m.levels[:i], inBody
		return
	}
	if m.levels[i].digest {
		m.kind = "message/rfc822"
	}
	m.levels, m.at = m.levels[:i+1], inPart
}

// open reports whether headers may still come.
func (m *structure) open() bool { return len(m.levels) > 0 || m.at != inBody }

// parameter finds a parameter in what follows "multipart/mixed;". Comments in
// round brackets are skipped (RFC 2045, section 5.1).
func parameter(s, name string) string {
	for s != "" {
		var key, value string
		key, s = token(s, "=;")
		if !strings.HasPrefix(s, "=") {
			s = strings.TrimPrefix(s, ";")
			continue
		}
		value, s = token(s[1:], ";")
		s = strings.TrimPrefix(s, ";")
		if strings.EqualFold(key, name) {
			return value
		}
	}
	return ""
}

// token reads up to one of the bytes of stop, without quotes, comments and
// white space around.
func token(s, stop string) (value, rest string) {
	var b strings.Builder
	quoted, depth := false, 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && (quoted || depth > 0) && i+1 < len(s):
			if i++; depth == 0 {
				b.WriteByte(s[i])
			}
		case c == '"' && depth == 0:
			quoted = !quoted
		case c == '(' && !quoted:
			depth++
		case c == ')' && !quoted && depth > 0:
			depth--
		case depth > 0:
		case !quoted && strings.IndexByte(stop, c) >= 0:
			return b.String(), s[i:]
		case quoted || c > ' ':
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}

// contentType returns the value of a unit that is a Content-Type field.
func contentType(name, unit string) (string, bool) {
	if !strings.EqualFold(name, "content-type") {
		return "", false
	}
	_, value, _ := strings.Cut(unit, ":")
	return value, true
}

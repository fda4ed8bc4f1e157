package smtpserver

import "bytes"

// What stray newlines become.
var (
	crlf  = []byte("\r\n")
	space = []byte(" ")
)

// run returns the clean bytes that b starts with, or deals with the newline that
// stands there; nil when there is nothing to return yet.
func (m *message) run(b []byte) []byte {
	n, stop := scan(b, m.dots)
	if n > 0 {
		m.take(n)
		if stop == atLineStart {
			m.middle, m.afterBare = false, false
		} else {
			m.middle = true
		}
		return b[:n]
	}
	m.take(1)
	switch stop {
	case atLastCR:
		m.heldCR = true
		return nil
	case atBareLF:
		return m.bareEnd()
	}
	m.middle = true
	m.stray("<CR>")
	return space
}

// afterCR decides about the CR that was held, now that its next byte is ch.
func (m *message) afterCR(ch byte) []byte {
	m.heldCR = false
	if ch == '\n' {
		m.take(1)
		m.middle, m.afterBare = false, false
		return crlf
	}
	m.middle = true
	m.stray("<CR>")
	return space
}

// bareEnd makes a line end of a bare LF.
func (m *message) bareEnd() []byte {
	m.middle, m.afterBare = false, true
	m.stray("<LF>")
	return crlf
}

// dot deals with a dot at the start of a line (RFC 5321, section 4.5.2). A line
// that is only a dot ends the data when it stands between two CRLF, and is
// dropped when one of them is a bare LF: another server may have seen an end of
// data there, or none (SMTP smuggling).
func (m *message) dot() error {
	b := m.in.buffered()
	for len(b) < 2 || b[1] == '\r' && len(b) < 3 {
		if err := m.in.fill(); err != nil {
			return err
		}
		b = m.in.buffered()
	}
	switch {
	case b[1] == '\n':
		m.take(2)
		m.afterBare = true
		m.stray("<LF>")
	case b[1] == '\r' && b[2] == '\n':
		m.take(3)
		if !m.afterBare {
			return errEndOfData
		}
		m.afterBare = false
	default:
		m.take(1)
		m.middle = true
	}
	return nil
}

// stop is why scan went no further.
type stop int

const (
	atEnd       stop = iota // of b, inside a line
	atLineStart             // at the end of b, or before a dot
	atLastCR                // the last byte is a CR: its line may end there
	atBareCR
	atBareLF
)

// scan returns how many bytes at the start of b need no change. It looks at
// each byte twice, with the two fastest searches that there are.
func scan(b []byte, dots bool) (n int, why stop) {
	for n < len(b) {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			return scanTail(b, n)
		}
		cr := bytes.IndexByte(b[n:n+i], '\r')
		if cr < 0 {
			return n + i, atBareLF
		}
		if cr != i-1 {
			return n + cr, atBareCR
		}
		n += i + 1
		if dots && n < len(b) && b[n] == '.' {
			return n, atLineStart
		}
	}
	return n, atLineStart
}

// scanTail looks at an unfinished line.
func scanTail(b []byte, n int) (int, stop) {
	cr := bytes.IndexByte(b[n:], '\r')
	switch {
	case cr < 0:
		return len(b), atEnd
	case n+cr == len(b)-1:
		return n + cr, atLastCR
	}
	return n + cr, atBareCR
}

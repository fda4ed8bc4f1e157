package smtpserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/emersion/go-smtp"
)

// message is the reader that a session's Data gets: what a client sends inside
// DATA or BDAT, with CRLF line ends, without dot-stuffing, from the input
// buffer without a copy. It reads the client's chunks of BDAT as they come.
//
// A message that is cut off is an error that wraps io.ErrUnexpectedEOF, never
// io.EOF; so is whatever is refused, with its reply.
type message struct {
	in   *input
	dots bool // DATA: dot-stuffed, ended by a line with a dot

	// BDAT: left of the chunk's bytes are still to come, then more gets the next
	// chunk, unless this one is the last.
	chunk, left int64
	last        bool
	more        func() error

	patience patience
	host     string // our name, for replies
	reject   bool   // stray newlines are refused
	maxSize  int64  // bytes; 0: any
	maxLine  int    // bytes; 0: any

	middle    bool // the next byte is not the first of its line
	heldCR    bool // a CR was taken whose next byte was not there yet
	afterBare bool // the line before this one ended in a bare LF
	size      int64
	line      int    // bytes of the current line, when they are counted
	rest      []byte // of the last piece that next returned
	end       error  // io.EOF or why it was cut off; nothing follows
	refusal   *smtp.SMTPError
}

var (
	messageTooBig = &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 3, 4},
		Message: "Error: message file too big"}
	lineTooLongReply = &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0},
		Message: "Error: message line too long"}
)

// Read is for those who cannot use WriteTo.
func (m *message) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(m.rest) == 0 {
		if err := m.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// WriteTo hands the pieces of the input buffer to w, up to 64 KiB each.
func (m *message) WriteTo(w io.Writer) (written int64, err error) {
	for {
		if len(m.rest) == 0 {
			if err := m.next(); errors.Is(err, io.EOF) {
				return written, nil
			} else if err != nil {
				return written, err
			}
		}
		n, err := w.Write(m.rest)
		written += int64(n)
		m.rest = m.rest[n:]
		if err != nil {
			return written, err
		}
	}
}

// next gets the next piece of an acceptable message into m.rest.
func (m *message) next() error {
	if m.refusal != nil {
		return m.refusal
	}
	piece, err := m.piece()
	m.account(piece)
	// The refusal goes first: what was wrong may stand right before the end.
	if m.refusal == nil && err != nil {
		return err
	}
	if m.refusal != nil {
		return m.refusal
	}
	m.rest = piece
	return nil
}

// skip takes the rest of an acceptable message: all chunks, until one is refused.
func (m *message) skip() {
	for m.rest = nil; m.next() == nil; m.rest = nil {
	}
}

// drain takes what is left of the message inside DATA.
func (m *message) drain() error {
	m.rest = nil
	for {
		piece, err := m.piece()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		m.account(piece)
	}
}

// account counts a piece against the limits.
func (m *message) account(piece []byte) {
	m.size += int64(len(piece))
	if m.maxSize > 0 && m.size > m.maxSize {
		m.refuse(messageTooBig)
	}
	if m.maxLine > 0 {
		m.measure(piece)
	}
}

// measure looks for lines that are too long.
func (m *message) measure(piece []byte) {
	for len(piece) > 0 {
		n := bytes.IndexByte(piece, '\n') + 1
		if n == 0 {
			n = len(piece)
		}
		m.line += n
		if ended := piece[n-1] == '\n'; m.line > m.maxLine+2 || !ended && m.line > m.maxLine+1 {
			m.refuse(lineTooLongReply)
		} else if ended {
			m.line = 0
		}
		piece = piece[n:]
	}
}

// refuse keeps the first reason.
func (m *message) refuse(r *smtp.SMTPError) {
	if m.refusal == nil {
		m.refusal = r
	}
}

// stray notes a newline that is none.
func (m *message) stray(what string) {
	if m.reject {
		m.refuse(bareReply(m.host, what))
	}
}

// piece returns the next decoded bytes; they are valid until the next call.
func (m *message) piece() ([]byte, error) {
	for m.end == nil {
		b, err := m.available()
		if err != nil {
			m.finish(err)
			break
		}
		if m.heldCR {
			return m.afterCR(b[0]), nil
		}
		if m.dots && !m.middle && b[0] == '.' {
			if err := m.dot(); err != nil {
				m.finish(err)
			}
			continue
		}
		if p := m.run(b); p != nil {
			return p, nil
		}
	}
	if m.heldCR && m.end == io.EOF {
		m.heldCR = false
		m.stray("<CR>")
		return space, nil
	}
	return nil, m.end
}

// finish makes err the end. Only what ended by the rules is io.EOF.
func (m *message) finish(err error) {
	switch {
	case err == errEndOfData:
		m.end = io.EOF
	case errors.Is(err, io.EOF):
		m.end = fmt.Errorf("message cut off: %w", io.ErrUnexpectedEOF)
	default:
		m.end = fmt.Errorf("message cut off: %w: %w", io.ErrUnexpectedEOF, err)
	}
}

// errEndOfData is the end that the protocol wants.
var errEndOfData = errors.New("end of data")

// available returns what can be decoded now: at least one byte.
func (m *message) available() ([]byte, error) {
	for !m.dots && m.left == 0 {
		if m.last {
			return nil, errEndOfData
		}
		if err := m.more(); err != nil {
			return nil, err
		}
	}
	for len(m.in.buffered()) == 0 {
		if err := m.in.fill(); err != nil {
			return nil, err
		}
	}
	b := m.in.buffered()
	if !m.dots && int64(len(b)) > m.left {
		b = b[:m.left]
	}
	return b, nil
}

func (m *message) take(n int) {
	m.in.take(n)
	if !m.dots {
		m.left -= int64(n)
	}
}

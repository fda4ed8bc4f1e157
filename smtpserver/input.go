package smtpserver

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

const (
	smallBuffer = 4 << 10  // an idle connection's
	bigBuffer   = 64 << 10 // while a message or a long AUTH is read; it comes from a pool

	maxLine     = 2048    // Postfix's line_length_limit
	maxAuthLine = 12288   // RFC 4954, section 4.1
	maxSkip     = 1 << 20 // of a line that is too long, before the connection is given up
)

var (
	errLineTooLong = errors.New("line too long")
	errEndless     = errors.New("line without an end")
)

// input is the buffer between a connection and those who read lines or messages
// from it. The bytes that it hands out are valid until the next fill.
type input struct {
	src  io.Reader
	pool *sync.Pool
	buf  []byte
	r, w int     // buf[r:w] was read and not yet taken
	tiny []byte  // the small buffer, while buf is a big one
	big  *[]byte // the big buffer, to be given back
}

func (in *input) buffered() []byte { return in.buf[in.r:in.w] }

func (in *input) take(n int) { in.r += n }

// fill reads once. It returns an error only when nothing came.
func (in *input) fill() error {
	if in.r == in.w {
		in.r, in.w = 0, 0
	} else if in.w == len(in.buf) {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	for range 100 {
		n, err := in.src.Read(in.buf[in.w:])
		in.w += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// grow changes to a big buffer, unless MaxLine has made this one as big.
func (in *input) grow() {
	if in.big != nil || len(in.buf) >= bigBuffer {
		return
	}
	big, ok := in.pool.Get().(*[]byte)
	if !ok {
		b := make([]byte, bigBuffer)
		big = &b
	}
	in.tiny, in.big = in.buf, big
	in.w = copy(*big, in.buffered())
	in.r, in.buf = 0, *big
}

// shrink changes back to the small buffer once the rest fits.
func (in *input) shrink() {
	if in.big == nil || in.w-in.r > len(in.tiny) {
		return
	}
	in.w = copy(in.tiny, in.buffered())
	in.r, in.buf = 0, in.tiny
	in.pool.Put(in.big)
	in.tiny, in.big = nil, nil
}

// line is a command line without its line end.
type line struct {
	text []byte
	bare bool // it ended in LF without CR
}

// readLine reads a line of at most max bytes. A longer one is skipped and is
// errLineTooLong. "AUTH ..." may be longer: maxAuthLine.
func (in *input) readLine(max int) (line, error) {
	searched := 0
	for {
		b := in.buffered()
		if i := bytes.IndexByte(b[searched:], '\n'); i >= 0 {
			return in.takeLine(searched+i, max)
		}
		searched = len(b)
		if hasVerb(b, "AUTH") && max < maxAuthLine {
			max = maxAuthLine
		}
		if len(b) > max+1 {
			return line{}, in.skipLine()
		}
		if len(b) == len(in.buf) {
			in.grow()
		}
		if err := in.fill(); err != nil {
			return line{}, err
		}
	}
}

// takeLine takes the n bytes and the line feed behind them.
func (in *input) takeLine(n, max int) (line, error) {
	l := line{text: in.buffered()[:n], bare: true}
	in.take(n + 1)
	if n > 0 && l.text[n-1] == '\r' {
		l.text, l.bare = l.text[:n-1], false
	}
	if hasVerb(l.text, "AUTH") && max < maxAuthLine {
		max = maxAuthLine
	}
	if len(l.text) > max {
		return line{}, errLineTooLong
	}
	return l, nil
}

func (in *input) skipLine() error {
	for skipped := 0; skipped < maxSkip; {
		b := in.buffered()
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			in.take(i + 1)
			return errLineTooLong
		}
		skipped += len(b)
		in.take(len(b))
		if err := in.fill(); err != nil {
			return err
		}
	}
	return errEndless
}

// hasVerb reports whether b starts with the command verb, in any case, and a space.
func hasVerb(b []byte, verb string) bool {
	return len(b) > len(verb) && b[len(verb)] == ' ' && foldEqual(b[:len(verb)], verb)
}

// foldEqual reports whether b is s, which is upper case, in any case. It is
// bytes.EqualFold without Unicode: no Kelvin sign is a K here.
func foldEqual(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != s[i] {
			return false
		}
	}
	return true
}

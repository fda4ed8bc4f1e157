package ldap

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
)

// What a lookup's answers may be. The decoder behind makes some hundred bytes of each
// element, and a copy of its content for each level of nesting.
const (
	maxBytes    = 16 << 20
	maxElements = 1 << 19
	maxNesting  = 10 // of what RFC 4511 defines, controls go deepest
	// maxControls bounds what follows the answer itself, in bytes. The decoder behind decodes
	// the strings in there, too, which nobody has looked into.
	maxControls = 16 << 10
)

// errMessage is wrapped when a server sends what is no message, or too much.
var errMessage = errors.New("not an acceptable LDAP message")

// guard is a connection that lets whole and well-formed messages through, and ends
// at anything else.
type guard struct {
	net.Conn
	in              *bufio.Reader
	rest            []byte // of the message that is being read
	bytes, elements atomic.Int64
}

func newGuard(conn net.Conn) *guard {
	g := &guard{Conn: conn, in: bufio.NewReader(conn)}
	g.reset()
	return g
}

// reset allows as much again, for another lookup.
func (g *guard) reset() {
	g.bytes.Store(maxBytes)
	g.elements.Store(maxElements)
}

// Read gives what is there of a message that was read as a whole.
func (g *guard) Read(p []byte) (int, error) {
	if len(g.rest) == 0 {
		message, err := g.message()
		if err != nil {
			return 0, err
		}
		g.rest = message
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

// message reads a message. Memory is taken as its bytes come, not as it says how
// many there will be.
func (g *guard) message() ([]byte, error) {
	var b bytes.Buffer
	in := io.TeeReader(g.in, &b)
	tag, size, err := header(in)
	if err != nil {
		return nil, err
	}
	if tag != 0x30 {
		return nil, fmt.Errorf("%w: it begins with %#x", errMessage, tag)
	}
	if g.bytes.Add(-int64(size)-int64(b.Len())) < 0 {
		return nil, fmt.Errorf("%w: more than %d bytes in a lookup", errMessage, maxBytes)
	}
	if _, err := io.CopyN(&b, g.in, int64(size)); err != nil {
		return nil, err
	}
	content := b.Bytes()[b.Len()-size:]
	if err := g.check(content, 1); err != nil {
		return nil, err
	}
	if n := len(controls(content)); n > maxControls {
		return nil, fmt.Errorf("%w: controls of %d bytes", errMessage, n)
	}
	return b.Bytes(), nil
}

// controls returns what stands behind the number and the answer of a message.
func controls(content []byte) []byte {
	_, _, rest, err := cut(content)
	if err == nil {
		_, _, rest, err = cut(rest)
	}
	if err != nil {
		return nil
	}
	return rest
}

// header reads the tag and the length of an element.
func header(in io.Reader) (tag byte, size int, err error) {
	var b [4]byte
	if _, err := io.ReadFull(in, b[:2]); err != nil {
		return 0, 0, err
	}
	tag, size = b[0], int(b[1])
	if tag&0x1f == 0x1f {
		return 0, 0, fmt.Errorf("%w: tag of several bytes", errMessage)
	}
	if size < 0x80 {
		return tag, size, nil
	}
	n := size - 0x80
	if n == 0 || n > 4 { // RFC 4511 5.1: definite lengths
		return 0, 0, fmt.Errorf("%w: length of %d bytes", errMessage, n)
	}
	if _, err := io.ReadFull(in, b[:n]); err != nil {
		return 0, 0, err
	}
	size = 0
	for _, c := range b[:n] {
		size = size<<8 | int(c)
	}
	if size < 0 || size > maxBytes {
		return 0, 0, fmt.Errorf("%w: %d bytes", errMessage, size)
	}
	return tag, size, nil
}

// cut returns the first element of some.
func cut(elements []byte) (tag byte, content, rest []byte, err error) {
	in := bytes.NewReader(elements)
	tag, size, err := header(in)
	if err != nil || size > in.Len() {
		return 0, nil, nil, fmt.Errorf("%w: an element is cut off", errMessage)
	}
	rest = elements[len(elements)-in.Len():]
	return tag, rest[:size], rest[size:], nil
}

// check looks at elements and at what is in them.
func (g *guard) check(elements []byte, depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("%w: nested too deep", errMessage)
	}
	for len(elements) > 0 {
		tag, content, rest, err := cut(elements)
		if err != nil {
			return err
		}
		if g.elements.Add(-1) < 0 {
			return fmt.Errorf("%w: more than %d elements in a lookup", errMessage, maxElements)
		}
		if tag&0x20 != 0 {
			if err := g.check(content, depth+1); err != nil {
				return err
			}
		}
		elements = rest
	}
	return nil
}

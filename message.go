package mtakit

import (
	"bytes"
	"context"
	"io"
)

// Message is a mail as RFC 5322 sees it: a header, and a body that never
// changes. Lines end in CRLF; there is no dot-stuffing.
type Message struct {
	Header *Header
	Body   Body
}

// Body is what follows the empty line. It is immutable, may be opened any
// number of times, from several goroutines, and stays valid as long as its
// owner says: for a Draft until Commit or Discard returns, for a Delivery until
// Deliver returns.
type Body interface {
	// Size returns the length in bytes.
	Size() int64
	// Open returns a reader from the first byte on. Readers that can do it
	// better than by Read are io.WriterTo.
	Open() (io.ReadCloser, error)
}

// Bytes is a Body in memory.
type Bytes []byte

// Size returns the length.
func (b Bytes) Size() int64 { return int64(len(b)) }

// Open returns a reader of b, which is an io.WriterTo and an io.Seeker.
func (b Bytes) Open() (io.ReadCloser, error) {
	return struct {
		*bytes.Reader
		io.Closer
	}{bytes.NewReader(b), io.NopCloser(nil)}, nil
}

// NewMessage makes a message of its bytes, which must not be changed any more.
func NewMessage(raw []byte) *Message {
	h, n := ParseHeader(raw)
	return &Message{Header: h, Body: Bytes(raw[n:])}
}

// Size returns how many bytes WriteTo writes.
func (m *Message) Size() int64 { return m.Header.Size() + m.Body.Size() }

// WriteTo writes header and body.
func (m *Message) WriteTo(w io.Writer) (int64, error) {
	n, err := m.Header.WriteTo(w)
	if err != nil {
		return n, err
	}
	r, err := m.Body.Open()
	if err != nil {
		return n, err
	}
	defer r.Close()
	l, err := io.Copy(w, r)
	return n + l, err
}

// Open returns a reader of header and body.
func (m *Message) Open() (io.ReadCloser, error) {
	r, err := m.Body.Open()
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(m.Header.Bytes()), r), r}, nil
}

// Draft is a message while it is received: in memory up to a bound, per draft
// and over all, then in a file. It belongs to one goroutine until it is
// committed or discarded; one of the two must be called, and after either
// nothing else.
type Draft interface {
	// Write appends what the client sent, with CRLF line ends and the
	// dot-stuffing removed. An error is kept: Commit fails with it too.
	io.Writer

	// Message returns what was written so far, for filters. Filters may change
	// its Header; its Body may be read by more than one at a time. Nothing may
	// be written after it.
	Message(ctx context.Context) (*Message, error)

	// Commit makes the message durable and returns its queue ID: "3K2x9", of
	// characters that are safe in file names. When it returns nil, the message
	// outlives process and machine. m is what Message returned, or nil for what
	// was written; its Header may have changed, its Body is not copied when it
	// is the draft's own. The caller may change env afterwards.
	//
	// A *smtp.SMTPError is the answer for the client (452 4.3.1 when there is no
	// space); any other error is a fault of ours. The draft is gone in any case.
	Commit(ctx context.Context, env *Envelope, m *Message) (id string, err error)

	// Discard throws the message away. After Commit it does nothing.
	Discard() error
}

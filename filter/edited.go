package filter

import (
	"errors"
	"fmt"
	"io"

	"github.com/mtakit/mtakit"
)

// ErrTooManyEdits is wrapped by the error of checks whose table changes more of
// one message than is kept in memory: 65536 places or 4 MiB of new text.
var ErrTooManyEdits = errors.New("too many changes of one message")

const (
	maxEdits = 1 << 16
	maxText  = 4 << 20
)

// edit puts text in the place of n bytes at an offset of the original.
type edit struct {
	at, n int64
	text  string
}

// edits are in the order of their offsets and do not overlap.
type edits struct {
	list []edit
	text int
}

// add appends an edit; one that only deletes joins one before it.
func (e *edits) add(at, n int64, text string) error {
	if last := len(e.list) - 1; last >= 0 && text == "" && e.list[last].at+e.list[last].n == at {
		e.list[last].n += n
		return nil
	}
	if e.text += len(text); len(e.list) >= maxEdits || e.text > maxText {
		return fmt.Errorf("filter: %w", ErrTooManyEdits)
	}
	e.list = append(e.list, edit{at, n, text})
	return nil
}

// body returns original with the edits applied, or original when there are none.
func (e *edits) body(original mtakit.Body) mtakit.Body {
	if len(e.list) == 0 {
		return original
	}
	b := &editedBody{original: original, list: e.list, size: original.Size()}
	for _, x := range e.list {
		b.size += int64(len(x.text)) - x.n
	}
	return b
}

// editedBody is a Body that is changed while it is read: of a big body only the
// changes are in memory.
type editedBody struct {
	original mtakit.Body
	list     []edit
	size     int64
}

// Size returns the length with all changes.
func (b *editedBody) Size() int64 { return b.size }

// Open opens the original.
func (b *editedBody) Open() (io.ReadCloser, error) {
	r, err := b.original.Open()
	if err != nil {
		return nil, err
	}
	return &editedReader{r: r, list: b.list}, nil
}

type editedReader struct {
	r    io.ReadCloser
	list []edit
	pos  int64  // in the original
	text string // what is left of a new text
}

// Close closes the original.
func (r *editedReader) Close() error { return r.r.Close() }

// Read reads the next piece, which is either of the original or of a new text.
func (r *editedReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		switch {
		case r.text != "":
			n := copy(p, r.text)
			r.text = r.text[n:]
			return n, nil
		case len(r.list) == 0:
			return r.r.Read(p)
		case r.pos == r.list[0].at:
			if err := r.skip(r.list[0]); err != nil {
				return 0, err
			}
		default:
			return r.upTo(p, r.list[0].at)
		}
	}
}

// skip leaves out what an edit replaces.
func (r *editedReader) skip(e edit) error {
	n, err := io.CopyN(io.Discard, r.r, e.n)
	r.pos += n
	if err != nil {
		return unexpected(err)
	}
	r.text, r.list = e.text, r.list[1:]
	return nil
}

// upTo reads of the original before the next edit.
func (r *editedReader) upTo(p []byte, end int64) (int, error) {
	n, err := r.r.Read(p[:min(int64(len(p)), end-r.pos)])
	r.pos += int64(n)
	if errors.Is(err, io.EOF) && r.pos == end {
		err = nil // an edit at the very end follows
	}
	return n, unexpected(err)
}

// unexpected says that an original ended before its last edit.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

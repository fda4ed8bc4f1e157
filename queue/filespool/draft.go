package filespool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

// draft is a message while it is received. Its content stands in buf behind
// room for the head, so that it can go to the journal as it is; or, once it has
// a file in incoming/, in that file, and buf holds what is not written to it yet.
type draft struct {
	spool *Spool
	id    string
	buf   []byte
	taken int // of the spool's memory
	size  int64
	err   error
	gone  bool

	file    crashfs.File // nil while all of it is in buf
	epoch   int64        // of incoming/ before the file was made
	written int64        // content in file
	sum     uint32       // of what is in file

	message  *mtakit.Message // what Message returned; its Header may have changed
	body     *draftBody
	original *mtakit.Header // as it was received, and its bytes
	header   []byte
}

var errGone = errors.New("filespool: draft was committed or discarded before")

// smallest is the buffer that a draft begins with.
const smallest = 8 << 10

// kept is the largest buffer that waits for the next draft.
const kept = 64 << 10

func (s *Spool) newDraft(size int64) *draft {
	d := &draft{spool: s, id: s.ids.next(time.Now())}
	if b, ok := s.buffers.Get().(*[]byte); ok && s.memory.take(cap(*b)) {
		d.buf, d.taken = (*b)[:headSize], cap(*b)
	} else if d.grow(int(min(max(size+size/16+2048, smallest), int64(s.MemoryPerDraft)))) {
		d.buf = d.buf[:headSize]
	}
	return d
}

// grow makes the capacity of buf n bytes, if the spool has the memory.
func (d *draft) grow(n int) bool {
	n = max(n, 2*headSize)
	if !d.spool.memory.take(n - d.taken) {
		return false
	}
	d.taken = n
	d.buf = append(make([]byte, 0, n), d.buf...)
	return true
}

// Write appends to the message.
func (d *draft) Write(p []byte) (int, error) {
	switch {
	case d.gone:
		return 0, errGone
	case d.err != nil:
		return 0, d.err
	case d.fits(len(p)):
		d.buf = append(d.buf, p...)
	default:
		if d.err = d.spill(p); d.err != nil {
			return 0, d.err
		}
	}
	d.size += int64(len(p))
	return len(p), nil
}

func (d *draft) fits(n int) bool {
	need := len(d.buf) + n
	if need <= cap(d.buf) {
		return true
	}
	limit := d.spool.MemoryPerDraft + headSize
	if d.file != nil || cap(d.buf) == 0 || need > limit {
		return false
	}
	return d.grow(min(max(2*cap(d.buf), need), limit))
}

// spill writes what is in memory to the file, and then p when it is too long to
// be kept in memory.
func (d *draft) spill(p []byte) error {
	if err := d.flush(); err != nil {
		return err
	}
	if len(p) <= cap(d.buf) {
		d.buf = append(d.buf, p...)
		return nil
	}
	return d.put(p)
}

func (d *draft) flush() error {
	pending := d.buf
	if d.file == nil {
		d.epoch = d.spool.incoming.Epoch()
		f, err := d.spool.FS.Open(d.name(), os.O_RDWR|os.O_CREATE|os.O_EXCL)
		if err != nil {
			return reply(fmt.Errorf("draft: %w", err))
		}
		d.file = f
		pending = pending[min(headSize, len(pending)):]
	}
	d.buf = d.buf[:0]
	return d.put(pending)
}

func (d *draft) put(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if err := writeAll(d.file, p, headSize+d.written); err != nil {
		return reply(fmt.Errorf("draft: %w", err))
	}
	d.sum = crc32.Update(d.sum, castagnoli, p)
	d.written += int64(len(p))
	return nil
}

// writeAll is WriteAt that takes a short write without an error for one.
func writeAll(f crashfs.File, p []byte, off int64) error {
	n, err := f.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return err
}

// Message returns what was written so far.
func (d *draft) Message(context.Context) (*mtakit.Message, error) {
	switch {
	case d.gone:
		return nil, errGone
	case d.err != nil:
		return nil, d.err
	case d.message != nil:
		return d.message, nil
	}
	var start []byte
	if d.file == nil && len(d.buf) >= headSize {
		start = d.buf[headSize:]
	} else if start, d.err = d.reread(); d.err != nil {
		return nil, d.err
	}
	h, n := mtakit.ParseStart(start)
	d.header = start[:n:n]
	d.body = &draftBody{d, int64(n)}
	d.original = h
	d.message = &mtakit.Message{Header: h.Clone(), Body: d.body}
	return d.message, nil
}

// reread reads the part of the file that the header is in.
func (d *draft) reread() ([]byte, error) {
	if err := d.flush(); err != nil {
		return nil, err
	}
	b, err := readAt(d.file, headSize, min(d.written, mtakit.MaxHeader))
	return b, reply(err)
}

// draftBody is the content from off on.
type draftBody struct {
	d   *draft
	off int64
}

func (b *draftBody) Size() int64 { return b.d.size - b.off }

func (b *draftBody) Open() (io.ReadCloser, error) {
	d := b.d
	if d.gone {
		return nil, errGone
	}
	if d.file == nil {
		return mtakit.Bytes(d.buf[headSize+b.off : headSize+d.size]).Open()
	}
	return io.NopCloser(io.NewSectionReader(d.file, headSize+b.off, b.Size())), nil
}

// Commit makes the message durable.
func (d *draft) Commit(ctx context.Context, env *mtakit.Envelope, m *mtakit.Message) (string, error) {
	ids, err := d.spool.Commit(ctx, []queue.Accept{{Draft: d, Envelope: env, Message: m}}, nil)
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

// Discard throws the message away.
func (d *draft) Discard() error {
	if d.gone {
		return nil
	}
	spilled := d.file != nil
	d.release()
	if spilled {
		return d.spool.remove(d.name())
	}
	return nil
}

// end releases a draft that was committed, or that could not be.
func (d *draft) end(accepted bool) {
	switch {
	case accepted:
		d.release()
	case !d.gone:
		if err := d.Discard(); err != nil {
			d.spool.Logger.Warn("cannot remove", "file", d.name(), "error", err)
		}
	}
}

// name is that of the draft's file. In incoming/ a file counts only when the
// journal says so.
func (d *draft) name() string { return d.spool.incoming.file(d.id) }

// release gives back what the draft holds, but not its name in incoming/.
func (d *draft) release() {
	d.gone = true
	if d.file != nil {
		d.file.Close()
		d.file = nil
	}
	if d.taken > 0 {
		d.spool.memory.give(d.taken)
		if cap(d.buf) <= kept {
			buffer := d.buf[:0]
			d.spool.buffers.Put(&buffer)
		}
	}
	d.buf, d.taken = nil, 0
}

// finish makes the image of an accepted draft: in buf, ready for the journal, or
// synced in its file.
func (d *draft) finish(a *queue.Accept) error {
	if _, err := d.Message(context.Background()); err != nil {
		return err
	}
	t := d.trailer(a)
	meta := t.append(nil)
	h := head{content: d.size, trailer: uint32(len(meta)), trailerSum: crc(meta), salt: rand.Uint32()}
	if d.file == nil && len(d.buf) >= headSize {
		h.contentSum = crc(d.buf[headSize:])
		h.put(d.buf)
		d.buf = append(d.buf, meta...)
		return nil
	}
	return d.finishFile(&h, meta)
}

func (d *draft) finishFile(h *head, meta []byte) error {
	if err := d.flush(); err != nil {
		return err
	}
	h.contentSum = d.sum
	var first [headSize]byte
	h.put(first[:])
	if err := writeAll(d.file, meta, headSize+d.size); err != nil {
		return err
	}
	if err := writeAll(d.file, first[:], 0); err != nil {
		return err
	}
	if err := d.file.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return d.spool.incoming.sync(d.epoch)
}

// trailer tells how the message differs from what was received.
func (d *draft) trailer(a *queue.Accept) trailer {
	t := trailer{envelope: a.Envelope, header: int64(len(d.header)), key: a.Key}
	t.start = start(a)
	written := d.original
	if a.Message != nil {
		written = a.Message.Header
	}
	header := written.Bytes()
	same := commonSuffix(header, d.header)
	t.from = t.header - int64(same)
	t.prefix = header[:len(header)-same]
	return t
}

// commonSuffix returns how many bytes a and b have in common at their ends.
func commonSuffix(a, b []byte) int {
	if bytes.HasSuffix(a, b) {
		return len(b)
	}
	n := 0
	for n < len(a) && n < len(b) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	return n
}

// owns tells whether m is the draft's own message, perhaps with another header.
func (d *draft) owns(m *mtakit.Message) bool {
	if m == nil {
		return true
	}
	body, ok := m.Body.(*draftBody)
	return ok && body == d.body
}

// replace makes d hold the bytes of m, whose body is not its own.
func (d *draft) replace(m *mtakit.Message) (*draft, error) {
	other := d.spool.newDraft(m.Size())
	_, err := m.WriteTo(other)
	if err == nil {
		err = d.Discard()
	}
	if err != nil {
		other.Discard()
		return nil, reply(fmt.Errorf("new body of the message: %w", err))
	}
	return other, nil
}

package filespool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

// See doc.go for the format of a file.
const (
	magic    = "mtakit message 1"
	headSize = 64
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// head is the first headSize bytes of a file.
type head struct {
	content    int64  // length of what was received
	contentSum uint32 // its checksum
	trailer    uint32 // length of the trailer
	trailerSum uint32 // its checksum
	salt       uint32 // what the checksums of the records start from
}

func (h *head) put(b []byte) {
	clear(b[:headSize])
	copy(b, magic)
	binary.BigEndian.PutUint64(b[16:], uint64(h.content))
	binary.BigEndian.PutUint32(b[24:], h.contentSum)
	binary.BigEndian.PutUint32(b[28:], h.trailer)
	binary.BigEndian.PutUint32(b[32:], h.trailerSum)
	binary.BigEndian.PutUint32(b[36:], h.salt)
	binary.BigEndian.PutUint32(b[60:], crc(b[:60]))
}

func parseHead(b []byte, size int64) (h head, err error) {
	switch {
	case len(b) < headSize:
		return h, fmt.Errorf("cut off in the head: %d bytes", len(b))
	case string(b[:16]) != magic:
		return h, errors.New("not the head of a message file")
	case crc(b[:60]) != binary.BigEndian.Uint32(b[60:]):
		return h, errors.New("checksum of the head is wrong")
	}
	h = head{
		content:    int64(binary.BigEndian.Uint64(b[16:])),
		contentSum: binary.BigEndian.Uint32(b[24:]),
		trailer:    binary.BigEndian.Uint32(b[28:]),
		trailerSum: binary.BigEndian.Uint32(b[32:]),
		salt:       binary.BigEndian.Uint32(b[36:]),
	}
	if h.content < 0 || h.content > size || h.records() > size {
		return h, fmt.Errorf("cut off: %d bytes in place of %d", size, h.records())
	}
	return h, nil
}

// records returns the offset of the records.
func (h *head) records() int64 { return headSize + h.content + int64(h.trailer) }

// The tags of a trailer.
const (
	trailerEnvelope byte = iota + 1
	trailerPrefix
	trailerFrom
	trailerHeader
	trailerState
	trailerKey
)

// trailer is what is known when a message is accepted. The message is prefix
// and then the content from offset from on; its header ends at offset header of
// the content.
type trailer struct {
	envelope     *mtakit.Envelope
	prefix       []byte
	from, header int64
	start        queue.Change // Attempts, Next, Hold and Defer
	key          string
}

func (t *trailer) append(b []byte) []byte {
	e := encoder{b}
	e.group(trailerEnvelope, func() { e.envelope(t.envelope) })
	if len(t.prefix) > 0 {
		e.bytes(trailerPrefix, t.prefix)
	}
	e.int(trailerFrom, t.from)
	e.int(trailerHeader, t.header)
	e.group(trailerState, func() { e.change(&t.start) })
	e.str(trailerKey, t.key)
	return e.b
}

func parseTrailer(b []byte, content int64) (t trailer, s state, err error) {
	var start []byte
	for tag, v := range fields(b, &err) {
		switch tag {
		case trailerEnvelope:
			t.envelope = v.envelope()
		case trailerPrefix:
			t.prefix = v.b
		case trailerFrom:
			t.from = v.int()
		case trailerHeader:
			t.header = v.int()
		case trailerState:
			start = v.b
		case trailerKey:
			t.key = v.str()
		}
	}
	switch {
	case err != nil:
		return t, s, fmt.Errorf("trailer: %w", err)
	case t.envelope == nil:
		return t, s, errors.New("trailer without envelope")
	case t.from < 0 || t.header < t.from || t.header > content:
		return t, s, errors.New("trailer points out of the content")
	}
	s.marks = newMarks(len(t.envelope.Recipients))
	if err := s.apply(start); err != nil {
		return t, s, fmt.Errorf("trailer: %w", err)
	}
	return t, s, nil
}

// image is a file as it was read. content is nil when it was not asked for.
type image struct {
	head
	trailer
	state
	content     []byte
	end, synced int64 // of the records: where the good ones end, what of the file is known as synced
	size        int64 // of the file
}

// parse reads the tail of a file, which is the trailer and the records.
func (im *image) parse(tail []byte) (err error) {
	if int64(len(tail)) < int64(im.head.trailer) {
		return errors.New("cut off in the trailer")
	}
	meta := tail[:im.head.trailer]
	if crc(meta) != im.trailerSum {
		return errors.New("checksum of the trailer is wrong")
	}
	if im.trailer, im.state, err = parseTrailer(meta, im.head.content); err != nil {
		return err
	}
	im.end, im.synced, err = im.replay(tail[len(meta):], im.salt, im.records())
	im.synced = max(im.synced, im.records())
	return err
}

// length returns the size of the message.
func (im *image) length() int64 { return int64(len(im.prefix)) + im.head.content - im.from }

// parseImage is readImage of what was read before; with any other than a negative
// limit the content is there.
func parseImage(b []byte, limit int64) (*image, error) {
	im := &image{size: int64(len(b))}
	var err error
	if im.head, err = parseHead(b, im.size); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if err := im.parse(b[headSize+im.head.content:]); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if limit < 0 {
		return im, nil
	}
	return im, im.readContent(nil, b, true)
}

// errDamaged is wrapped by what readImage finds wrong with the bytes of a file;
// any other error means that it could not be read.
var errDamaged = errors.New("damaged")

// firstRead is what is read of a file at first: the whole of most messages
// whose content is wanted, the whole of small ones otherwise.
const firstRead = 4 << 10

// readImage reads what is known of a message, and its content when that is not
// longer than limit. With a negative limit it reads no content.
func readImage(f crashfs.File, limit int64) (*image, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	im := &image{size: size}
	first := int64(firstRead)
	if limit >= 0 && size <= limit+64<<10 {
		first = size
	}
	b, err := readAt(f, 0, min(first, size))
	if err != nil {
		return nil, err
	}
	if im.head, err = parseHead(b, size); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	tailAt := headSize + im.head.content
	whole := int64(len(b)) == size
	tail := b[min(tailAt, int64(len(b))):]
	if !whole {
		if tail, err = readAt(f, tailAt, size-tailAt); err != nil {
			return nil, err
		}
	}
	if err := im.parse(tail); err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if im.head.content > limit {
		return im, nil
	}
	return im, im.readContent(f, b, whole)
}

func (im *image) readContent(f crashfs.File, b []byte, whole bool) (err error) {
	if whole {
		im.content = b[headSize : headSize+im.head.content : headSize+im.head.content]
	} else if im.content, err = readAt(f, headSize, im.head.content); err != nil {
		return err
	}
	if crc(im.content) != im.contentSum {
		return fmt.Errorf("%w: checksum of the content is wrong", errDamaged)
	}
	return nil
}

// readAt reads n bytes, or fewer when the file ends before.
func readAt(f crashfs.File, off, n int64) ([]byte, error) {
	b := make([]byte, n)
	m, err := f.ReadAt(b, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:m], nil
}

func crc(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

package filespool

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path"
	"strconv"
	"sync"

	"github.com/mtakit/mtakit/internal/crashfs"
)

// See doc.go for the format of a segment.
const (
	segmentMagic = "mtakit journal 1"
	segmentHead  = 64
	frameSize    = 36
)

// place is where a record stands in the journal. Places are in the order in
// which records were written.
type place struct {
	segment uint64
	offset  int64
}

func (p place) after(q place) bool {
	return p.segment > q.segment || p.segment == q.segment && p.offset > q.offset
}

// segment is one file of the journal.
type segment struct {
	seq   uint64
	nonce [16]byte
	size  int64 // of the file, all of it written once, so that syncs concern data alone

	// before is the segment before this one when it was made, and how much of
	// that one counts.
	before place

	end, synced int64 // of the records; the writer's

	damaged error // the head cannot be read

	mu   sync.RWMutex // held for reading while file is read, for writing when it is given up
	file crashfs.File // nil when it was given up

	live map[*tracked]bool // messages whose oldest record is in it; guarded by the index
}

// segmentName is the name of the file, whose order is the segments'.
func segmentName(seq uint64) string { return fmt.Sprintf("%016x", seq) }

func parseSegmentName(name string) (seq uint64, ok bool) {
	if len(name) != 16 {
		return 0, false
	}
	seq, err := strconv.ParseUint(name, 16, 64)
	return seq, err == nil && segmentName(seq) == name
}

func (s *segment) head() []byte {
	b := make([]byte, segmentHead)
	copy(b, segmentMagic)
	binary.BigEndian.PutUint64(b[16:], s.seq)
	copy(b[24:], s.nonce[:])
	binary.BigEndian.PutUint64(b[40:], s.before.segment)
	binary.BigEndian.PutUint64(b[48:], uint64(s.before.offset))
	binary.BigEndian.PutUint32(b[60:], crc(b[:60]))
	return b
}

func (s *segment) parseHead(b []byte) error {
	switch {
	case len(b) < segmentHead:
		return errors.New("cut off in the head")
	case string(b[:16]) != segmentMagic:
		return errors.New("not the head of a segment")
	case crc(b[:60]) != binary.BigEndian.Uint32(b[60:]):
		return errors.New("checksum of the head is wrong")
	case binary.BigEndian.Uint64(b[16:]) != s.seq:
		return errors.New("the head is another segment's")
	}
	copy(s.nonce[:], b[24:])
	s.before = place{binary.BigEndian.Uint64(b[40:]), int64(binary.BigEndian.Uint64(b[48:]))}
	return nil
}

// read returns n bytes at off, and nothing when the segment was given up: then
// what stood there is elsewhere.
func (s *segment) read(off int64, n int) (b []byte, ok bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.file == nil {
		return nil, false, nil
	}
	b, err = readAt(s.file, off, int64(n))
	if err == nil && len(b) < n {
		err = io.ErrUnexpectedEOF
	}
	return b, true, err
}

// changed tells whether the file has become another segment's.
func (s *segment) changed() bool {
	head, _, err := s.read(0, segmentHead)
	return err == nil && s.damaged == nil && !bytes.Equal(head, s.head())
}

// giveUp closes the file when nobody reads it any more.
func (s *segment) giveUp() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// A frame stands before each record: a mark, its own offset, the offset up to
// which the segment was synced when it was written (8 bytes each), the length of
// the record, its checksum, and the checksum of all that (4 bytes each). Mark
// and checksum come from the nonce: nothing in a message can look like a frame,
// nor can what the file held before.
type frame struct {
	offset, synced int64
	length         uint32
	sum            uint32
}

func (s *segment) putFrame(b []byte, f frame) {
	copy(b, s.nonce[:8])
	binary.BigEndian.PutUint64(b[8:], uint64(f.offset))
	binary.BigEndian.PutUint64(b[16:], uint64(f.synced))
	binary.BigEndian.PutUint32(b[24:], f.length)
	binary.BigEndian.PutUint32(b[28:], f.sum)
	binary.BigEndian.PutUint32(b[32:], s.frameSum(b))
}

func (s *segment) frameSum(b []byte) uint32 {
	return crc32.Update(crc(s.nonce[:]), castagnoli, b[:32])
}

// frameAt returns the frame and record at an offset of the segment, which is b.
func (s *segment) frameAt(b []byte, off int64) (f frame, record []byte, ok bool) {
	if off < segmentHead || off > int64(len(b))-frameSize {
		return f, nil, false
	}
	h := b[off : off+frameSize]
	if !bytes.Equal(h[:8], s.nonce[:8]) || s.frameSum(h) != binary.BigEndian.Uint32(h[32:]) {
		return f, nil, false
	}
	f = frame{
		offset: int64(binary.BigEndian.Uint64(h[8:])), synced: int64(binary.BigEndian.Uint64(h[16:])),
		length: binary.BigEndian.Uint32(h[24:]), sum: binary.BigEndian.Uint32(h[28:]),
	}
	rest := b[off+frameSize:]
	if f.offset != off || int64(f.length) > int64(len(rest)) {
		return f, nil, false
	}
	record = rest[:f.length:f.length]
	return f, record, crc(record) == f.sum
}

// next returns the offset of the next good frame behind off, or -1.
func (s *segment) next(b []byte, off int64) int64 {
	for off++; off < int64(len(b)); off++ {
		i := bytes.Index(b[off:], s.nonce[:8])
		if i < 0 {
			return -1
		}
		off += int64(i)
		if _, _, ok := s.frameAt(b, off); ok {
			return off
		}
	}
	return -1
}

// createSegment makes a segment of a file that was allocated: it gets its name
// when the head is there.
func (s *Spool) createSegment(seg *segment, name string) (err error) {
	if _, err := rand.Read(seg.nonce[:]); err != nil {
		return err
	}
	f, err := s.FS.Open(name, os.O_RDWR)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			s.tidy(name)
		}
	}()
	if seg.size, err = f.Size(); err != nil {
		return err
	}
	if err := writeAll(f, seg.head(), 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	epoch := s.journal.dir.Epoch()
	final := s.journal.dir.file(segmentName(seg.seq))
	if err := s.FS.Move(name, final); err != nil {
		return err
	}
	name = final
	if err := s.journal.dir.sync(epoch); err != nil {
		return err
	}
	seg.file, seg.end, seg.synced = f, segmentHead, segmentHead
	return nil
}

// allocate writes a file full of zeros and syncs it.
func (s *Spool) allocate(name string, size int64) error {
	if err := s.remove(name); err != nil {
		return err
	}
	f, err := s.FS.Open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	defer f.Close()
	zeros := make([]byte, min(size, 256<<10))
	for off := int64(0); off < size; off += int64(len(zeros)) {
		if err := writeAll(f, zeros[:min(int64(len(zeros)), size-off)], off); err != nil {
			s.tidy(name)
			return err
		}
	}
	if err := f.Sync(); err != nil {
		s.tidy(name)
		return err
	}
	return nil
}

// spareName names a file that waits to become a segment.
func (s *Spool) spareName(seq uint64) string {
	return path.Join(s.journal.dir.path, "spare."+segmentName(seq))
}

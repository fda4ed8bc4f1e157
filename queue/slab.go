package queue

import (
	"hash/maphash"
	"strings"
	"time"
)

// slot is a message that waits. Slots, and sites, have numbers; 0 is none.
type slot struct {
	name       [16]byte // the ID; a longer one is in slots.long
	due        time.Duration
	since      uint32 // seconds
	position   uint32 // in its calendar
	site       uint32 // whose sleepers it is one of
	prev, next uint32 // of the same site, oldest first
	length     uint8  // of the ID; longID means that it is in slots.long
	incoming   bool
}

const longID = 0xff

// chunkSize is how many slots are allocated at a time.
const chunkSize = 1024

// slab is the slots, numbered from 1 to n without gaps. It grows and shrinks in
// chunks.
type slab struct {
	n      uint32
	chunks []*[chunkSize]slot
	long   []*[chunkSize]string // nil where no ID is long
}

func (s *slab) at(i uint32) *slot { return &s.chunks[i/chunkSize][i%chunkSize] }

// id returns the ID of a slot.
func (s *slab) id(i uint32) string {
	slot := s.at(i)
	if slot.length == longID {
		return s.long[i/chunkSize][i%chunkSize]
	}
	return string(slot.name[:slot.length])
}

func (s *slab) is(i uint32, id string) bool {
	slot := s.at(i)
	if slot.length == longID {
		return s.long[i/chunkSize][i%chunkSize] == id
	}
	return string(slot.name[:slot.length]) == id
}

func (s *slab) hash(seed maphash.Seed, i uint32) uint64 {
	slot := s.at(i)
	if slot.length == longID {
		return maphash.String(seed, s.long[i/chunkSize][i%chunkSize])
	}
	return maphash.Bytes(seed, slot.name[:slot.length])
}

// add returns a new slot.
func (s *slab) add(id string) uint32 {
	s.n++
	i := s.n
	if int(i/chunkSize) == len(s.chunks) {
		s.chunks = append(s.chunks, new([chunkSize]slot))
		s.long = append(s.long, nil)
	}
	slot := s.at(i)
	if len(id) <= len(slot.name) {
		slot.length = uint8(copy(slot.name[:], id))
		return i
	}
	slot.length = longID
	s.setLong(i, strings.Clone(id))
	return i
}

func (s *slab) setLong(i uint32, id string) {
	if s.long[i/chunkSize] == nil {
		s.long[i/chunkSize] = new([chunkSize]string)
	}
	s.long[i/chunkSize][i%chunkSize] = id
}

// move copies the last slot, which is to be dropped, into one that is free.
func (s *slab) move(from, to uint32) {
	*s.at(to) = *s.at(from)
	if s.at(to).length == longID {
		s.setLong(to, s.id(from))
	}
}

// drop gives the last slot free. A spare chunk is kept, so that a message that
// comes and goes does not make and drop one.
func (s *slab) drop() {
	*s.at(s.n) = slot{}
	if long := s.long[s.n/chunkSize]; long != nil {
		long[s.n%chunkSize] = ""
	}
	s.n--
	if last := len(s.chunks) - 1; int(s.n/chunkSize)+1 < last {
		s.chunks[last], s.long[last] = nil, nil
		s.chunks, s.long = s.chunks[:last], s.long[:last]
	}
}

package filespool

import (
	"bytes"
	"hash/maphash"
	"iter"
	"math/bits"
)

// idList is the IDs in one folder, in pieces: there may be a million. Once sealed
// it also is a set, of which IDs are taken off.
type idList struct {
	dir    *directory // where they lie; nil means that the journal tells
	chunks [][]byte   // each ID with a line end behind it
	n      int
	seed   maphash.Seed
	cells  []uint32 // by hash: where an ID stands, plus 1
	taken  []uint64 // a bit for each cell
}

const (
	chunkBits = 13
	chunkSize = 1 << chunkBits
)

func (l *idList) add(id string) {
	last := len(l.chunks) - 1
	if last < 0 || len(l.chunks[last])+len(id) >= chunkSize {
		l.chunks = append(l.chunks, make([]byte, 0, chunkSize))
		last++
	}
	l.chunks[last] = append(append(l.chunks[last], id...), '\n')
	l.n++
}

// seal is called after the last add, and before anything else.
func (l *idList) seal() {
	l.seed = maphash.MakeSeed()
	size := 1 << bits.Len(uint(2*l.n))
	l.cells, l.taken = make([]uint32, size), make([]uint64, (size+63)/64)
	for i, chunk := range l.chunks {
		for off, id := range idsIn(chunk) {
			l.cells[l.cell(string(id))] = uint32(i<<chunkBits|off) + 1
		}
	}
}

// idsIn yields the IDs of a chunk with their offsets.
func idsIn(chunk []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for off := 0; off < len(chunk); {
			n := bytes.IndexByte(chunk[off:], '\n')
			if !yield(off, chunk[off:off+n]) {
				return
			}
			off += n + 1
		}
	}
}

// cell returns the cell of an ID, or the empty one where it would be.
func (l *idList) cell(id string) int {
	mask := len(l.cells) - 1
	i := int(maphash.String(l.seed, id)) & mask
	for l.cells[i] != 0 && !l.stands(int(l.cells[i]-1), id) {
		i = (i + 1) & mask
	}
	return i
}

func (l *idList) stands(at int, id string) bool {
	b := l.chunks[at>>chunkBits][at&(chunkSize-1):]
	return len(b) > len(id) && string(b[:len(id)]) == id && b[len(id)] == '\n'
}

func (l *idList) has(id string) bool { return l.cells[l.cell(id)] != 0 }

// take takes an ID off, and is false when it is not on the list any more.
func (l *idList) take(id string) bool {
	i := l.cell(id)
	if l.cells[i] == 0 || l.isTaken(i) {
		return false
	}
	l.taken[i/64] |= 1 << (i % 64)
	return true
}

func (l *idList) isTaken(cell int) bool { return l.taken[cell/64]&(1<<(cell%64)) != 0 }

// left yields the IDs of a chunk that were not taken off.
func (l *idList) left(chunk int) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, b := range idsIn(l.chunks[chunk]) {
			if id := string(b); !l.isTaken(l.cell(id)) && !yield(id) {
				return
			}
		}
	}
}

// folderOf returns the folder on whose list an ID is; nil means that it is on none.
func folderOf(lists []*idList, id string) *directory {
	for _, l := range lists {
		if l.dir != nil && l.has(id) {
			return l.dir
		}
	}
	return nil
}

// takeOff takes an ID off the list of its folder.
func takeOff(lists []*idList, id string) bool {
	for _, l := range lists {
		if l.dir != nil && l.has(id) {
			return l.take(id)
		}
	}
	return false
}

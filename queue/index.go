package queue

import "math/bits"

// index finds numbers from 1 on by the hash of what they stand for. It is a hash
// table with linear probing in shards, each of which grows by itself, so that
// nobody waits for a million numbers to be placed anew.
type index struct {
	hash   func(i uint32) uint64 // of a number that is in
	shards [256]shard
}

// shard is a part of the index.
type shard struct {
	cells []uint32 // 0 where there is none
	n     int
}

func (x *index) shard(h uint64) *shard { return &x.shards[h%uint64(len(x.shards))] }

// home is where a hash belongs when there is no other.
func (s *shard) home(h uint64) int {
	p, _ := bits.Mul64(h, uint64(len(s.cells)))
	return int(p)
}

func (s *shard) after(p int) int {
	if p++; p == len(s.cells) {
		return 0
	}
	return p
}

// find returns the number with this hash of which is says that it is the one,
// or 0.
func (x *index) find(h uint64, is func(i uint32) bool) uint32 {
	s := x.shard(h)
	if s.n == 0 {
		return 0
	}
	for p := s.home(h); s.cells[p] != 0; p = s.after(p) {
		if is(s.cells[p]) {
			return s.cells[p]
		}
	}
	return 0
}

// add puts a number in that is not there.
func (x *index) add(i uint32) {
	h := x.hash(i)
	s := x.shard(h)
	if s.n >= len(s.cells)/4*3 {
		x.resize(s, max(8, len(s.cells)+len(s.cells)/2))
	}
	s.n++
	s.put(h, i)
}

func (s *shard) put(h uint64, i uint32) {
	p := s.home(h)
	for s.cells[p] != 0 {
		p = s.after(p)
	}
	s.cells[p] = i
}

func (x *index) resize(s *shard, size int) {
	old := s.cells
	s.cells = make([]uint32, size)
	for _, i := range old {
		if i != 0 {
			s.put(x.hash(i), i)
		}
	}
}

// cell returns where a number is that is in.
func (x *index) cell(i uint32) (*shard, int) {
	h := x.hash(i)
	s := x.shard(h)
	p := s.home(h)
	for s.cells[p] != i {
		p = s.after(p)
	}
	return s, p
}

// replace gives what number i stands for another number.
func (x *index) replace(i, with uint32) {
	s, p := x.cell(i)
	s.cells[p] = with
}

// remove takes a number out. Those behind it move up, so that none is cut off
// from its home.
func (x *index) remove(i uint32) {
	s, gap := x.cell(i)
	for p := s.after(gap); s.cells[p] != 0; p = s.after(p) {
		home := s.home(x.hash(s.cells[p]))
		if between := gap < home && home <= p || p < gap && (gap < home || home <= p); !between {
			s.cells[gap] = s.cells[p]
			gap = p
		}
	}
	s.cells[gap] = 0
	s.n--
	if len(s.cells) > 64 && s.n < len(s.cells)/4 {
		x.resize(s, len(s.cells)/2)
	}
}

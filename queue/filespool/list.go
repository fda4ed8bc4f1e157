package filespool

import (
	"bytes"
	"errors"
	"hash/maphash"
	"io/fs"
	"iter"
	"math/bits"
	"slices"
)

// lists are the IDs of all messages at one moment.
type lists struct {
	journal []string
	folders []*folderList
}

// folderList is the IDs in one folder, of which some are taken off. There may be
// a million, so it keeps eight bytes of each: a hash. Should two have the same,
// these are kept whole and not taken off, so that a hash stands for one ID.
type folderList struct {
	dir     *directory
	hash    func(id string) uint64
	buckets [256]bucket // by the first byte of the hash
	twins   map[string]bool
}

// bucket is some hashes, in their order once the list is sealed.
type bucket struct {
	hashes []uint64
	taken  []uint64 // a bit for each
}

// newHash returns what IDs are told apart by in lists.
func newHash() func(id string) uint64 {
	seed := maphash.MakeSeed()
	return func(id string) uint64 { return maphash.String(seed, id) }
}

func (l *folderList) add(id string) {
	h := l.hash(id)
	b := &l.buckets[h>>56]
	b.hashes = append(b.hashes, h)
}

// seal is called after the last add. It returns the hashes that several IDs have.
func (l *folderList) seal() (shared []uint64) {
	for i := range l.buckets {
		b := &l.buckets[i]
		slices.Sort(b.hashes)
		for j := 1; j < len(b.hashes); j++ {
			if b.hashes[j] == b.hashes[j-1] {
				shared = append(shared, b.hashes[j])
			}
		}
		b.taken = make([]uint64, (len(b.hashes)+63)/64)
	}
	return shared
}

// find returns where an ID stands. For one that is not in the folder it may be
// where another stands.
func (l *folderList) find(id string) (b *bucket, i int, ok bool) {
	h := l.hash(id)
	b = &l.buckets[h>>56]
	i, ok = slices.BinarySearch(b.hashes, h)
	return b, i, ok
}

// may reports whether an ID may be on the list; false is certain.
func (l *folderList) may(id string) bool {
	_, _, ok := l.find(id)
	return ok
}

// take takes an ID off that is in the folder, and is false when it was taken
// before, or never can be.
func (l *folderList) take(id string) bool {
	b, i, ok := l.find(id)
	if !ok || l.twins[id] || b.isTaken(i) {
		return false
	}
	b.taken[i/64] |= 1 << (i % 64)
	return true
}

func (b *bucket) isTaken(i int) bool { return b.taken[i/64]&(1<<(i%64)) != 0 }

// left reports whether an ID that is in the folder was on the list and was not
// taken off.
func (l *folderList) left(id string) bool {
	b, i, ok := l.find(id)
	return ok && !b.isTaken(i)
}

// list returns the IDs of all messages at one moment, each once: nothing moves
// between journal and files meanwhile.
func (s *Spool) list() (*lists, error) {
	s.moving.Lock()
	defer s.moving.Unlock()
	all := &lists{journal: s.index.ids()}
	inJournal := make(map[string]bool, len(all.journal))
	for _, id := range all.journal {
		inJournal[id] = true
	}
	for _, d := range [...]*directory{s.active, s.hold, s.deferred} {
		l, err := s.listFolder(d, inJournal, all.folders)
		if err != nil {
			return nil, err
		}
		all.folders = append(all.folders, l)
	}
	return all, nil
}

// listFolder lists what is in a folder, and neither in the journal nor in the
// folders before it.
func (s *Spool) listFolder(d *directory, inJournal map[string]bool, before []*folderList) (*folderList, error) {
	l := &folderList{dir: d, hash: s.hash}
	var doubtful []string
	err := s.FS.List(d.path, func(name string) {
		switch {
		case !validID(name):
			s.stranger(d, name)
		case inJournal[name] || s.index.knows(name):
		case slices.ContainsFunc(before, func(l *folderList) bool { return l.may(name) }):
			doubtful = append(doubtful, name)
		default:
			l.add(name)
		}
	})
	for _, name := range doubtful {
		there := false
		for _, l := range before {
			_, statErr := s.FS.Stamp(l.dir.file(name))
			there = there || !errors.Is(statErr, fs.ErrNotExist)
		}
		if !there {
			l.add(name)
		}
	}
	if err != nil {
		return nil, err
	}
	return l, s.findTwins(l)
}

// findTwins seals a list.
func (s *Spool) findTwins(l *folderList) error {
	shared := l.seal()
	if len(shared) == 0 {
		return nil
	}
	l.twins = map[string]bool{}
	return s.FS.List(l.dir.path, func(name string) {
		if slices.Contains(shared, l.hash(name)) {
			l.twins[name] = true
		}
	})
}

// idList is many IDs in pieces, each with a line end behind it.
type idList struct{ chunks [][]byte }

const chunkSize = 8 << 10

func (l *idList) add(id string) {
	last := len(l.chunks) - 1
	if last < 0 || len(l.chunks[last])+len(id) >= chunkSize {
		l.chunks = append(l.chunks, make([]byte, 0, chunkSize))
		last++
	}
	l.chunks[last] = append(append(l.chunks[last], id...), '\n')
}

// idsIn yields the IDs of a chunk.
func idsIn(chunk []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		for len(chunk) > 0 {
			i := bytes.IndexByte(chunk, '\n')
			if !yield(string(chunk[:i])) {
				return
			}
			chunk = chunk[i+1:]
		}
	}
}

// portion is how many IDs are read at a time of what was left of a list.
const portion = 200_000

// left yields the messages of a folder that were listed and not taken off. When
// they are many the folder is looked through several times, so that memory does not
// grow with it.
func (s *Spool) left(l *folderList) iter.Seq2[*idList, error] {
	return func(yield func(*idList, error) bool) {
		passes := uint64(l.count()/portion + 1)
		for pass := range passes {
			left := new(idList)
			err := s.FS.List(l.dir.path, func(name string) {
				if validID(name) && l.hash(name)%passes == pass && l.left(name) {
					left.add(name)
				}
			})
			if !yield(left, err) {
				return
			}
		}
	}
}

// count returns how many IDs were not taken off.
func (l *folderList) count() (n int) {
	for i := range l.buckets {
		n += len(l.buckets[i].hashes)
		for _, word := range l.buckets[i].taken {
			n -= bits.OnesCount64(word)
		}
	}
	return n
}

// of returns the folder that may have an ID, nil for none.
func (a *lists) of(id string) *folderList {
	for _, l := range a.folders {
		if l.may(id) {
			return l
		}
	}
	return nil
}

package crashfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// node is a file or, with names, a directory. What is durable and what was
// changed since are kept apart.
type node struct {
	data    []byte // as readers see it
	durable []byte
	dirty   []write // since the last sync, in order
	lost    int     // how often a failed SyncAll has dropped writes
	inode   uint64  // of a file
	written int64   // how often it was written to
	synced  int64   // how often before the last sync

	names        map[string]*node
	durableNames map[string]*node
	dirtyNames   []nameOp
}

// write is a write, or with data nil a truncation to the length off.
type write struct {
	off  int64
	data []byte
}

// nameOp is a change of one directory that becomes durable as a whole.
type nameOp []struct {
	name string
	node *node // nil: the name goes
}

func newDir() *node {
	return &node{names: map[string]*node{}, durableNames: map[string]*node{}}
}

func (n *node) set(name string, to *node) { n.change(nameOp{{name, to}}) }

func (n *node) change(op nameOp) {
	applyNames(n.names, op)
	n.dirtyNames = append(n.dirtyNames, op)
}

func applyNames(names map[string]*node, op nameOp) {
	for _, c := range op {
		if c.node == nil {
			delete(names, c.name)
		} else {
			names[c.name] = c.node
		}
	}
}

func (n *node) write(w write) {
	n.data = apply(n.data, w)
	n.written++
	n.dirty = append(n.dirty, w)
}

func apply(data []byte, w write) []byte {
	if w.data == nil {
		if w.off <= int64(len(data)) {
			return data[:w.off:w.off]
		}
		return append(data, make([]byte, w.off-int64(len(data)))...)
	}
	if grow := w.off + int64(len(w.data)) - int64(len(data)); grow > 0 {
		data = append(data, make([]byte, grow)...)
	}
	copy(data[w.off:], w.data)
	return data
}

// sync makes the node durable, or forgets how to when ok is false.
func (n *node) sync(ok bool) {
	if ok {
		for _, w := range n.dirty {
			n.durable = apply(n.durable, w)
		}
		n.synced = n.written
		for _, op := range n.dirtyNames {
			applyNames(n.durableNames, op)
		}
	}
	n.dirty, n.dirtyNames = nil, nil
}

// syncData is sync without the length: what is behind the durable one stays
// undecided.
func (n *node) syncData(ok bool) {
	var behind []write
	for _, w := range n.dirty {
		in := min(int64(len(n.durable))-w.off, int64(len(w.data)))
		switch {
		case w.data == nil || in <= 0:
			behind = append(behind, w)
			continue
		case in < int64(len(w.data)):
			behind = append(behind, write{w.off + in, w.data[in:]})
		}
		if ok {
			n.durable = apply(n.durable, write{w.off, w.data[:in]})
		}
	}
	if !ok {
		behind = nil
	}
	n.dirty = behind
}

// walk calls f for n and everything below it.
func (n *node) walk(f func(*node)) {
	f(n)
	for _, child := range n.names {
		child.walk(f)
	}
}

// survivor copies what is left after a crash. Nodes with several names keep
// being one node.
type survivor struct {
	rng  *rand.Rand // nil: only what was synced
	done map[*node]*node
}

func (s survivor) node(n *node) *node {
	if c := s.done[n]; c != nil {
		return c
	}
	c := &node{inode: n.inode}
	s.done[n] = c
	if n.names == nil {
		// What is there may be what was synced, with the time of what was not.
		c.durable, c.synced = s.data(n), n.synced
		if s.luck() {
			c.synced = n.written
		}
		c.data, c.written = slices.Clone(c.durable), c.synced
		return c
	}
	names := maps.Clone(n.durableNames)
	for _, op := range n.dirtyNames {
		if s.luck() {
			applyNames(names, op)
		}
	}
	c.names, c.durableNames = map[string]*node{}, map[string]*node{}
	for _, name := range slices.Sorted(maps.Keys(names)) { // the same order for the same seed
		c.names[name] = s.node(names[name])
	}
	maps.Copy(c.durableNames, c.names)
	return c
}

func (s survivor) data(n *node) []byte {
	data := slices.Clone(n.durable)
	for _, w := range n.dirty {
		if !s.luck() {
			continue
		}
		if len(w.data) > 0 && s.luck() { // torn: a part of it, from anywhere
			i := s.rng.IntN(len(w.data))
			w = write{w.off + int64(i), w.data[i : i+1+s.rng.IntN(len(w.data)-i)]}
		}
		data = apply(data, w)
	}
	return data
}

func (s survivor) luck() bool { return s.rng != nil && s.rng.IntN(2) == 0 }

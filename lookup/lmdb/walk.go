package lmdb

import (
	"bytes"
	"fmt"
	"iter"

	"github.com/mtakit/mtakit/lookup"
)

// All yields what is on the leaves, from left to right.
func (d *database) All() iter.Seq2[lookup.Entry, error] {
	return func(yield func(lookup.Entry, error) bool) {
		w := &walk{database: d, yield: yield, pages: len(d.data) / int(d.pageSize), bytes: len(d.data)}
		if d.root != noPage && !w.visit(d.root, maxLevels) {
			return
		}
		if w.entries != d.entries {
			w.fail(fmt.Errorf("%w: %d of %d entries", ErrFormat, w.entries, d.entries))
		}
	}
}

// walk goes through the pages of a tree. In a sound one each page is met once and
// each byte is in one node, so that damage cannot have a walk go on for ever.
type walk struct {
	*database
	yield        func(lookup.Entry, error) bool
	pages, bytes int    // that may still come
	entries      uint64 // that were yielded
	last         []byte // key; nil before the first
}

// fail ends a walk with an error. more is false.
func (w *walk) fail(err error) (more bool) {
	w.yield(lookup.Entry{}, err)
	return false
}

// visit yields what is on a page and those below it. more is false when the walk is
// over.
func (w *walk) visit(number uint64, levels int) (more bool) {
	p, err := w.page(number)
	if err != nil {
		return w.fail(err)
	}
	if w.pages--; w.pages < 0 || levels == 0 {
		return w.fail(fmt.Errorf("%w: pages that are met twice", ErrFormat))
	}
	switch p.flags() & (pageBranch | pageLeaf) {
	case pageLeaf:
		return w.visitLeaf(p)
	case pageBranch:
		return w.visitBelow(p, levels-1)
	}
	return w.fail(fmt.Errorf("%w: page %d is none of a tree", ErrFormat, number))
}

func (w *walk) visitBelow(p page, levels int) (more bool) {
	if p.nodes() == 0 {
		return w.fail(fmt.Errorf("%w: branch without nodes", ErrFormat))
	}
	for i := range p.nodes() {
		n, err := p.node(i)
		if err != nil {
			return w.fail(err)
		}
		if !w.visit(n.child(), levels) {
			return false
		}
	}
	return true
}

func (w *walk) visitLeaf(p page) (more bool) {
	for i := range p.nodes() {
		key, value, err := w.pair(p, i)
		if err != nil {
			return w.fail(err)
		}
		w.entries++
		if !w.yield(lookup.Entry{Key: string(key), Value: string(value)}, nil) {
			return false
		}
	}
	return true
}

// pair returns the key and the value of a node.
func (w *walk) pair(p page, i int) (key, value []byte, err error) {
	n, err := p.node(i)
	if err != nil {
		return nil, nil, err
	}
	key = n.key()
	if value, err = w.value(n); err != nil {
		return nil, nil, err
	}
	if w.bytes -= len(key) + len(value); w.bytes < 0 {
		return nil, nil, fmt.Errorf("%w: nodes that overlap", ErrFormat)
	}
	if w.last != nil && bytes.Compare(key, w.last) <= 0 {
		return nil, nil, fmt.Errorf("%w: keys in disorder", ErrFormat)
	}
	w.last = key
	return key, value, nil
}

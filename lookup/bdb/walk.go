package bdb

import (
	"bytes"
	"fmt"
	"iter"

	"github.com/mtakit/mtakit/lookup"
)

// walk yields all that is in a file. In a sound one each page is met once and each
// byte is in one item, so that damage cannot have a walk go on for ever.
type walk struct {
	yield        func(lookup.Entry, error) bool
	pages, bytes int // that may still come
}

func (f *file) walk(yield func(lookup.Entry, error) bool) *walk {
	return &walk{yield: yield, pages: f.pages(), bytes: len(f.data)}
}

// fail ends a walk with an error. more is false.
func (w *walk) fail(err error) (more bool) {
	w.yield(lookup.Entry{}, err)
	return false
}

// enter counts a page.
func (w *walk) enter() error {
	if w.pages--; w.pages < 0 {
		return fmt.Errorf("%w: pages that are met twice", ErrFormat)
	}
	return nil
}

// spend counts the bytes of items.
func (w *walk) spend(bytes int) error {
	if w.bytes -= bytes; w.bytes < 0 {
		return fmt.Errorf("%w: items that overlap", ErrFormat)
	}
	return nil
}

// entry yields a key with its value. more is false when the walk is over.
func (w *walk) entry(key, value []byte) (more bool) {
	return w.yield(lookup.Entry{Key: string(key), Value: string(value)}, nil)
}

// All yields what is in the buckets, one after another.
func (h *hash) All() iter.Seq2[lookup.Entry, error] {
	return func(yield func(lookup.Entry, error) bool) {
		w := h.walk(yield)
		for b := range int64(h.maxBucket) + 1 {
			if !h.walkBucket(w, h.first(uint32(b))) {
				return
			}
		}
	}
}

// walkBucket yields what is on the pages of a bucket.
func (h *hash) walkBucket(w *walk, first uint32) (more bool) {
	for number := first; ; {
		p, err := h.hashPage(number)
		if err == nil {
			err = w.enter()
		}
		if err != nil {
			return w.fail(err)
		}
		for i := 0; i < p.entries(); i += 2 {
			key, value, err := h.pair(p, i)
			if err == nil && h.bucket(string(key)) != first {
				err = fmt.Errorf("%w: page %d has a key of another bucket", ErrFormat, number)
			}
			if err == nil {
				err = w.spend(len(key) + len(value))
			}
			if err != nil {
				return w.fail(err)
			}
			if !w.entry(key, value) {
				return false
			}
		}
		if number = p.next(); number == 0 {
			return true
		}
	}
}

// pair returns the key that is item i, and the value behind it.
func (h *hash) pair(p page, i int) (key, value []byte, err error) {
	if i+1 == p.entries() {
		return nil, nil, fmt.Errorf("%w: key without a value", ErrFormat)
	}
	for j, b := range []*[]byte{&key, &value} {
		item, err := p.hashItem(i + j)
		if err != nil {
			return nil, nil, err
		}
		if *b, err = h.content(item); err != nil {
			return nil, nil, err
		}
	}
	return key, value, nil
}

// All yields what is on the leaves, from left to right.
func (t *btree) All() iter.Seq2[lookup.Entry, error] {
	return func(yield func(lookup.Entry, error) bool) {
		w := &btreeWalk{btree: t, walk: t.walk(yield)}
		w.visit(t.root, maxLevels)
	}
}

// btreeWalk goes through the pages of a tree.
type btreeWalk struct {
	*btree
	*walk
	last []byte // key; nil before the first
}

// visit yields what is on a page and those below it. more is false when the walk is
// over.
func (w *btreeWalk) visit(number uint32, levels int) (more bool) {
	p, err := w.page(number)
	if err == nil {
		err = w.enter()
	}
	switch {
	case err != nil:
		return w.fail(err)
	case levels == 0:
		return w.fail(fmt.Errorf("%w: btree without leaves", ErrFormat))
	case p.kind() == btreeLeaf:
		return w.visitLeaf(p)
	case p.kind() == btreeInternal:
		return w.visitBelow(p, levels-1)
	}
	return w.fail(fmt.Errorf("%w: page %d is none of a btree", ErrFormat, number))
}

func (w *btreeWalk) visitBelow(p page, levels int) (more bool) {
	if p.entries() == 0 {
		return w.fail(fmt.Errorf("%w: internal page without entries", ErrFormat))
	}
	for i := range p.entries() {
		item, err := p.item(i, internalHeader)
		if err != nil {
			return w.fail(err)
		}
		if !w.visit(w.order.Uint32(item[4:]), levels) {
			return false
		}
	}
	return true
}

func (w *btreeWalk) visitLeaf(p page) (more bool) {
	for i := 0; i < p.entries(); i += 2 {
		if i > 0 && p.offset(i) == p.offset(i-2) {
			continue // duplicates share their key
		}
		key, value, ok, err := w.pair(p, i)
		if err != nil {
			return w.fail(err)
		}
		if ok && !w.entry(key, value) {
			return false
		}
	}
	return true
}

// pair returns the key that is item i, and the value behind it. ok is false when they
// are deleted, or do not count since the key was there before.
func (w *btreeWalk) pair(p page, i int) (key, value []byte, ok bool, err error) {
	if i+1 == p.entries() {
		return nil, nil, false, fmt.Errorf("%w: key without a value", ErrFormat)
	}
	item, err := p.item(i, leafHeader)
	if err != nil {
		return nil, nil, false, err
	}
	if key, err = w.content(item, leafHeader); err == nil {
		err = w.spend(len(key))
	}
	if err != nil {
		return nil, nil, false, err
	}
	if w.last != nil {
		switch bytes.Compare(key, w.last) {
		case 0:
			return nil, nil, false, nil
		case -1:
			return nil, nil, false, fmt.Errorf("%w: keys in disorder", ErrFormat)
		}
	}
	w.last = key
	if value, ok, err = w.value(p, i+1); err == nil {
		err = w.spend(len(value))
	}
	return key, value, ok, err
}

package bdb

import (
	"bytes"
	"fmt"
)

// btree is a file of sorted pages: internal ones with the first keys of those
// below, and leaves with keys and values by turns.
type btree struct {
	file
	root uint32
}

// What a btree may be that is no table: numbered records, several databases,
// compressed pages.
const btreeOther = 0x02 | 0x20 | 0x80

func newBtree(f file) (*btree, error) {
	if flags := f.order.Uint32(f.data[48:]); flags&btreeOther != 0 {
		return nil, fmt.Errorf("%w: btree with flags %#x", ErrFormat, flags)
	}
	return &btree{file: f, root: f.order.Uint32(f.data[88:])}, nil
}

// maxLevels is more than any btree has.
const maxLevels = 64

// Get returns the value under key.
func (t *btree) Get(key string) (string, bool, error) {
	number := t.root
	for range maxLevels {
		p, err := t.page(number)
		if err != nil {
			return "", false, err
		}
		switch p.kind() {
		case btreeLeaf:
			return t.leaf(p, []byte(key))
		case btreeInternal:
			number, err = t.below(p, []byte(key))
		default:
			err = fmt.Errorf("%w: page %d is none of a btree", ErrFormat, number)
		}
		if err != nil {
			return "", false, err
		}
	}
	return "", false, fmt.Errorf("%w: btree without leaves", ErrFormat)
}

// below returns the page below an internal one that key is on: the last one whose
// first key is not greater. The first has no key that counts.
func (t *btree) below(p page, key []byte) (uint32, error) {
	low, high := 1, p.entries()
	if high == 0 {
		return 0, fmt.Errorf("%w: internal page without entries", ErrFormat)
	}
	for low < high {
		middle := (low + high) / 2
		item, err := p.item(middle, internalHeader)
		if err != nil {
			return 0, err
		}
		order, err := t.compare(item, internalHeader, key)
		if err != nil {
			return 0, err
		}
		if order > 0 {
			high = middle
		} else {
			low = middle + 1
		}
	}
	item, err := p.item(low-1, internalHeader)
	if err != nil {
		return 0, err
	}
	return t.order.Uint32(item[4:]), nil
}

// leaf looks for key on a leaf. Of keys that are equal the first one counts.
func (t *btree) leaf(p page, key []byte) (string, bool, error) {
	low, high, found := 0, p.entries()/2, -1
	for low < high {
		middle := (low + high) / 2
		item, err := p.item(2*middle, leafHeader)
		if err != nil {
			return "", false, err
		}
		order, err := t.compare(item, leafHeader, key)
		if err != nil {
			return "", false, err
		}
		if order < 0 {
			low = middle + 1
			continue
		}
		high = middle
		if order == 0 {
			found = middle
		}
	}
	if found < 0 {
		return "", false, nil
	}
	b, ok, err := t.value(p, 2*found+1)
	return string(b), ok, err
}

// What stands before the bytes of an item.
const (
	leafHeader     = 3
	internalHeader = 12
)

// The types of items. A deleted one stays until its page is written anew.
const (
	btreeHere    = 1
	btreeOffPage = 3
	btreeDeleted = 0x80
)

// compare compares what an item holds with key. The bytes of one that is on the
// page start behind a header, which internal pages have longer.
func (t *btree) compare(item []byte, header int, key []byte) (int, error) {
	b, err := t.content(item, header)
	return bytes.Compare(b, key), err
}

// content returns what an item holds, in the page's own memory if it is there.
func (t *btree) content(item []byte, header int) ([]byte, error) {
	switch size := int(t.order.Uint16(item)); item[2] &^ btreeDeleted {
	case btreeHere:
		if header+size <= len(item) {
			return item[header : header+size], nil
		}
	case btreeOffPage:
		// On a leaf the pointer to the pages is the item; on an internal page, which
		// has a pointer of its own, it stands behind that.
		from := 0
		if header == internalHeader {
			from = internalHeader
		}
		if from+12 <= len(item) {
			return t.chain(t.order.Uint32(item[from+4:]), t.order.Uint32(item[from+8:]))
		}
	}
	return nil, fmt.Errorf("%w: item of type %d", ErrFormat, item[2])
}

// value returns the value that is item i, unless it is deleted.
func (t *btree) value(p page, i int) ([]byte, bool, error) {
	item, err := p.item(i, leafHeader)
	if err != nil || item[2]&btreeDeleted != 0 {
		return nil, false, err
	}
	b, err := t.content(item, leafHeader)
	return b, err == nil, err
}

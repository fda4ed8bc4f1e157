package bdb

import (
	"bytes"
	"fmt"
	"math/bits"
)

// hash is a file of linear hashing: buckets are pages, and those that overflow
// are chains of pages.
type hash struct {
	file
	maxBucket, highMask, lowMask uint32
	spares                       [32]uint32 // added to the buckets of each doubling
}

// fingerprint is hashed by who makes a file, so that who opens it knows that they
// hash alike.
const fingerprint = "%$sniglet^&\x00"

func newHash(f file) (*hash, error) {
	h := &hash{
		file:      f,
		maxBucket: f.order.Uint32(f.data[72:]),
		highMask:  f.order.Uint32(f.data[76:]),
		lowMask:   f.order.Uint32(f.data[80:]),
	}
	for i := range h.spares {
		h.spares[i] = f.order.Uint32(f.data[96+4*i:])
	}
	if f.order.Uint32(f.data[92:]) != sum(fingerprint) {
		return nil, fmt.Errorf("%w: another hash function", ErrFormat)
	}
	if flags := f.order.Uint32(f.data[48:]); flags != 0 {
		return nil, fmt.Errorf("%w: duplicates and several databases are not supported", ErrFormat)
	}
	return h, nil
}

// sum is the hash function, FNV-1 from 0.
func sum(key string) uint32 {
	h := uint32(0)
	for i := range len(key) {
		h = h*16777619 ^ uint32(key[i])
	}
	return h
}

// bucket returns the first page of the bucket that key is in.
func (h *hash) bucket(key string) uint32 {
	n := sum(key)
	b := n & h.highMask
	if b > h.maxBucket {
		b = n & h.lowMask
	}
	return h.first(b)
}

// first returns the first page of a bucket.
func (h *hash) first(bucket uint32) uint32 { return bucket + h.spares[bits.Len32(bucket)%32] }

// hashPage returns a page of a bucket. That of one that was never used is all zeros.
func (h *hash) hashPage(number uint32) (page, error) {
	p, err := h.page(number)
	if err != nil {
		return page{}, err
	}
	if k := p.kind(); k != hashSorted && k != hashUnsorted && k != 0 {
		return page{}, fmt.Errorf("%w: page %d is none of a hash", ErrFormat, number)
	}
	return p, nil
}

// Get returns the value under key.
func (h *hash) Get(key string) (string, bool, error) {
	number := h.bucket(key)
	for range h.pages() {
		p, err := h.hashPage(number)
		if err != nil {
			return "", false, err
		}
		if value, ok, err := h.search(p, key); ok || err != nil {
			return value, ok, err
		}
		if number = p.next(); number == 0 {
			return "", false, nil
		}
	}
	return "", false, fmt.Errorf("%w: a chain of pages without end", ErrFormat)
}

// search looks through a page: keys and values by turns.
func (h *hash) search(p page, key string) (string, bool, error) {
	for i := 0; i+1 < p.entries(); i += 2 {
		item, err := p.hashItem(i)
		if err != nil {
			return "", false, err
		}
		same, err := h.is(item, key)
		if err != nil {
			return "", false, err
		}
		if same {
			value, err := p.hashItem(i + 1)
			if err != nil {
				return "", false, err
			}
			b, err := h.content(value)
			return string(b), err == nil, err
		}
	}
	return "", false, nil
}

// hashItem returns item i, which ends where the one before it starts.
func (p page) hashItem(i int) ([]byte, error) {
	end := len(p.bytes)
	if i > 0 {
		end = p.offset(i - 1)
	}
	at := p.offset(i)
	if at < pageHeader || at >= end || end > len(p.bytes) {
		return nil, fmt.Errorf("%w: item from %d to %d of a page of %d bytes", ErrFormat, at, end, len(p.bytes))
	}
	return p.bytes[at:end], nil
}

// The types of items, in their first byte.
const (
	hashHere    = 1
	hashOffPage = 3
)

// is reports whether an item is key, without a copy.
func (h *hash) is(item []byte, key string) (bool, error) {
	if item[0] == hashHere {
		return string(item[1:]) == key, nil
	}
	if item[0] == hashOffPage && len(item) == 12 && h.order.Uint32(item[8:]) != uint32(len(key)) {
		return false, nil
	}
	b, err := h.content(item)
	return bytes.Equal(b, []byte(key)), err
}

// content returns what an item holds, in the page's own memory if it is there.
func (h *hash) content(item []byte) ([]byte, error) {
	switch {
	case item[0] == hashHere:
		return item[1:], nil
	case item[0] == hashOffPage && len(item) == 12:
		return h.chain(h.order.Uint32(item[4:]), h.order.Uint32(item[8:]))
	}
	return nil, fmt.Errorf("%w: item of type %d with %d bytes", ErrFormat, item[0], len(item))
}

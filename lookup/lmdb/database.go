package lmdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/compiled"
)

// ErrFormat is wrapped when a file is no LMDB file that can be read here, or is
// damaged.
var ErrFormat = compiled.ErrFormat

// Open opens a file of an lmdb table, "/etc/postfix/access.lmdb".
func Open(path string, o lookup.Options) (*compiled.File, error) {
	return compiled.Open(path, open, o)
}

func open(file *os.File, size int64) (compiled.Version, error) {
	if err := compiled.Share(file); err != nil {
		return nil, err
	}
	before, err := newest(file)
	if err != nil {
		return nil, err
	}
	data, err := compiled.Read(file, size)
	if err != nil {
		return nil, err
	}
	after, err := newest(file)
	if err != nil {
		return nil, err
	}
	if before != after {
		return nil, compiled.ErrUnsettled
	}
	return &database{before, data}, nil
}

// meta is what is used of the two pages that a file starts with.
type meta struct {
	pageSize    uint32
	entries     uint64
	root        uint64 // page number, or noPage
	transaction uint64
}

const (
	magic     = 0xbeefc0de
	metaSize  = 152 // with the header of its page
	noPage    = ^uint64(0)
	firstPage = 2 // behind the two meta pages
)

// newest returns the meta page of the last transaction that was finished.
// Transactions write the two by turns.
func newest(file io.ReaderAt) (meta, error) {
	first, err := readMeta(file, 0)
	if err != nil {
		return meta{}, err
	}
	second, err := readMeta(file, int64(first.pageSize))
	if err != nil {
		return meta{}, err
	}
	if second.transaction > first.transaction {
		return second, nil
	}
	return first, nil
}

func readMeta(file io.ReaderAt, at int64) (meta, error) {
	var b [metaSize]byte
	if _, err := file.ReadAt(b[:], at); err != nil {
		return meta{}, fmt.Errorf("%w: no meta page: %w", ErrFormat, err)
	}
	order := binary.LittleEndian
	m := meta{pageSize: order.Uint32(b[40:]), entries: order.Uint64(b[120:]), root: order.Uint64(b[128:]), transaction: order.Uint64(b[144:])}
	version, flags := order.Uint32(b[20:]), order.Uint16(b[92:])
	switch {
	case order.Uint16(b[10:])&pageMeta == 0 || order.Uint32(b[16:]) != magic:
		return meta{}, fmt.Errorf("%w: no LMDB file of a 64-bit little-endian machine", ErrFormat)
	case version != 1:
		return meta{}, fmt.Errorf("%w: data version %d", ErrFormat, version)
	case m.pageSize < 512 || m.pageSize > 65536 || m.pageSize&(m.pageSize-1) != 0:
		return meta{}, fmt.Errorf("%w: pages of %d bytes", ErrFormat, m.pageSize)
	case flags&otherOrder != 0:
		return meta{}, fmt.Errorf("%w: keys that are duplicate, reversed or numbers are not supported", ErrFormat)
	}
	return m, nil
}

// otherOrder are the flags of databases that are not sorted as bytes, or hold
// several values for a key.
const otherOrder = 0x02 | 0x04 | 0x08

// database is a copy of a file.
type database struct {
	meta
	data []byte
}

// The flags of pages.
const (
	pageBranch   = 0x01
	pageLeaf     = 0x02
	pageOverflow = 0x04
	pageMeta     = 0x08
)

const (
	pageHeader = 16
	nodeHeader = 8
	maxLevels  = 64 // more than any tree has
)

// Get returns the value under key.
func (d *database) Get(key string) (string, bool, error) {
	number := d.root
	if number == noPage {
		return "", false, nil
	}
	for range maxLevels {
		p, err := d.page(number)
		if err != nil {
			return "", false, err
		}
		switch p.flags() & (pageBranch | pageLeaf) {
		case pageLeaf:
			return d.leaf(p, []byte(key))
		case pageBranch:
			number, err = p.below([]byte(key))
		default:
			err = fmt.Errorf("%w: page %d is none of a tree", ErrFormat, number)
		}
		if err != nil {
			return "", false, err
		}
	}
	return "", false, fmt.Errorf("%w: tree without leaves", ErrFormat)
}

// page is one page, whole.
type page []byte

func (d *database) page(number uint64) (page, error) {
	size := uint64(d.pageSize)
	if number < firstPage || number >= uint64(len(d.data))/size {
		return nil, fmt.Errorf("%w: page %d of %d", ErrFormat, number, uint64(len(d.data))/size)
	}
	return d.data[number*size : (number+1)*size], nil
}

func (p page) flags() uint16 { return binary.LittleEndian.Uint16(p[10:]) }

// pages returns how many pages a value has that starts on this one.
func (p page) pages() uint64 { return uint64(binary.LittleEndian.Uint32(p[12:])) }

// nodes returns the number of nodes, of which the offsets have room on the page.
func (p page) nodes() int {
	return max(0, min(int(binary.LittleEndian.Uint16(p[12:])), len(p))-pageHeader) / 2
}

// node is a key with what belongs to it, to the end of the page.
type node []byte

func (p page) node(i int) (node, error) {
	at := int(binary.LittleEndian.Uint16(p[pageHeader+2*i:]))
	if at < pageHeader || at+nodeHeader > len(p) {
		return nil, fmt.Errorf("%w: node at %d", ErrFormat, at)
	}
	n := node(p[at:])
	if nodeHeader+n.keySize() > len(n) {
		return nil, fmt.Errorf("%w: key of %d bytes", ErrFormat, n.keySize())
	}
	return n, nil
}

func (n node) keySize() int  { return int(binary.LittleEndian.Uint16(n[6:])) }
func (n node) key() []byte   { return n[nodeHeader : nodeHeader+n.keySize()] }
func (n node) flags() uint16 { return binary.LittleEndian.Uint16(n[4:]) }
func (n node) size() uint32  { return binary.LittleEndian.Uint32(n) }

// child returns the page below a branch, a number of 48 bits.
func (n node) child() uint64 { return uint64(n.size()) | uint64(n.flags())<<32 }

// find returns the first node, from the one given, whose key is not less than key.
func (p page) find(from int, key []byte) (i int, equal bool, err error) {
	low, high := from, p.nodes()
	for low < high {
		middle := (low + high) / 2
		n, err := p.node(middle)
		if err != nil {
			return 0, false, err
		}
		switch order := bytes.Compare(n.key(), key); {
		case order == 0:
			return middle, true, nil
		case order < 0:
			low = middle + 1
		default:
			high = middle
		}
	}
	return low, false, nil
}

// below returns the page below a branch that key is on: the last one whose first
// key is not greater. The first has no key that counts.
func (p page) below(key []byte) (uint64, error) {
	if p.nodes() == 0 {
		return 0, fmt.Errorf("%w: branch without nodes", ErrFormat)
	}
	i, equal, err := p.find(1, key)
	if err != nil {
		return 0, err
	}
	if !equal {
		i--
	}
	n, err := p.node(i)
	if err != nil {
		return 0, err
	}
	return n.child(), nil
}

// nodeBig is the flag of a node whose value has pages of its own.
const nodeBig = 0x01

// leaf looks for key on a leaf.
func (d *database) leaf(p page, key []byte) (string, bool, error) {
	i, equal, err := p.find(0, key)
	if err != nil || !equal {
		return "", false, err
	}
	n, err := p.node(i)
	if err != nil {
		return "", false, err
	}
	b, err := d.value(n)
	return string(b), err == nil, err
}

// value returns the value of a node of a leaf, in the memory of its page.
func (d *database) value(n node) ([]byte, error) {
	value := n[nodeHeader+n.keySize():]
	switch n.flags() {
	case 0:
		if uint64(n.size()) > uint64(len(value)) {
			return nil, fmt.Errorf("%w: value of %d bytes", ErrFormat, n.size())
		}
		return value[:n.size()], nil
	case nodeBig:
		if len(value) >= 8 {
			return d.big(binary.LittleEndian.Uint64(value), n.size())
		}
	}
	return nil, fmt.Errorf("%w: node with flags %#x", ErrFormat, n.flags())
}

// big returns a value that starts on a page and goes on over those behind it,
// which have no headers.
func (d *database) big(number uint64, size uint32) ([]byte, error) {
	p, err := d.page(number)
	if err != nil {
		return nil, err
	}
	at := number*uint64(d.pageSize) + pageHeader
	room := p.pages()*uint64(d.pageSize) - pageHeader
	if p.flags()&pageOverflow == 0 || p.pages() == 0 || uint64(size) > room || at+uint64(size) > uint64(len(d.data)) {
		return nil, fmt.Errorf("%w: value of %d bytes from page %d", ErrFormat, size, number)
	}
	return d.data[at : at+uint64(size)], nil
}

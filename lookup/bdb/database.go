package bdb

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/compiled"
)

// ErrFormat is wrapped when a file is no Berkeley DB file that can be read here,
// or is damaged.
var ErrFormat = compiled.ErrFormat

// Open opens a file of a hash or btree table, "/etc/postfix/access.db".
func Open(path string, o lookup.Options) (*compiled.File, error) {
	return compiled.Open(path, open, o)
}

func open(file *os.File, size int64) (compiled.Version, error) {
	if err := compiled.Share(file); err != nil {
		return nil, err
	}
	data, err := compiled.Read(file, size)
	if err != nil {
		return nil, err
	}
	return parse(data)
}

const (
	hashMagic  = 0x061561
	btreeMagic = 0x053162
)

// metaSize is that of the page that a file starts with, without what is padding.
const metaSize = 512

// parse reads the first page.
func parse(data []byte) (compiled.Version, error) {
	if len(data) < metaSize {
		return nil, fmt.Errorf("%w: %d bytes are no Berkeley DB file", ErrFormat, len(data))
	}
	f := file{data: data, order: binary.LittleEndian}
	magic := f.order.Uint32(data[12:])
	if magic != hashMagic && magic != btreeMagic {
		f.order = binary.BigEndian
		magic = f.order.Uint32(data[12:])
	}
	if magic != hashMagic && magic != btreeMagic {
		return nil, fmt.Errorf("%w: neither a hash nor a btree file", ErrFormat)
	}
	if err := f.checkMeta(); err != nil {
		return nil, err
	}
	if magic == hashMagic {
		return newHash(f)
	}
	return newBtree(f)
}

// file is the pages of a file. All pages have one size, which is a power of two.
type file struct {
	data     []byte
	order    binary.ByteOrder
	pageSize uint32
}

func (f *file) checkMeta() error {
	version := f.order.Uint32(f.data[16:])
	f.pageSize = f.order.Uint32(f.data[20:])
	encryption, flags := f.data[24], f.data[26]
	switch {
	case version < 8 || version > 10:
		return fmt.Errorf("%w: version %d", ErrFormat, version)
	case f.pageSize < 512 || f.pageSize > 65536 || f.pageSize&(f.pageSize-1) != 0:
		return fmt.Errorf("%w: pages of %d bytes", ErrFormat, f.pageSize)
	case encryption != 0 || flags != 0:
		return fmt.Errorf("%w: encryption, checksums and partitions are not supported", ErrFormat)
	}
	return nil
}

// pages returns how many whole pages there are.
func (f *file) pages() int { return len(f.data) / int(f.pageSize) }

// pageHeader is the size of what each page starts with.
const pageHeader = 26

// The types of pages.
const (
	hashUnsorted  = 2
	btreeInternal = 3
	btreeLeaf     = 5
	overflow      = 7
	hashSorted    = 13
)

// page is one page of a file.
type page struct {
	*file
	bytes []byte
}

func (f *file) page(number uint32) (page, error) {
	if number == 0 || int64(number) >= int64(f.pages()) {
		return page{}, fmt.Errorf("%w: page %d of %d", ErrFormat, number, f.pages())
	}
	at := int(number) * int(f.pageSize)
	return page{f, f.data[at : at+int(f.pageSize)]}, nil
}

func (p page) kind() byte   { return p.bytes[25] }
func (p page) next() uint32 { return p.order.Uint32(p.bytes[16:]) }

// entries returns the number of items on the page, of which the offsets have
// room on it.
func (p page) entries() int {
	return min(int(p.order.Uint16(p.bytes[20:])), (len(p.bytes)-pageHeader)/2)
}

// offset returns where item i starts.
func (p page) offset(i int) int { return int(p.order.Uint16(p.bytes[pageHeader+2*i:])) }

// item returns the page from where item i starts, of which there are at least
// size bytes.
func (p page) item(i, size int) ([]byte, error) {
	at := p.offset(i)
	if at < pageHeader || at+size > len(p.bytes) {
		return nil, fmt.Errorf("%w: item at %d of a page of %d bytes", ErrFormat, at, len(p.bytes))
	}
	return p.bytes[at:], nil
}

// chain returns what stands on a chain of overflow pages: size bytes.
func (f *file) chain(number, size uint32) ([]byte, error) {
	if int64(size) > int64(len(f.data)) {
		return nil, fmt.Errorf("%w: item of %d bytes", ErrFormat, size)
	}
	b := make([]byte, 0, size)
	for len(b) < int(size) {
		p, err := f.page(number)
		if err != nil {
			return nil, err
		}
		n := int(f.order.Uint16(p.bytes[22:]))
		// A page without bytes could be met for ever.
		if p.kind() != overflow || n == 0 || pageHeader+n > len(p.bytes) || len(b)+n > int(size) {
			return nil, fmt.Errorf("%w: overflow page %d", ErrFormat, number)
		}
		b = append(b, p.bytes[pageHeader:pageHeader+n]...)
		number = p.next()
	}
	return b, nil
}

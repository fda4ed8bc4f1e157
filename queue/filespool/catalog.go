package filespool

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path"
	"sync"
	"time"

	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

// catalog remembers what a listing tells of the messages that have a file, so
// that a start need not read a million files. It is never relied on: what it says
// of a message counts as long as the file has the stamp that it had then, since
// files only grow. So it is not synced, and whatever is wrong with it costs time
// and nothing else.
type catalog struct {
	mu   sync.Mutex
	file crashfs.File // nil: not opened yet, or given up
	err  error        // why it was given up
	salt uint32
	size int64
	// useful is how much of it a listing could use, 0 when there was none.
	useful int64
}

// See doc.go for the format.
const (
	catalogMagic = "mtakit index 1\n\x00"
	catalogHead  = 32
	// catalogPage is how much of it is read at a time.
	catalogPage = 64 << 10
	// mostRemembered is how long a record may be. A list with very many domains
	// is read from its file.
	mostRemembered = 32 << 10
	// catalogSlack is how much useless text does no harm.
	catalogSlack = 1 << 20
)

// remembered is a message with the version of its file that was looked at.
type remembered struct {
	entry queue.Entry
	stamp crashfs.Stamp
}

func (s *Spool) catalogName() string { return path.Join(s.dir, "index") }

// openCatalog makes ready to add to the catalog, and begins it anew when it is
// none. Under its mu.
func (s *Spool) openCatalog() error {
	c := &s.catalog
	if c.file != nil || c.err != nil {
		return c.err
	}
	f, err := s.FS.Open(s.catalogName(), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	if c.size, err = f.Size(); err == nil {
		c.salt, err = readCatalogHead(f)
	}
	if errors.Is(err, errDamaged) {
		c.salt, c.size = rand.Uint32(), catalogHead
		err = errors.Join(f.Truncate(0), writeAll(f, appendCatalogHead(nil, c.salt), 0))
	}
	c.file = f
	if c.useful == 0 {
		c.useful = c.size
	}
	return err
}

// giveUpCatalog goes on without one, for as long as the spool is open. Under its mu.
func (s *Spool) giveUpCatalog(err error) {
	c := &s.catalog
	if c.file != nil {
		err = errors.Join(err, c.file.Close())
	}
	c.file, c.err = nil, err
	s.Logger.Warn("no index: the next start will take longer", "file", s.catalogName(), "error", err)
}

func appendCatalogHead(b []byte, salt uint32) []byte {
	b = append(b, catalogMagic...)
	b = binary.BigEndian.AppendUint32(b, salt)
	b = append(b, make([]byte, catalogHead-len(catalogMagic)-8)...)
	return binary.BigEndian.AppendUint32(b, crc(b))
}

func readCatalogHead(f crashfs.File) (salt uint32, err error) {
	b, err := readAt(f, 0, catalogHead)
	if err != nil {
		return 0, err
	}
	last := catalogHead - 4
	if len(b) < catalogHead || string(b[:len(catalogMagic)]) != catalogMagic || crc(b[:last]) != binary.BigEndian.Uint32(b[last:]) {
		return 0, errDamaged
	}
	return binary.BigEndian.Uint32(b[len(catalogMagic):]), nil
}

// remember adds messages to the catalog and returns how many bytes they take.
func (s *Spool) remember(all []remembered) int64 {
	c := &s.catalog
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.ReadOnly || len(all) == 0 || c.err != nil {
		return 0
	}
	if err := s.openCatalog(); err != nil {
		s.giveUpCatalog(err)
		return 0
	}
	var b []byte
	for i := range all {
		start := len(b)
		b = appendRecord(b, c.salt, 0, all[i].encode)
		if len(b)-start > mostRemembered {
			b = b[:start]
		}
	}
	if err := writeAll(c.file, b, c.size); err != nil {
		s.giveUpCatalog(err)
		return 0
	}
	c.size += int64(len(b))
	return int64(len(b))
}

// rememberMoves adds messages whose files were just written.
func (s *Spool) rememberMoves(moves []*move) {
	all := make([]remembered, 0, len(moves))
	for _, m := range moves {
		if stamp, err := s.FS.Stamp(m.to.file(m.id)); err == nil { // it may be removed
			all = append(all, remembered{m.entry, stamp})
		}
	}
	s.remember(all)
}

// The tags of a record of the catalog.
const (
	catID byte = iota + 1
	catQueue
	catSender
	catSize
	catPending
	catArrival
	catNext
	catAttempts
	catPriority
	catWarned
	catPanics
	catHold
	catSite
	catExpire
	catRequeue
	catKey
	catDomain // one for each
	catInode
	catLength
	catModified
)

func (r *remembered) encode(e *encoder) {
	m := &r.entry
	e.str(catID, m.ID)
	e.str(catQueue, m.Queue)
	e.str(catSender, m.Sender)
	e.int(catSize, m.Size)
	e.int(catPending, int64(m.Pending))
	e.time(catArrival, m.Arrival)
	e.time(catNext, m.Next)
	e.int(catAttempts, int64(m.Attempts))
	e.int(catPriority, int64(m.Priority))
	e.bool(catWarned, m.Warned)
	e.int(catPanics, int64(m.Panics))
	e.str(catHold, m.Hold)
	e.str(catSite, m.Site)
	e.bool(catExpire, m.Expire)
	e.bool(catRequeue, m.Requeue)
	e.str(catKey, m.Key)
	for _, d := range m.Domains {
		e.must(catDomain, d)
	}
	e.int(catInode, int64(r.stamp.Inode))
	e.int(catLength, r.stamp.Size)
	e.int(catModified, r.stamp.Modified)
}

func (r *remembered) decode(b []byte) error {
	var err error
	m := &r.entry
	for tag, v := range fields(b, &err) {
		switch tag {
		case catID:
			m.ID = v.str()
		case catQueue:
			m.Queue = v.queue()
		case catSender:
			m.Sender = v.str()
		case catSize:
			m.Size = v.int()
		case catPending:
			m.Pending = int(v.int())
		case catArrival:
			m.Arrival = v.time()
		case catNext:
			m.Next = v.time()
		case catAttempts:
			m.Attempts = int(v.int())
		case catPriority:
			m.Priority = int(v.int())
		case catWarned:
			m.Warned = v.bool()
		case catPanics:
			m.Panics = int(v.int())
		case catHold:
			m.Hold = v.str()
		case catSite:
			m.Site = v.str()
		case catExpire:
			m.Expire = v.bool()
		case catRequeue:
			m.Requeue = v.bool()
		case catKey:
			m.Key = v.str()
		case catDomain:
			m.Domains = append(m.Domains, v.str())
		case catInode:
			r.stamp.Inode = uint64(v.int())
		case catLength:
			r.stamp.Size = v.int()
		case catModified:
			r.stamp.Modified = v.int()
		}
	}
	return err
}

// queue is str for the name of a queue, of which there are few.
func (v value) queue() string {
	for _, name := range [...]string{"deferred", "hold", "active", "incoming"} {
		if string(v.b) == name {
			return name
		}
	}
	return v.str()
}

// catalogPages yields what the catalog holds, cut between records. What is
// damaged is passed over.
func (s *Spool) catalogPages() iter.Seq2[[]byte, uint32] {
	return func(yield func([]byte, uint32) bool) {
		f, err := s.FS.Open(s.catalogName(), os.O_RDONLY)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				s.Logger.Warn("the index cannot be read", "error", err)
			}
			return
		}
		defer f.Close()
		salt, err := readCatalogHead(f)
		if err != nil {
			return
		}
		for off := int64(catalogHead); ; {
			page, err := readAt(f, off, catalogPage)
			if err != nil {
				s.Logger.Warn("the index cannot be read", "error", err)
				return
			}
			n := wholeRecords(page, salt)
			if len(page) < catalogPage {
				n = len(page)
			}
			if n == 0 || !yield(page[:n], salt) {
				return
			}
			off += int64(n)
		}
	}
}

// wholeRecords returns how much of a page to take: up to the last record that
// may go on behind it.
func wholeRecords(page []byte, salt uint32) int {
	from := max(0, len(page)-mostRemembered)
	last := bytes.LastIndex(page[from:], binary.BigEndian.AppendUint32(nil, markOf(salt)))
	if last < 0 || from+last == 0 {
		return len(page)
	}
	return from + last
}

// catalogRecords yields the records of a page, each with its frame.
func catalogRecords(page []byte, salt uint32) iter.Seq2[[]byte, []byte] {
	return func(yield func(frame, record []byte) bool) {
		mark := binary.BigEndian.AppendUint32(nil, markOf(salt))
		for len(page) > 0 {
			record, _, n := nextRecord(page, salt)
			if n == 0 {
				next := bytes.Index(page[1:], mark)
				if next < 0 {
					return
				}
				page = page[1+next:]
				continue
			}
			if !yield(page[:n], record) {
				return
			}
			page = page[n:]
		}
	}
}

// recall is what is known of the messages in a page, as far as their files are
// as they were.
func (s *Spool) recall(page []byte, salt uint32, all *lists) []read {
	some := make([]read, 0, len(page)/128)
	for frame, record := range catalogRecords(page, salt) {
		var r remembered
		if r.decode(record) != nil {
			continue
		}
		l := all.of(r.entry.ID)
		if l == nil || !s.isAsRemembered(l.dir, &r) {
			continue
		}
		some = append(some, read{entry: r.entry, list: l, size: len(frame)})
	}
	return some
}

func (s *Spool) isAsRemembered(d *directory, r *remembered) bool {
	stamp, err := s.FS.Stamp(d.file(r.entry.ID))
	return err == nil && stamp == r.stamp && !s.index.knows(r.entry.ID)
}

// pages are the tasks of recalling what the catalog holds.
func (s *Spool) pages(all *lists) iter.Seq[task] {
	return func(yield func(task) bool) {
		for page, salt := range s.catalogPages() {
			if !yield(func(context.Context, []byte) []read { return s.recall(page, salt, all) }) {
				return
			}
		}
	}
}

// found notes how much of the catalog a listing could use.
func (c *catalog) found(useful int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.useful = useful
}

// tidyCatalog writes the catalog anew when most of it is of no use any more.
func (s *Spool) tidyCatalog() {
	c := &s.catalog
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil || c.size < 2*c.useful+catalogSlack {
		return
	}
	start := time.Now()
	size, err := s.copyCatalog()
	if err != nil {
		s.tidy(s.tmp.file("index"))
		s.giveUpCatalog(err)
		return
	}
	s.Logger.Debug("index written anew", "before", c.size, "after", size, "took", time.Since(start))
	c.size, c.useful = size, size
}

// copyCatalog puts a new file in the place of the catalog, with what is still
// true.
func (s *Spool) copyCatalog() (size int64, err error) {
	name := s.tmp.file("index")
	f, err := s.FS.Open(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	b := appendCatalogHead(nil, s.catalog.salt)
	for page, salt := range s.catalogPages() {
		b = s.appendTrue(b, page, salt)
		if err := writeAll(f, b, size); err != nil {
			return 0, err
		}
		size += int64(len(b))
		b = b[:0]
	}
	if err := errors.Join(f.Truncate(size), s.FS.Replace(name, s.catalogName()), s.catalog.file.Close()); err != nil {
		return 0, err
	}
	s.catalog.file = f
	return size, nil
}

// appendTrue copies the records of files that are as they were.
func (s *Spool) appendTrue(b, page []byte, salt uint32) []byte {
	for frame, record := range catalogRecords(page, salt) {
		var r remembered
		if r.decode(record) != nil || !validID(r.entry.ID) {
			continue
		}
		if s.isAsRemembered(s.folderNamed(r.entry.Queue), &r) {
			b = append(b, frame...)
		}
	}
	return b
}

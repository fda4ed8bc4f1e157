package filespool

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

// Entries yields every message, without reading bodies. See queue.Spool. A file
// that the disk cannot read is yielded as a *queue.CorruptError too, but stays
// where it is. When files could not be opened for want of descriptors or memory,
// that is the error at the end: asked again, they may be there.
func (s *Spool) Entries(ctx context.Context) iter.Seq2[queue.Entry, error] {
	return func(yield func(queue.Entry, error) bool) {
		done, err := s.enter()
		if err != nil {
			yield(queue.Entry{}, err)
			return
		}
		defer done()
		for _, found := range s.takeFound() {
			if !yield(queue.Entry{}, found) {
				return
			}
		}
		all, err := s.list()
		if err != nil {
			yield(queue.Entry{}, fmt.Errorf("filespool: %w", err))
			return
		}
		var missed error
		for got := range s.readLists(ctx, all) {
			switch {
			case errors.Is(got.err, queue.ErrNotFound):
			case passing(got.err):
				missed = got.err
			case !yield(got.entry, got.err):
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(queue.Entry{}, err)
		} else if missed != nil {
			yield(queue.Entry{}, fmt.Errorf("filespool: at least one message: %w", missed))
		}
	}
}

// read is an entry, or why there is none.
type read struct {
	entry queue.Entry
	err   error
	stamp crashfs.Stamp // of the file before it was read; zero when it was not looked at
	list  *folderList   // that it is on, when the catalog told it
	size  int           // of its record in the catalog
}

// readLists reads the messages of some lists: from the catalog, and what that does
// not know, or no longer, from the files.
func (s *Spool) readLists(ctx context.Context, all *lists) iter.Seq[read] {
	return func(yield func(read) bool) {
		useful := int64(catalogHead)
		for r := range readAll(ctx, s.pages(all)) {
			if !r.list.take(r.entry.ID) {
				continue // a second record of the same version
			}
			useful += int64(r.size)
			if !yield(r) {
				return
			}
		}
		var fresh []remembered
		for r := range readAll(ctx, s.files(all)) {
			if r.err == nil && r.stamp != (crashfs.Stamp{}) {
				fresh = append(fresh, remembered{r.entry, r.stamp})
			}
			if len(fresh) == atATime {
				useful += s.remember(fresh)
				fresh = fresh[:0]
			}
			if !yield(r) {
				return
			}
		}
		s.catalog.found(useful + s.remember(fresh))
	}
}

// task reads some messages. The buffer is for its use.
type task func(ctx context.Context, buffer []byte) []read

// readAll does tasks, several at a time.
func readAll(ctx context.Context, tasks iter.Seq[task]) iter.Seq[read] {
	return func(yield func(read) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		work, results := make(chan task), make(chan []read, readers)
		var group sync.WaitGroup
		defer group.Wait()
		defer cancel()
		group.Go(func() {
			defer close(work)
			for t := range tasks {
				select {
				case work <- t:
				case <-ctx.Done():
					return
				}
			}
		})
		var busy sync.WaitGroup
		for range readers {
			busy.Go(func() { doTasks(ctx, work, results) })
		}
		group.Go(func() {
			busy.Wait()
			close(results)
		})
		for some := range results {
			for _, r := range some {
				if ctx.Err() != nil || !yield(r) {
					return
				}
			}
		}
	}
}

// readers is how many tasks are done at a time: the disk, and two or more
// processors, have something to do.
const readers = 4

func doTasks(ctx context.Context, work <-chan task, results chan<- []read) {
	buffer := make([]byte, firstRead)
	for t := range work {
		select {
		case results <- t(ctx, buffer):
		case <-ctx.Done():
			return
		}
	}
}

// files are the tasks of reading what is left of the lists from the messages
// themselves.
func (s *Spool) files(all *lists) iter.Seq[task] {
	return func(yield func(task) bool) {
		for some := range slices.Chunk(all.journal, atATime) {
			if !yield(s.reading(nil, slices.Values(some))) {
				return
			}
		}
		for _, l := range all.folders {
			for left, err := range s.left(l) {
				if err != nil && !yield(func(context.Context, []byte) []read { return []read{{err: err}} }) {
					return
				}
				for _, chunk := range left.chunks {
					if !yield(s.reading(l.dir, idsIn(chunk))) {
						return
					}
				}
			}
		}
	}
}

// reading is the task of reading some messages that lie in a folder, or nobody
// knows where.
func (s *Spool) reading(d *directory, some iter.Seq[string]) task {
	return func(ctx context.Context, buffer []byte) (all []read) {
		for id := range some {
			if ctx.Err() != nil {
				return all
			}
			all = append(all, s.entryIn(d, id, buffer))
		}
		return all
	}
}

// entryIn reads a message of which it is known where its file lies; nil means
// that it is not.
func (s *Spool) entryIn(d *directory, id string, buffer []byte) (r read) {
	r.entry.ID = id
	if d == nil || s.index.knows(id) {
		r.entry, r.err = s.entry(id)
		return r
	}
	stamp, err := s.FS.Stamp(d.file(id))
	n, whole := 0, false
	if err == nil {
		n, whole, err = s.FS.ReadStart(d.file(id), buffer)
	}
	if err == nil && whole {
		im, err := parseImage(buffer[:n], -1)
		if err == nil && im.end == im.size && !s.index.knows(id) {
			return read{entry: im.entry(id), stamp: stamp}
		}
	}
	r.entry, r.err = s.entry(id) // which knows what to do about it
	if err == nil && !s.index.knows(id) {
		r.stamp = stamp
	}
	return r
}

// passing tells whether an error says nothing of what is in the file. A file that
// may not be read is some administrator's mistake: nothing is damaged.
func passing(err error) bool {
	for _, short := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EINTR, syscall.EAGAIN, syscall.EACCES, syscall.EPERM} {
		if errors.Is(err, short) {
			return true
		}
	}
	return false
}

func (s *Spool) entry(id string) (queue.Entry, error) {
	im, err := s.load(id, -1)
	var corrupt *queue.CorruptError
	switch {
	case err == nil:
		return im.entry(id), nil
	case errors.As(err, &corrupt) || errors.Is(err, queue.ErrNotFound) || passing(err):
		return queue.Entry{}, err
	}
	return queue.Entry{}, &queue.CorruptError{ID: id, Reason: err.Error()}
}

func (im *image) entry(id string) queue.Entry {
	return queue.Entry{
		ID: id, Queue: im.queue(), Sender: im.envelope.Sender, Size: im.length(), Pending: im.pending(),
		Arrival: im.envelope.Arrival, Next: im.next, Attempts: im.attempts,
		Priority: im.envelope.Priority, Warned: im.warned, Hold: im.state.hold,
		Panics: im.panics, Site: im.site, Expire: im.expire, Requeue: im.requeue, Key: im.key,
		Domains: queue.Domains(im.envelope.Recipients, im.marks),
	}
}

// inMemory is how long a message may be to be read into memory by Open.
const inMemory = 256 << 10

// Open returns everything that is known of a message. The body of one up to 256
// KiB is in memory; a longer one is read from the file each time its Body is
// opened, and its last read fails with a *queue.CorruptError in place of io.EOF
// when the checksum is wrong.
func (s *Spool) Open(_ context.Context, id string) (*queue.Stored, error) {
	done, err := s.enter()
	if err != nil {
		return nil, err
	}
	defer done()
	im, err := s.load(id, inMemory)
	if err != nil {
		return nil, err
	}
	m, err := s.message(id, im)
	if err != nil {
		return nil, fmt.Errorf("filespool: message %s: %w", id, err)
	}
	im.envelope.Hold = im.state.hold
	return &queue.Stored{Entry: im.entry(id), Envelope: im.envelope, Message: m, Marks: im.marks}, nil
}

// message puts the header together and cuts the body off.
func (s *Spool) message(id string, im *image) (*mtakit.Message, error) {
	if n := im.trailer.header; im.content != nil {
		return &mtakit.Message{Header: im.fields(im.content[:n:n]), Body: mtakit.Bytes(im.content[n:])}, nil
	}
	f, _, err := s.openFile(id, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	start, err := readAt(f, headSize, im.trailer.header)
	if err != nil {
		return nil, err
	}
	sum := crc(start)
	return &mtakit.Message{Header: im.fields(start), Body: &body{s, id, im.head, int64(len(start)), sum}}, nil
}

// fields parses the header: the prefix, and what of the received one, which is
// start, follows it.
func (im *image) fields(start []byte) *mtakit.Header {
	raw := start[min(im.from, int64(len(start))):]
	if len(im.prefix) > 0 {
		raw = append(im.prefix[:len(im.prefix):len(im.prefix)], raw...)
	}
	h, _ := mtakit.ParseHeader(raw)
	return h
}

// body is a body that stays in its file.
type body struct {
	spool *Spool
	id    string
	head  head
	off   int64
	sum   uint32 // of the content before off
}

func (b *body) Size() int64 { return b.head.content - b.off }

func (b *body) Open() (io.ReadCloser, error) {
	f, d, err := b.spool.openFile(b.id, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	section := io.NewSectionReader(f, headSize+b.off, b.Size())
	return &bodyReader{r: section, f: f, left: b.Size(), sum: b.sum, want: b.head.contentSum,
		damage: &queue.CorruptError{ID: b.id, Path: d.file(b.id), Reason: "checksum of the content is wrong"}}, nil
}

// bodyReader sums up what is read and compares at the end.
type bodyReader struct {
	r         io.Reader
	f         crashfs.File
	left      int64
	sum, want uint32
	damage    error
}

func (r *bodyReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.sum = crc32.Update(r.sum, castagnoli, p[:n])
	r.left -= int64(n)
	if errors.Is(err, io.EOF) && (r.left > 0 || r.sum != r.want) {
		err = r.damage
	}
	return n, err
}

func (r *bodyReader) Close() error { return r.f.Close() }

// Check reads a whole message and verifies every checksum. A damaged one is
// moved to corrupt/ and reported as a *queue.CorruptError.
func (s *Spool) Check(ctx context.Context, id string) error {
	done, err := s.enter()
	if err != nil {
		return err
	}
	defer done()
	im, err := s.load(id, inMemory)
	if err != nil || im.content != nil {
		return err
	}
	r, err := (&body{spool: s, id: id, head: im.head}).Open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	var corrupt *queue.CorruptError
	if errors.As(err, &corrupt) {
		s.moving.Lock()
		defer s.moving.Unlock()
		_, d, err := s.openName(id)
		if err != nil {
			return err
		}
		return s.asideFile(d, id, errors.New(corrupt.Reason))
	}
	return err
}

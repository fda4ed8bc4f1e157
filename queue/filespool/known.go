package filespool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

// file is what has to be known of a message to change it.
type file struct {
	dir         *directory
	salt        uint32
	end, synced int64 // where the next record goes; what is known as synced
	recipients  int
	// single says that it never had a name in another folder.
	single bool
	// torn says that something stands behind end that must be cut off.
	torn bool
	// lost says that a sync of the file failed. What it should have written is
	// gone, and no later sync of it would tell (Linux marks the pages clean), so
	// that the next record goes into a copy.
	lost bool
}

// known remembers the messages that are being worked on, so that a mark costs
// no reading. What is deferred, held or removed is forgotten: memory does not
// grow with the queue.
type known struct {
	mu    sync.Mutex
	files map[string]*file
	// ends tells how far the files can be believed of which a sync failed.
	ends map[string]int64
	// arriving are the messages whose Commit has not returned. They are in a
	// folder already, but nobody has to know of them yet.
	arriving map[string]bool
}

func newKnown() known {
	return known{files: map[string]*file{}, ends: map[string]int64{}, arriving: map[string]bool{}}
}

// mostKnown bounds the memory. Beyond it files are read again.
const mostKnown = 100_000

func (k *known) get(id string) *file {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.files[id]
}

func (k *known) put(id string, f *file) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.files) < mostKnown || k.files[id] != nil {
		k.files[id] = f
	}
}

func (k *known) forget(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.files, id)
	delete(k.ends, id)
}

// lose notes that a sync of a file failed: readers stop at its good end.
func (k *known) lose(id string, f *file) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f.lost = true
	k.files[id], k.ends[id] = f, f.end
}

// heal notes that a lost file was replaced by a good one.
func (k *known) heal(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.ends, id)
}

// end returns where readers of a lost file stop.
func (k *known) end(id string) (end int64, lost bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	end, lost = k.ends[id]
	return end, lost
}

// arrive hides messages from listings until arrived is called: who finds one
// before its Commit returns would deliver what may yet be refused.
func (k *known) arrive(drafts ...*draft) (arrived func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, d := range drafts {
		k.arriving[d.id] = true
	}
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, d := range drafts {
			delete(k.arriving, d.id)
		}
	}
}

func (k *known) isArriving(id string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.arriving[id]
}

// find returns what is known of a message that is to be changed.
func (s *Spool) find(id string) (*file, error) {
	if f := s.known.get(id); f != nil {
		return f, nil
	}
	im, d, err := s.load(id, -1)
	if err != nil {
		return nil, err
	}
	f := &file{
		dir: d, salt: im.salt, end: im.end, synced: im.synced,
		recipients: len(im.envelope.Recipients), torn: im.size > im.end,
	}
	s.known.put(id, f)
	return f, nil
}

// load reads a message wherever it lies, and moves it to corrupt/ when it is
// damaged. The content is read when it is not longer than limit.
func (s *Spool) load(id string, limit int64) (*image, *directory, error) {
	if !validID(id) {
		return nil, nil, fmt.Errorf("%w: %q", queue.ErrNotFound, id)
	}
	im, d, err := s.tryLoad(id, limit)
	if errors.Is(err, errDamaged) {
		im, d, err = s.loadAlone(id, limit)
	}
	if err == nil && im.removed {
		s.bury(id)
		return nil, nil, fmt.Errorf("%w: %s", queue.ErrNotFound, id)
	}
	return im, d, err
}

// loadAlone looks again at what may have been read while it was written to.
func (s *Spool) loadAlone(id string, limit int64) (*image, *directory, error) {
	s.moving.Lock()
	defer s.moving.Unlock()
	im, d, err := s.tryLoad(id, limit)
	if errors.Is(err, errDamaged) {
		return nil, nil, s.moveAside(d, id, err)
	}
	return im, d, err
}

func (s *Spool) tryLoad(id string, limit int64) (*image, *directory, error) {
	f, d, err := s.openFile(id, os.O_RDONLY)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if end, lost := s.known.end(id); lost {
		f = upTo{f, end}
	}
	im, err := readImage(f, limit)
	if err != nil {
		return nil, d, fmt.Errorf("filespool: %s: %w", d.file(id), err)
	}
	return im, d, nil
}

// upTo is a file whose end is not to be believed.
type upTo struct {
	crashfs.File
	end int64
}

func (f upTo) Size() (int64, error) { return f.end, nil }

// openFile opens the file of a message. The folders are looked at again when it
// was in none, since it may have been on its way from one to another.
func (s *Spool) openFile(id string, flag int) (crashfs.File, *directory, error) {
	for range 2 {
		for _, d := range s.queues() {
			f, err := s.FS.Open(d.file(id), flag)
			if err == nil {
				return f, d, nil
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return nil, nil, err
			}
		}
	}
	return nil, nil, fmt.Errorf("%w: %s", queue.ErrNotFound, id)
}

// bury takes away what was removed by a record and whose name is still there.
// While a step is under way the record may yet be taken back.
func (s *Spool) bury(id string) {
	s.moving.Lock()
	defer s.moving.Unlock()
	if s.ReadOnly || s.stepping.Load() != 0 {
		return
	}
	if im, d, err := s.tryLoad(id, -1); err == nil && im.removed {
		s.tidy(d.file(id))
		d.taken.Add(1)
	}
}

// moveAside puts a damaged message into corrupt/, with the reason beside it.
func (s *Spool) moveAside(d *directory, id string, cause error) error {
	corrupt := &queue.CorruptError{ID: id, Path: d.file(id), Reason: cause.Error()}
	s.Logger.Error("damaged message", "id", id, "error", cause)
	if s.ReadOnly {
		return corrupt
	}
	name := id
	for i := 2; ; i++ {
		err := s.FS.Link(d.file(id), s.corrupt.file(name))
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) || i > 99 {
			s.Logger.Error("cannot move it to corrupt/", "id", id, "error", err)
			return corrupt
		}
		name = fmt.Sprintf("%s.%d", id, i)
	}
	corrupt.Path = s.corrupt.file(name)
	s.writeReason(name, cause)
	if err := s.corrupt.sync(s.corrupt.Epoch()); err != nil {
		s.Logger.Error("cannot sync corrupt/", "error", err)
		return corrupt
	}
	s.tidy(d.file(id))
	d.taken.Add(1)
	s.known.forget(id)
	return corrupt
}

func (s *Spool) writeReason(name string, cause error) {
	f, err := s.FS.Open(s.corrupt.file(name+".reason"), os.O_RDWR|os.O_CREATE)
	if err == nil {
		defer f.Close()
		err = writeAll(f, []byte(cause.Error()+"\n"), 0)
	}
	if err != nil {
		s.Logger.Error("cannot write the reason", "id", name, "error", err)
	}
}

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
	if len(k.files) < mostKnown || f.lost {
		k.files[id] = f
	}
}

func (k *known) forget(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.files, id)
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
	if err == nil && im.removed {
		s.bury(id)
		return nil, nil, fmt.Errorf("%w: %s", queue.ErrNotFound, id)
	}
	if !errors.Is(err, errDamaged) {
		return im, d, err
	}
	// It may have been read while it was written to: look again, alone.
	s.moving.Lock()
	defer s.moving.Unlock()
	if im, d, err = s.tryLoad(id, limit); !errors.Is(err, errDamaged) {
		return im, d, err
	}
	return nil, nil, s.moveAside(d, id, err)
}

func (s *Spool) tryLoad(id string, limit int64) (*image, *directory, error) {
	f, d, err := s.openFile(id, os.O_RDONLY)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if k := s.known.get(id); k != nil && k.lost {
		f = upTo{f, k.end}
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
	if err := s.corrupt.sync(s.corrupt.epoch()); err != nil {
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

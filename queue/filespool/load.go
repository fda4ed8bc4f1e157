package filespool

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

// load reads a message wherever it is, and moves it to corrupt/ when it is
// damaged. The content is read when it is not longer than limit.
func (s *Spool) load(id string, limit int64) (*image, error) {
	if !validID(id) {
		return nil, fmt.Errorf("%w: %q", queue.ErrNotFound, id)
	}
	im, err := s.tryLoad(id, limit)
	if errors.Is(err, errDamaged) {
		return s.loadAlone(id, limit)
	}
	return im, err
}

// tryLoad looks again when the message has moved from the journal to its file
// meanwhile.
func (s *Spool) tryLoad(id string, limit int64) (im *image, err error) {
	for range 3 {
		t, found, gone := s.index.get(id)
		if gone {
			break
		}
		if found && t.seg != nil {
			im, err = s.loadRecord(&t, limit)
		}
		if s.ReadOnly && errors.Is(err, errElsewhere) {
			t.seg, t.changes = nil, nil // its file tells more than the journal once did
		}
		if !found || t.seg == nil {
			im, err = s.loadFile(id, limit)
		}
		if errors.Is(err, errElsewhere) || errors.Is(err, queue.ErrNotFound) {
			continue
		}
		if err == nil {
			if !found && im.end < im.size {
				// What a crash cuts off, the journal still knows.
				return nil, fmt.Errorf("%w: records from %d on", errDamaged, im.end)
			}
			if err := im.applyAll(t.changes); err != nil {
				return nil, err
			}
		}
		return im, err
	}
	return nil, fmt.Errorf("%w: %s", queue.ErrNotFound, id)
}

// errElsewhere says that a message is no longer where it was looked for.
var errElsewhere = errors.New("filespool: moved")

func (s *Spool) loadRecord(t *tracked, limit int64) (*image, error) {
	b, ok, err := t.seg.read(t.at, t.size)
	switch {
	case err != nil:
		return nil, fmt.Errorf("segment %s of the journal: %w", segmentName(t.seg.seq), err)
	case !ok:
		return nil, errElsewhere
	}
	im, err := parseImage(b, limit)
	if s.ReadOnly && t.seg.changed() { // what stands there now may be another message
		return nil, errElsewhere
	}
	return im, err
}

func (s *Spool) loadFile(id string, limit int64) (*image, error) {
	f, d, err := s.openFile(id, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	im, err := readImage(f, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.file(id), err)
	}
	return im, nil
}

// loadAlone looks again at what may have been read while it was written to, and
// sets it aside when it is damaged indeed.
func (s *Spool) loadAlone(id string, limit int64) (*image, error) {
	s.moving.Lock()
	defer s.moving.Unlock()
	im, err := s.tryLoad(id, limit)
	if !errors.Is(err, errDamaged) {
		return im, err
	}
	if t, found, _ := s.index.get(id); found && t.seg != nil {
		b, _, readErr := t.seg.read(t.at, t.size)
		if readErr != nil {
			return nil, readErr
		}
		return nil, s.setAside(&t, b, err)
	}
	_, d, openErr := s.openName(id)
	if openErr != nil {
		return nil, openErr
	}
	return nil, s.asideFile(d, id, err)
}

// openFile opens the file of a message. The folders are looked at again when it
// was in none, since it may have been on its way from one to another.
func (s *Spool) openFile(id string, flag int) (crashfs.File, *directory, error) {
	for range 2 {
		for _, d := range [...]*directory{s.deferred, s.active, s.hold, s.incoming} {
			if d == s.incoming && !s.index.knows(id) {
				continue // what the journal does not know there is a draft
			}
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

// openName finds the folder in which a message has its file.
func (s *Spool) openName(id string) (name string, d *directory, err error) {
	f, d, err := s.openFile(id, os.O_RDONLY)
	if err != nil {
		return "", nil, err
	}
	return d.file(id), d, f.Close()
}

// asideFile moves a damaged file to corrupt/, with the reason beside it.
func (s *Spool) asideFile(d *directory, id string, cause error) error {
	corrupt := &queue.CorruptError{ID: id, Path: d.file(id), Reason: cause.Error()}
	s.Logger.Error("damaged message", "id", id, "error", cause)
	if s.ReadOnly {
		return corrupt
	}
	name, err := s.corruptName(id, func(name string) error { return s.FS.Link(d.file(id), name) })
	if err == nil {
		err = s.keepReason(name, cause)
	}
	if err != nil {
		s.Logger.Error("cannot move it to corrupt/", "id", id, "error", err)
		return corrupt
	}
	corrupt.Path = s.corrupt.file(name)
	if _, found, _ := s.index.get(id); found {
		if err := s.forgetMessage(id); err != nil {
			s.Logger.Error("cannot record that a damaged message is gone", "id", id, "error", err)
			return corrupt
		}
	}
	s.drop(d, id)
	return corrupt
}

// setAside writes a damaged message of the journal to corrupt/, with the reason
// beside it.
func (s *Spool) setAside(t *tracked, b []byte, cause error) error {
	corrupt := &queue.CorruptError{ID: t.id, Reason: cause.Error()}
	s.Logger.Error("damaged message in the journal", "id", t.id, "error", cause)
	if s.ReadOnly {
		return corrupt
	}
	name, err := s.keepRemains(t.id, b, cause)
	if err != nil {
		s.Logger.Error("cannot write it to corrupt/", "id", t.id, "error", err)
		return corrupt
	}
	corrupt.Path = s.corrupt.file(name)
	if err := s.forgetMessage(t.id); err != nil {
		s.Logger.Error("cannot record that a damaged message is gone", "id", t.id, "error", err)
	}
	return corrupt
}

// keepRemains writes something damaged to corrupt/ and makes that durable.
func (s *Spool) keepRemains(id string, b []byte, cause error) (name string, err error) {
	name, err = s.corruptName(id, func(name string) error {
		f, err := s.FS.Open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
		if errors.Is(err, fs.ErrExist) && s.hasRemains(name, b) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		if err = errors.Join(writeAll(f, b, 0), f.Sync()); err != nil {
			s.tidy(name)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return name, s.keepReason(name, cause)
}

// hasRemains says that a file of corrupt/ has these bytes, durably. What is damaged
// in a segment is found again at each start until the segment is removed, and must
// not use up the names meanwhile.
func (s *Spool) hasRemains(name string, b []byte) bool {
	f, err := s.FS.Open(name, os.O_RDWR)
	if err != nil {
		return false
	}
	defer f.Close()
	kept, err := readAt(f, 0, int64(len(b))+1)
	return err == nil && bytes.Equal(kept, b) && f.Sync() == nil
}

// corruptName has something made in corrupt/ under a name that is free.
func (s *Spool) corruptName(id string, do func(name string) error) (name string, err error) {
	name = id
	for i := 2; ; i++ {
		err := do(s.corrupt.file(name))
		if err == nil || !errors.Is(err, fs.ErrExist) || i > 99 {
			return name, err
		}
		name = fmt.Sprintf("%s.%d", id, i)
	}
}

// keepReason writes the reason beside what is in corrupt/, and syncs the folder.
func (s *Spool) keepReason(name string, cause error) error {
	f, err := s.FS.Open(s.corrupt.file(name+".reason"), os.O_RDWR|os.O_CREATE)
	if err == nil {
		defer f.Close()
		err = writeAll(f, []byte(cause.Error()+"\n"), 0)
	}
	if err != nil {
		s.Logger.Error("cannot write the reason", "id", name, "error", err)
	}
	return s.corrupt.sync(s.corrupt.Epoch())
}

package filespool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/mtakit/mtakit/queue"
)

// version is what the file of that name says.
const version = "mtakit filespool 1\n"

func (s *Spool) open() (err error) {
	if !s.ReadOnly {
		if err := s.mkdir(s.dir); err != nil {
			return err
		}
	}
	found, err := s.checkVersion()
	if err != nil || s.ReadOnly {
		return err
	}
	if s.lock, err = s.FS.Lock(path.Join(s.dir, "lock")); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%w: %w", queue.ErrLocked, err)
		}
		return err
	}
	defer func() {
		if err != nil {
			s.lock.Close()
		}
	}()
	if err := s.prepare(found); err != nil {
		return err
	}
	if err := s.recover(); err != nil {
		return err
	}
	return s.openWhole()
}

// mkdir makes a directory that is not there and its name durable.
func (s *Spool) mkdir(name string) error {
	err := s.FS.Mkdir(name)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.FS.SyncDir(path.Dir(name))
}

func (s *Spool) checkVersion() (found bool, err error) {
	f, err := s.FS.Open(path.Join(s.dir, "version"), os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) && !s.ReadOnly {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	b, err := readAt(f, 0, 64)
	if err == nil && string(b) != version {
		err = fmt.Errorf("%w: %q", queue.ErrVersion, b)
	}
	return true, err
}

// prepare makes what is missing. The version comes last, so that it says that
// everything else is there.
func (s *Spool) prepare(found bool) error {
	for _, name := range []string{"incoming", "active", "deferred", "hold", "corrupt", "maildrop", "tmp", "undo"} {
		if err := s.mkdir(path.Join(s.dir, name)); err != nil {
			return err
		}
	}
	if err := s.FS.SyncDir(s.dir); err != nil || found {
		return err
	}
	name := path.Join(s.dir, "version")
	f, err := s.FS.Open(name+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := errors.Join(f.Truncate(0), writeAll(f, []byte(version), 0), f.Sync()); err != nil {
		return err
	}
	if err := s.FS.Replace(name+".new", name); err != nil {
		return err
	}
	return s.FS.SyncDir(s.dir)
}

// recover brings order into what the last process left: unfinished steps are
// taken back, messages with two names lose one, drafts are swept. Afterwards
// every name that is there is durable.
func (s *Spool) recover() error {
	if err := s.replayUndo(); err != nil {
		return fmt.Errorf("take back an unfinished step: %w", err)
	}
	if err := s.sweep(); err != nil {
		return err
	}
	if err := s.dropSecondNames(); err != nil {
		return err
	}
	for _, d := range s.queues() {
		if err := d.sync(d.Epoch()); err != nil {
			return err
		}
	}
	return nil
}

func (s *Spool) replayUndo() error {
	names, err := s.FS.List(s.undo.path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !validID(name) {
			s.stranger(s.undo, name)
			continue
		}
		u, err := s.readUndo(name)
		if err != nil {
			return err
		}
		if u != nil {
			s.Logger.Warn("taking back an unfinished step", "undo", name, "accepted", u.accepted)
			if err := s.restore(u); err != nil {
				return err
			}
		}
		if err := s.FS.Remove(s.undo.file(name)); err != nil {
			return err
		}
	}
	return s.undo.sync(s.undo.Epoch())
}

// readUndo returns nil for a log that was not finished.
func (s *Spool) readUndo(name string) (*undo, error) {
	f, err := s.FS.Open(s.undo.file(name), os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b, err := readAt(f, 0, size)
	if err != nil {
		return nil, err
	}
	u, err := parseUndo(b)
	if err != nil {
		s.Logger.Warn("ignoring an undo log", "undo", name, "error", err)
		return nil, nil
	}
	return u, nil
}

// sweep removes drafts that nobody acknowledged.
func (s *Spool) sweep() error {
	names, err := s.FS.List(s.tmp.path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !validID(name) {
			s.stranger(s.tmp, name)
			continue
		}
		if err := s.remove(s.tmp.file(name)); err != nil {
			return err
		}
	}
	return nil
}

// dropSecondNames takes the earlier name of a message away that has two: a
// crash came while it was moved. Both are the same file, which says itself
// whether it is held. After the end of a process, unlike that of a machine, the
// later name may not be durable yet: it is made so first.
func (s *Spool) dropSecondNames() error {
	seen := map[string]*directory{}
	for _, d := range []*directory{s.incoming, s.active, s.hold, s.deferred} {
		names, err := s.FS.List(d.path)
		if err != nil {
			return err
		}
		synced := false
		for _, name := range names {
			if earlier := seen[name]; earlier != nil && validID(name) {
				if !synced {
					if err := d.sync(d.Epoch()); err != nil {
						return err
					}
					synced = true
				}
				if err := s.remove(earlier.file(name)); err != nil {
					return err
				}
			}
			if d != s.deferred { // which may be too large to remember
				seen[name] = d
			}
		}
	}
	return nil
}

func (s *Spool) stranger(d *directory, name string) {
	s.Logger.Warn("unknown file, left alone", "file", d.file(name))
}

package filespool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

// version is what the file of that name says.
const version = "mtakit filespool 2\n"

func (s *Spool) open() (err error) {
	if !s.ReadOnly {
		if err := s.mkdir(s.dir); err != nil {
			return err
		}
	}
	found, err := s.checkVersion()
	if err != nil {
		return err
	}
	if s.ReadOnly {
		return s.glance()
	}
	if s.lock, err = s.FS.Lock(path.Join(s.dir, "lock")); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%w: %w", queue.ErrLocked, err)
		}
		return err
	}
	if err := s.prepare(found); err != nil {
		return err
	}
	if err := s.recover(); err != nil {
		return err
	}
	return s.openWhole()
}

// glance reads a journal that somebody else may be writing to, again when a
// segment was given up meanwhile.
func (s *Spool) glance() (err error) {
	for range 10 {
		err = s.replay()
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errElsewhere) {
			return err
		}
		for _, seg := range s.index.segments {
			err = errors.Join(err, seg.giveUp())
		}
		s.index.segments = nil
		s.index.init()
		s.takeFound()
	}
	return err
}

// refuseStrange fails when there is mail and nothing that tells its format.
func (s *Spool) refuseStrange() error {
	for _, d := range []*directory{s.journal.dir, s.active, s.deferred, s.hold} {
		mail := ""
		err := s.FS.List(d.path, func(name string) { mail = name })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if mail != "" {
			return fmt.Errorf("%w: there is %s and no file that tells the version", queue.ErrVersion, d.file(mail))
		}
	}
	return nil
}

// openWhole prepares for Options.SyncFS, if the file system can do it.
func (s *Spool) openWhole() error {
	all, ok := s.FS.(crashfs.WholeFS)
	if !s.SyncFS || !ok {
		return nil
	}
	w, err := all.OpenWhole(s.dir)
	if err != nil {
		return err
	}
	if w == nil {
		s.Logger.Warn("no syncfs(2) that reports errors here: files are synced one by one", "dir", s.dir)
	}
	s.whole = w
	return nil
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
	if !found {
		if err := s.refuseStrange(); err != nil {
			return err
		}
	}
	for _, name := range []string{"incoming", "active", "deferred", "hold", "corrupt", "journal", "maildrop", "tmp"} {
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

// recover brings order into what the last process left: the journal is read,
// the folders brought in line with it, drafts swept, and messages with two names
// lose one. Afterwards every name that is there is durable.
func (s *Spool) recover() error {
	if err := s.replay(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := s.reconcile(); err != nil {
		return err
	}
	if err := errors.Join(s.sweep(s.tmp), s.sweep(s.incoming), s.collectSpares()); err != nil {
		return err
	}
	if err := s.dropSecondNames(); err != nil {
		return err
	}
	for _, d := range []*directory{s.incoming, s.active, s.deferred, s.hold, s.journal.dir} {
		if err := d.sync(d.Epoch()); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes what the journal does not know: drafts that nobody acknowledged.
func (s *Spool) sweep(d *directory) error {
	var names []string
	err := s.FS.List(d.path, func(name string) {
		if !validID(name) {
			s.stranger(d, name)
		} else if d == s.tmp || !s.index.knows(name) {
			names = append(names, name)
		}
	})
	for _, name := range names {
		err = errors.Join(err, s.remove(d.file(name)))
	}
	return err
}

// collectSpares finds the files that may become segments.
func (s *Spool) collectSpares() error {
	var names []string
	err := s.FS.List(s.journal.dir.path, func(name string) {
		if strings.HasPrefix(name, "spare.") || name == "new" {
			names = append(names, s.journal.dir.file(name))
		}
	})
	for _, name := range names {
		size, sizeErr := s.sizeOf(name)
		if sizeErr == nil && s.journal.spares.offer(size, s.Segment) && !strings.HasSuffix(name, "/new") {
			s.journal.spares.put(name, size)
			continue
		}
		err = errors.Join(err, sizeErr, s.remove(name))
	}
	return err
}

func (s *Spool) sizeOf(name string) (int64, error) {
	f, err := s.FS.Open(name, os.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Size()
}

// dropSecondNames takes one name of a message away that has two: a crash came
// while it was moved. Both are the same file. The name that stays may not be
// durable yet, after the end of a process: it is made so first.
func (s *Spool) dropSecondNames() error {
	seen := map[string]*directory{}
	for _, d := range []*directory{s.incoming, s.active, s.hold} {
		var second []string
		err := s.FS.List(d.path, func(name string) {
			if seen[name] != nil && validID(name) {
				second = append(second, name)
			} else {
				seen[name] = d
			}
		})
		if err != nil {
			return err
		}
		for _, name := range second {
			if err := s.dropName(seen[name], d, name); err != nil {
				return err
			}
			seen[name] = d
		}
	}
	for name, d := range seen { // deferred/ may be too large to be listed
		if !validID(name) {
			continue
		}
		_, err := s.FS.Stamp(s.deferred.file(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := s.dropName(d, s.deferred, name); err != nil {
			return err
		}
	}
	return nil
}

func (s *Spool) dropName(earlier, d *directory, name string) error {
	if err := d.sync(d.Epoch()); err != nil {
		return err
	}
	return s.remove(earlier.file(name))
}

func (s *Spool) stranger(d *directory, name string) {
	s.Logger.Warn("unknown file, left alone", "file", d.file(name))
}

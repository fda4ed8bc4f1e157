package filespool

import (
	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/internal/disk"
)

// whole syncs the files of new messages with one call for the whole file
// system, when several wait for it. See Options.SyncFS.
type whole struct {
	disk.Rounds
	fs crashfs.Whole // nil means file by file
}

// openWhole prepares for Options.SyncFS, if the file system can do it.
func (s *Spool) openWhole() error {
	fs, ok := s.FS.(crashfs.WholeFS)
	if !s.SyncFS || s.ReadOnly || !ok {
		return nil
	}
	w, err := fs.OpenWhole(s.dir)
	if err != nil {
		return err
	}
	if w == nil {
		s.Logger.Warn("no syncfs(2) that reports errors here: files are synced one by one", "dir", s.dir)
	}
	s.whole.fs = w
	return nil
}

// sync makes a file durable that was written since epoch was asked. Who is
// alone syncs only his file.
func (w *whole) sync(epoch int64, f crashfs.File) error {
	if w.fs == nil {
		return f.Sync()
	}
	return w.Join(epoch, func(n int) error {
		if n == 1 {
			return f.Sync()
		}
		return w.fs.SyncAll()
	})
}

func (w *whole) close() error {
	if w.fs == nil {
		return nil
	}
	return w.fs.Close()
}

package filespool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

// change records changes of existing messages.
func (s *Spool) change(changes []queue.Change) error {
	files, err := s.targets(changes)
	if err != nil {
		return err
	}
	w := s.watch()
	for i := range changes {
		c := &changes[i]
		if c.Remove {
			err = s.unlink(c.ID, files[i], w)
		} else if err = s.record(c.ID, files[i], c, mustSync(c)); err == nil {
			s.shift(c, files[i])
		}
		if err != nil {
			return fmt.Errorf("filespool: message %s: %w", c.ID, err)
		}
	}
	return w.sync()
}

// targets finds what is to be changed, before anything is.
func (s *Spool) targets(changes []queue.Change) ([]*file, error) {
	files := make([]*file, len(changes))
	for i := range changes {
		if err := s.pay(changes[i].ID); err != nil {
			return nil, err
		}
		f, err := s.find(changes[i].ID)
		if err != nil {
			return nil, err
		}
		for _, list := range [2][]queue.Mark{changes[i].Marks, changes[i].Results} {
			for _, m := range list {
				if m.Recipient < 0 || m.Recipient >= f.recipients || m.State > queue.Notified {
					return nil, fmt.Errorf("filespool: message %s: no recipient %d or no state %d", changes[i].ID, m.Recipient, m.State)
				}
			}
		}
		files[i] = f
	}
	return files, nil
}

// record appends what c records to the message's file.
func (s *Spool) record(id string, f *file, c *queue.Change, durable bool) error {
	b := appendRecord(nil, f.salt, f.synced, func(e *encoder) { e.change(c) })
	if len(b) == frameSize {
		return nil
	}
	if f.lost {
		if err := s.copyFile(id, f); err != nil {
			return err
		}
	}
	h, err := s.FS.Open(f.dir.file(id), os.O_RDWR)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := s.append(h, f, b); err != nil {
		return err
	}
	if durable {
		if err := h.Sync(); err != nil {
			s.known.lose(id, f)
			return fmt.Errorf("sync: %w", err)
		}
		f.synced = f.end + int64(len(b))
	}
	f.end += int64(len(b))
	return nil
}

// append writes at the end of the good records. What a torn write left there is
// cut off before; what a short one leaves, after.
func (s *Spool) append(h crashfs.File, f *file, b []byte) error {
	s.moving.RLock()
	defer s.moving.RUnlock()
	if f.torn {
		if err := h.Truncate(f.end); err != nil {
			return err
		}
		f.torn = false
	}
	err := writeAll(h, b, f.end)
	if err != nil {
		f.torn = h.Truncate(f.end) != nil
	}
	return err
}

// copyFile gives a message whose file lost a sync a new file with all that was
// good in the old one.
func (s *Spool) copyFile(id string, f *file) error {
	old, err := s.FS.Open(f.dir.file(id), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer old.Close()
	name := s.tmp.file(id)
	if err := s.writeCopy(name, old, f.end); err != nil {
		s.tidy(name)
		return err
	}
	s.moving.RLock()
	defer s.moving.RUnlock()
	epoch := f.dir.Epoch()
	if err := s.FS.Replace(name, f.dir.file(id)); err != nil {
		s.tidy(name)
		return err
	}
	if err := f.dir.sync(epoch); err != nil {
		return err
	}
	f.lost, f.torn, f.synced = false, false, f.end
	s.known.heal(id)
	return nil
}

func (s *Spool) writeCopy(name string, old crashfs.File, size int64) error {
	f, err := s.FS.Open(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	defer f.Close()
	for off := int64(0); off < size; {
		b, err := readAt(old, off, min(size-off, 256<<10))
		if err != nil {
			return err
		}
		if len(b) == 0 {
			return fmt.Errorf("%w: cut off at %d", errDamaged, off)
		}
		if err := writeAll(f, b, off); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return f.Sync()
}

// shift moves a message to the folder where a listing looks for it. What counts
// is recorded in the file, so that a failure is only logged.
func (s *Spool) shift(c *queue.Change, f *file) {
	to := f.dir
	switch {
	case c.Hold != "":
		to = s.hold
	case c.Release && f.dir == s.hold:
		to = s.incoming
	}
	if c.Defer && to != s.hold {
		to = s.deferred
	}
	if to != f.dir {
		if err := s.moveTo(c.ID, f, to); err != nil {
			s.Logger.Warn("cannot move", "id", c.ID, "to", to.name, "error", err)
		}
	}
	if to != s.incoming && to != s.active && !f.lost {
		s.known.forget(c.ID)
	}
}

// moveTo gives the file its new name, makes that durable, and only then takes
// the old one away: folders become durable independently.
func (s *Spool) moveTo(id string, f *file, to *directory) error {
	s.moving.RLock()
	defer s.moving.RUnlock()
	epoch := to.Epoch()
	if err := s.FS.Link(f.dir.file(id), to.file(id)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := to.sync(epoch); err != nil {
		s.tidy(to.file(id))
		to.taken.Add(1)
		f.single = false // the second name may be on disk all the same
		return err
	}
	from := f.dir
	f.dir, f.single = to, false
	defer from.taken.Add(1)
	return s.FS.Remove(from.file(id))
}

// watch collects the folders in which names were taken away.
type watch struct {
	dirs   [4]*directory
	epochs [4]int64
	need   bool
}

func (s *Spool) watch() *watch {
	w := &watch{dirs: s.queues()}
	for i, d := range w.dirs {
		w.epochs[i] = d.Epoch()
	}
	return w
}

// unlink takes a message away, with every name that a crash or a failure may
// have left in another folder. The watch's sync makes sure that none comes back.
func (s *Spool) unlink(id string, f *file, w *watch) error {
	s.moving.RLock()
	defer s.moving.RUnlock()
	defer s.known.forget(id)
	s.renew(id, f, w)
	err := s.FS.Remove(f.dir.file(id))
	f.dir.taken.Add(1)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", queue.ErrNotFound, err)
	}
	w.need = true
	for _, d := range w.dirs {
		if err == nil && !f.single && d != f.dir {
			err = s.takeAway(d, id)
		}
	}
	return err
}

// renew puts the message's name back into the folders where it may have been
// and of which a sync failed: that it was taken away there may be lost for good,
// and no later sync would make up for it. unlink takes it away again.
func (s *Spool) renew(id string, f *file, w *watch) {
	if f.single {
		return
	}
	for _, d := range w.dirs {
		if d == f.dir || d.Epoch() == 0 {
			continue
		}
		if err := s.FS.Link(f.dir.file(id), d.file(id)); err != nil && !errors.Is(err, fs.ErrExist) {
			s.Logger.Warn("cannot make sure that a name does not come back", "file", d.file(id), "error", err)
		}
	}
}

// takeAway removes a name from a folder if it is there.
func (s *Spool) takeAway(d *directory, id string) error {
	err := s.FS.Remove(d.file(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	d.taken.Add(1)
	return err
}

func (w *watch) sync() error {
	if !w.need {
		return nil
	}
	for i, d := range w.dirs {
		if !d.dirty() {
			continue
		}
		if err := d.sync(w.epochs[i]); err != nil {
			return fmt.Errorf("filespool: sync %s: %w", d.path, err)
		}
	}
	return nil
}

package filespool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/mtakit/mtakit/queue"
)

// both accepts messages and changes others in one atomic step:
//
//  1. The undo log is written and synced: which messages are new, and how long
//     the files of the others are.
//  2. The new files are written and synced in tmp/, the records appended and
//     synced, the new files moved and their folders synced.
//  3. The undo log is removed and its folder synced. From here on it is done.
//  4. What is only about names follows: messages that were removed or put on
//     hold by their record leave their folder.
//
// As long as the log is there, Open and every failure take all of it back:
// first the records, so that the worst that can be left is a message twice.
func (s *Spool) both(drafts []*draft, accept []queue.Accept, changes []queue.Change) error {
	files, err := s.targets(changes)
	if err != nil {
		return err
	}
	u := &undo{id: s.ids.next(time.Now())}
	defer s.known.arrive(drafts...)()
	for _, d := range drafts {
		if err := s.unused(d.id); err != nil {
			return err
		}
		u.accepted = append(u.accepted, d.id)
	}
	for i := range changes {
		u.ends = append(u.ends, mark{changes[i].ID, files[i].end})
	}
	s.stepping.Add(1)
	defer s.stepping.Add(-1)
	if err := s.writeUndo(u); err != nil {
		s.tidy(s.undo.file(u.id))
		return err
	}
	homes, err := s.doBoth(drafts, accept, changes, files)
	if err == nil {
		err = s.dropUndo(u)
	}
	if err != nil {
		return errors.Join(err, s.rollBack(u, files))
	}
	for i, d := range drafts {
		s.remember(d.id, homes[i])
	}
	s.followUp(changes, files)
	return nil
}

func (s *Spool) doBoth(drafts []*draft, accept []queue.Accept, changes []queue.Change, files []*file) ([]*file, error) {
	w := s.watch()
	homes := make([]*file, len(drafts))
	for i, d := range drafts {
		f, err := d.finish(&accept[i])
		if err != nil {
			return nil, err
		}
		f.dir, f.single = s.home(&accept[i]), true
		homes[i] = f
	}
	for i := range changes {
		if err := s.record(changes[i].ID, files[i], &changes[i], true); err != nil {
			return nil, fmt.Errorf("message %s: %w", changes[i].ID, err)
		}
	}
	for i, d := range drafts {
		if err := s.settle(d.id, homes[i]); err != nil {
			return nil, fmt.Errorf("message %s: %w", d.id, err)
		}
	}
	for i, d := range w.dirs {
		if !contains(homes, d) {
			continue
		}
		if err := d.sync(w.epochs[i]); err != nil {
			return nil, fmt.Errorf("sync %s: %w", d.path, err)
		}
	}
	return homes, nil
}

// unused fails when there is a message with this ID already, which a step that
// is taken back would take along.
func (s *Spool) unused(id string) error {
	f, d, err := s.openFile(id, os.O_RDONLY)
	if errors.Is(err, queue.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%s: %w", d.file(id), errors.Join(fs.ErrExist, f.Close()))
	}
	return err
}

func contains(files []*file, d *directory) bool {
	for _, f := range files {
		if f.dir == d {
			return true
		}
	}
	return false
}

// followUp moves and removes what the records say. A failure leaves a name
// that the records contradict: whoever reads the file sees it.
func (s *Spool) followUp(changes []queue.Change, files []*file) {
	w := s.watch()
	for i := range changes {
		c := &changes[i]
		if !c.Remove {
			s.shift(c, files[i])
			continue
		}
		if err := s.unlink(c.ID, files[i], w); err != nil {
			s.Logger.Warn("cannot remove", "id", c.ID, "error", err)
		}
	}
}

// undo is what takes back a step that was not completed.
type undo struct {
	id       string
	accepted []string
	ends     []mark
}

// mark says how long the file of a message was.
type mark struct {
	id  string
	end int64
}

const (
	undoMagic    = "mtakit undo 1\n\x00\x00"
	undoHead     = 24 // magic, length, checksum
	undoAccepted = 1
	undoEnd      = 2
)

func (u *undo) encode() []byte {
	e := encoder{make([]byte, undoHead)}
	for _, id := range u.accepted {
		e.str(undoAccepted, id)
	}
	for _, m := range u.ends {
		e.group(undoEnd, func() {
			e.str(1, m.id)
			e.int(2, m.end)
		})
	}
	copy(e.b, undoMagic)
	binary.BigEndian.PutUint32(e.b[16:], uint32(len(e.b)-undoHead))
	binary.BigEndian.PutUint32(e.b[20:], crc(e.b[undoHead:]))
	return e.b
}

// parseUndo fails for a log that was not written to its end: then nothing was
// done yet that it could take back.
func parseUndo(b []byte) (*undo, error) {
	if len(b) < undoHead || string(b[:16]) != undoMagic ||
		int64(binary.BigEndian.Uint32(b[16:])) != int64(len(b)-undoHead) ||
		binary.BigEndian.Uint32(b[20:]) != crc(b[undoHead:]) {
		return nil, errors.New("unfinished undo log")
	}
	u := new(undo)
	var err error
	for tag, v := range fields(b[undoHead:], &err) {
		switch tag {
		case undoAccepted:
			u.accepted = append(u.accepted, v.str())
		case undoEnd:
			u.ends = append(u.ends, v.end())
		}
	}
	return u, err
}

func (v value) end() (m mark) {
	for tag, v := range v.fields() {
		switch tag {
		case 1:
			m.id = v.str()
		case 2:
			m.end = v.int()
		}
	}
	return m
}

func (s *Spool) writeUndo(u *undo) error {
	epoch := s.undo.Epoch()
	f, err := s.FS.Open(s.undo.file(u.id), os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return fmt.Errorf("undo log: %w", err)
	}
	defer f.Close()
	if err := writeAll(f, u.encode(), 0); err != nil {
		return fmt.Errorf("undo log: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("undo log: sync: %w", err)
	}
	if err := s.undo.sync(epoch); err != nil {
		return fmt.Errorf("undo log: sync directory: %w", err)
	}
	return nil
}

// dropUndo is the moment at which the step is done.
func (s *Spool) dropUndo(u *undo) error {
	epoch := s.undo.Epoch()
	if err := s.remove(s.undo.file(u.id)); err != nil {
		return fmt.Errorf("undo log: %w", err)
	}
	if err := s.undo.sync(epoch); err != nil {
		return fmt.Errorf("undo log: sync directory: %w", err)
	}
	return nil
}

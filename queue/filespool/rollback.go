package filespool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/mtakit/mtakit/queue"
)

// debts are the steps that failed and could not be taken back yet, by the
// messages that they were to change. Their logs would undo, at the next Open,
// what is recorded of these messages meanwhile. So they are paid before that.
type debts struct {
	mu   sync.Mutex
	undo map[string]*undo
}

// rollBack takes back what a failed step has done. When that fails too the log
// stays, and it is done before the next change of these messages, or by Open.
func (s *Spool) rollBack(u *undo, files []*file) error {
	for i, m := range u.ends {
		files[i].end = m.end
		files[i].synced = min(files[i].synced, m.end)
	}
	err := s.takeAllBack(u)
	if err == nil {
		return nil
	}
	s.debts.mu.Lock()
	defer s.debts.mu.Unlock()
	for i, m := range u.ends { // readers stop at the old end, writers make a copy
		s.known.lose(m.id, files[i])
		s.debts.undo[m.id] = u
	}
	s.Logger.Error("cannot take back a failed commit yet", "undo", u.id, "error", err)
	return err
}

// pay takes back the failed step that a message was part of, if there is one.
func (s *Spool) pay(id string) error {
	s.debts.mu.Lock()
	defer s.debts.mu.Unlock()
	u := s.debts.undo[id]
	if u == nil {
		return nil
	}
	if err := s.takeAllBack(u); err != nil {
		return fmt.Errorf("filespool: message %s: an earlier step cannot be taken back: %w", id, err)
	}
	for _, m := range u.ends {
		delete(s.debts.undo, m.id)
	}
	return nil
}

// takeAllBack undoes a step and removes its log. The log may be gone already, by
// a removal whose sync failed: then it is written anew, so that a crash in
// between leaves no half of a step.
func (s *Spool) takeAllBack(u *undo) error {
	err := s.writeUndo(u)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		s.tidy(s.undo.file(u.id))
		return err
	}
	if err := s.restore(u); err != nil {
		return err
	}
	return s.dropUndo(u)
}

// restore brings messages and folders to where they were before a step.
func (s *Spool) restore(u *undo) error {
	for _, m := range u.ends {
		if err := s.cut(m); err != nil {
			return err
		}
	}
	for _, id := range u.accepted {
		for _, d := range []*directory{s.tmp, s.incoming, s.active, s.deferred, s.hold} {
			if err := s.takeAway(d, id); err != nil {
				return err
			}
		}
	}
	for _, d := range s.queues() {
		if !d.dirty() {
			continue
		}
		if err := d.sync(d.Epoch()); err != nil {
			return err
		}
	}
	return nil
}

// cut takes the records away that came behind m.end.
func (s *Spool) cut(m mark) error {
	f, d, err := s.openFile(m.id, os.O_RDWR)
	if errors.Is(err, queue.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil || size <= m.end {
		return err
	}
	if err := f.Truncate(m.end); err != nil {
		return fmt.Errorf("%s: %w", d.file(m.id), err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("%s: sync: %w", d.file(m.id), err)
	}
	return nil
}

package filespool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// maxAttrs bounds the names and values of Envelope.Attrs together.
const maxAttrs = 64 << 10

// Commit accepts messages and records changes in one step. See queue.Spool.
func (s *Spool) Commit(ctx context.Context, accept []queue.Accept, changes []queue.Change) ([]string, error) {
	done, err := s.enterToWrite()
	if err == nil {
		defer done()
		err = ctx.Err()
	}
	var drafts []*draft
	if err == nil {
		accept = slices.Clone(accept)
		drafts, err = s.own(accept)
	}
	if err != nil {
		discard(accept)
		return nil, err
	}
	switch {
	case len(accept) == 0:
		return nil, s.change(changes)
	case len(accept) == 1 && len(changes) == 0:
		err = s.accept(drafts[0], &accept[0])
	default:
		err = s.both(drafts, accept, changes)
	}
	for _, d := range drafts {
		d.Discard() // those that were not reached
	}
	if err != nil {
		return nil, reply(err)
	}
	return idsOf(drafts), nil
}

func idsOf(drafts []*draft) []string {
	ids := make([]string, len(drafts))
	for i, d := range drafts {
		ids[i] = d.id
	}
	return ids
}

func discard(accept []queue.Accept) {
	for _, a := range accept {
		if a.Draft != nil {
			a.Draft.Discard()
		}
	}
}

// own checks what is to be accepted and returns the drafts that hold it.
func (s *Spool) own(accept []queue.Accept) ([]*draft, error) {
	drafts := make([]*draft, len(accept))
	for i := range accept {
		a := &accept[i]
		d, ok := a.Draft.(*draft)
		switch {
		case !ok || d.spool != s:
			return nil, errors.New("filespool: draft of another spool")
		case d.gone:
			return nil, errGone
		case a.Envelope == nil:
			return nil, errors.New("filespool: no envelope")
		case attrsSize(a.Envelope) > maxAttrs:
			return nil, fmt.Errorf("filespool: attributes are longer than %d bytes", maxAttrs)
		}
		if !d.owns(a.Message) {
			var err error
			if d, err = d.replace(a.Message); err != nil {
				return nil, err
			}
			accept[i].Draft, accept[i].Message = d, nil
		}
		if a.Envelope.Arrival.IsZero() {
			env := *a.Envelope
			env.Arrival = time.Now()
			a.Envelope = &env
		}
		drafts[i] = d
	}
	return drafts, nil
}

func attrsSize(env *mtakit.Envelope) (n int) {
	for name, v := range env.Attrs {
		n += len(name) + len(v)
	}
	return n
}

// home returns where an accepted message lives.
func (s *Spool) home(a *queue.Accept) *directory {
	switch {
	case a.Envelope.Hold != "":
		return s.hold
	case a.Attempts > 0:
		return s.active
	case a.Next.After(time.Now()):
		return s.deferred
	}
	return s.incoming
}

// accept is the way of nearly all mail: the file is written and synced in tmp/,
// moved to where it lives, and that folder synced together with those of other
// sessions.
func (s *Spool) accept(d *draft, a *queue.Accept) error {
	f, err := d.finish(a)
	if err != nil {
		return err
	}
	f.dir, f.single = s.home(a), true
	defer s.known.arrive(d)()
	epoch := f.dir.Epoch()
	if err = s.settle(d.id, f); err == nil {
		err = f.dir.sync(epoch)
	}
	switch {
	case err == nil:
		s.remember(d.id, f)
		return nil
	case errors.Is(err, fs.ErrExist): // that is somebody else's
		s.tidy(s.tmp.file(d.id))
	default:
		s.takeBack(d.id, f)
	}
	return fmt.Errorf("message %s: %w", d.id, err)
}

// settle moves a finished file to where it lives.
func (s *Spool) settle(id string, f *file) error {
	s.moving.RLock()
	defer s.moving.RUnlock()
	return s.FS.Move(s.tmp.file(id), f.dir.file(id))
}

// takeBack removes a message that was not acknowledged, and tries to make that
// durable.
func (s *Spool) takeBack(id string, f *file) {
	s.tidy(s.tmp.file(id))
	s.tidy(f.dir.file(id))
	if err := f.dir.sync(f.dir.Epoch()); err != nil {
		s.Logger.Error("cannot sync the removal of a message that was not accepted", "id", id, "error", err)
	}
}

// remember keeps what is known of a message that is about to be worked on.
func (s *Spool) remember(id string, f *file) {
	if f.dir == s.incoming || f.dir == s.active {
		s.known.put(id, f)
	}
}

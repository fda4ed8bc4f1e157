package filespool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"time"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// maxAttrs bounds the names and values of Envelope.Attrs together.
const maxAttrs = 64 << 10

// Commit accepts messages and records changes in one step, which is one record
// of the journal. See queue.Spool.
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
	err = s.record(drafts, accept, changes)
	for _, d := range drafts {
		d.end(err == nil)
	}
	s.busyNow()
	s.tidyUp()
	switch {
	case err == nil:
		return idsOf(drafts), nil
	case len(accept) > 0:
		return nil, reply(err)
	}
	return nil, fmt.Errorf("filespool: %w", err)
}

// record makes the step and has it written.
func (s *Spool) record(drafts []*draft, accept []queue.Accept, changes []queue.Change) error {
	st := new(step)
	for i := range changes {
		n, err := s.checkChange(&changes[i])
		if err != nil {
			return err
		}
		st.change(&changes[i], n)
	}
	if len(drafts) > 0 {
		if err := s.waitForRoom(); err != nil {
			return err
		}
	}
	for i, d := range drafts {
		if s.index.knows(d.id) {
			return fmt.Errorf("message %s: %w", d.id, fs.ErrExist)
		}
		if err := d.finish(&accept[i]); err != nil {
			return fmt.Errorf("message %s: %w", d.id, err)
		}
		if d.file == nil {
			st.message(d.id, d.buf, len(accept[i].Envelope.Recipients))
		} else {
			st.file(d.id, len(accept[i].Envelope.Recipients))
		}
	}
	if len(st.parts) == 0 {
		return nil
	}
	if err := s.journal.commit(st); err != nil {
		return err
	}
	for _, id := range st.gone {
		if err := s.unlink(id, nil); err != nil { // retire tries again
			s.Logger.Warn("cannot remove", "id", id, "error", err)
		}
	}
	return nil
}

// checkChange finds out whether there is such a message and such recipients, and
// returns how many there are.
func (s *Spool) checkChange(c *queue.Change) (recipients int, err error) {
	n, err := s.recipients(c.ID)
	if err != nil {
		return 0, err
	}
	for _, list := range [2][]queue.Mark{c.Marks, c.Results} {
		for _, m := range list {
			if m.Recipient < 0 || m.Recipient >= n || m.State > queue.Notified {
				return 0, fmt.Errorf("message %s: no recipient %d or no state %d", c.ID, m.Recipient, m.State)
			}
		}
	}
	return n, nil
}

// recipients returns how many recipients a message has.
func (s *Spool) recipients(id string) (int, error) {
	if t, found, gone := s.index.get(id); found && !gone && t.recipients >= 0 {
		return t.recipients, nil
	}
	im, err := s.load(id, -1)
	if err != nil {
		return 0, err
	}
	n := len(im.envelope.Recipients)
	s.index.counted(id, n)
	return n, nil
}

// waitForRoom lets new messages wait while the journal is twice as large as it
// should be: what is in it has to get files of its own, and these are slower.
func (s *Spool) waitForRoom() error {
	x := &s.index
	for {
		x.mu.RLock()
		full := x.full(s.Journal)
		x.mu.RUnlock()
		if !full || s.inline {
			return nil
		}
		s.tidyUp()
		s.cleaner.mu.Lock()
		running, err := s.cleaner.running, s.cleaner.err
		s.cleaner.mu.Unlock()
		switch {
		case err != nil:
			return fmt.Errorf("the journal is full, and cannot be emptied: %w", err)
		case running:
			s.waitForCleaner()
		case s.isClosed():
			return fmt.Errorf("the journal is full: %w", syscall.ENOSPC)
		}
	}
}

// waitForCleaner returns when the cleaner has given up a segment, or rests.
func (s *Spool) waitForCleaner() {
	x, c := &s.index, &s.cleaner
	x.mu.Lock()
	defer x.mu.Unlock()
	c.mu.Lock()
	running := c.running
	c.mu.Unlock()
	if running && x.full(s.Journal) {
		x.changed.Wait()
	}
}

// full tells whether the journal is twice as large as it should be. Under mu.
func (x *index) full(size int64) bool {
	return len(x.segments) > 1 && (x.size > 2*size || len(x.tracked) > 2*mostTracked)
}

// counted notes how many recipients a message has.
func (x *index) counted(id string, n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if t := x.tracked[id]; t != nil {
		t.recipients = n
	}
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
		case d.gone || slices.Contains(drafts[:i], d):
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

// start is what the acceptance records of a message.
func start(a *queue.Accept) queue.Change {
	return queue.Change{
		Attempts: a.Attempts, Next: a.Next, Hold: a.Envelope.Hold,
		Defer: a.Attempts == 0 && a.Next.After(time.Now()),
	}
}

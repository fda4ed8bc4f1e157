package control

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/mtakit/mtakit/queue"
)

// AtRest is the Queue of a spool without a manager. What it changes is written
// down, and heeded by the manager at its next start.
type AtRest struct {
	Spool queue.Spool // Required.
}

var (
	_ Queue = (*queue.Manager)(nil)
	_ Queue = AtRest{}
)

// Entries yields every message.
func (r AtRest) Entries(ctx context.Context) iter.Seq2[queue.Entry, error] {
	return r.Spool.Entries(ctx)
}

// Open returns everything that is known of a message.
func (r AtRest) Open(ctx context.Context, id string) (*queue.Stored, error) {
	return r.Spool.Open(ctx, id)
}

func (r AtRest) commit(ctx context.Context, c queue.Change) error {
	_, err := r.Spool.Commit(ctx, nil, []queue.Change{c})
	return err
}

// Hold puts a message on hold.
func (r AtRest) Hold(ctx context.Context, id, reason string) error {
	if reason == "" {
		reason = "held"
	}
	return r.commit(ctx, queue.Change{ID: id, Hold: reason})
}

// Release takes a message off hold, and makes it due.
func (r AtRest) Release(ctx context.Context, id string) error {
	return r.commit(ctx, queue.Change{ID: id, Release: true, Next: time.Now()})
}

// Remove forgets a message.
func (r AtRest) Remove(ctx context.Context, id string) error {
	return r.commit(ctx, queue.Change{ID: id, Remove: true})
}

// Expire has a message given up, also one on hold.
func (r AtRest) Expire(ctx context.Context, id string) error {
	return r.commit(ctx, queue.Change{ID: id, Expire: true, Release: true, Next: time.Now()})
}

// Requeue has a message accepted anew, also one on hold.
func (r AtRest) Requeue(ctx context.Context, id string) error {
	return r.commit(ctx, queue.Change{ID: id, Requeue: true, Release: true, Next: time.Now()})
}

// Retry makes a message due. One on hold is queue.ErrNotFound: it does not wait.
func (r AtRest) Retry(ctx context.Context, id string) error {
	s, err := r.Spool.Open(ctx, id)
	if err != nil {
		return err
	}
	if s.Hold != "" {
		return fmt.Errorf("%s: %w", id, queue.ErrNotFound)
	}
	return r.commit(ctx, queue.Change{ID: id, Next: time.Now()})
}

// Flush makes everything due that is not on hold.
func (r AtRest) Flush(ctx context.Context) error {
	_, err := r.QueueRun(ctx, queue.QueueRun{})
	return err
}

// FlushSite makes due what is for a domain, or below ".example.org".
func (r AtRest) FlushSite(ctx context.Context, site string) error {
	s := Selection{Site: site}
	_, err := r.QueueRun(ctx, queue.QueueRun{Match: func(e *queue.Entry) bool { return s.Match(e, time.Now()) }})
	return err
}

// QueueRun makes due what is selected and not on hold, and returns how many
// messages that are. An order cannot be written down: it is ErrUnsupported.
func (r AtRest) QueueRun(ctx context.Context, q queue.QueueRun) (n int, err error) {
	if q.Sort != "" {
		return 0, fmt.Errorf("%w: only a running server tries mail in an order", ErrUnsupported)
	}
	now := time.Now()
	for e, err := range r.Spool.Entries(ctx) {
		if _, corrupt := errors.AsType[*queue.CorruptError](err); corrupt {
			continue
		}
		if err != nil {
			return n, err
		}
		if e.Hold != "" || e.Pending == 0 || q.Match != nil && !q.Match(&e) {
			continue
		}
		if q.MatchStored != nil {
			s, err := r.Spool.Open(ctx, e.ID)
			if err != nil && OfOne(err) {
				continue
			}
			if err != nil {
				return n, err
			}
			if !q.MatchStored(s) {
				continue
			}
		}
		if e.Next.After(now) {
			err = r.commit(ctx, queue.Change{ID: e.ID, Next: now})
		}
		if errors.Is(err, queue.ErrNotFound) {
			continue
		}
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

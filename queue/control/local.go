package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mtakit/mtakit/queue"
)

// Queue is what is operated on. *queue.Manager is one, and so is AtRest. Its
// methods are called from many goroutines, but no two at a time for one message
// by the same caller.
type Queue interface {
	Entries(ctx context.Context) iter.Seq2[queue.Entry, error]
	Open(ctx context.Context, id string) (*queue.Stored, error)

	Hold(ctx context.Context, id, reason string) error
	Release(ctx context.Context, id string) error
	Remove(ctx context.Context, id string) error
	Expire(ctx context.Context, id string) error
	Requeue(ctx context.Context, id string) error
	Retry(ctx context.Context, id string) error

	Flush(ctx context.Context) error
	FlushSite(ctx context.Context, site string) error
	QueueRun(ctx context.Context, r queue.QueueRun) (int, error)
}

// Checker verifies all checksums of a message. A damaged one is a
// *queue.CorruptError, and has been moved out of the way unless the spool is
// open for reading only. *filespool.Spool is one.
type Checker interface {
	Check(ctx context.Context, id string) error
}

// Operation is what can be done with single messages.
type Operation string

// The operations, in the words of Postfix's postsuper and postqueue.
const (
	Hold    Operation = "hold"    // no delivery until it is released
	Release Operation = "release" // from hold, and try at once
	Delete  Operation = "delete"  // forget it; nobody is told
	Expire  Operation = "expire"  // give it up without a further attempt; its sender is told
	Requeue Operation = "requeue" // accept it anew, through the filters, under a new ID
	Flush   Operation = "flush"   // try at once
)

// Operations returns all of them.
func Operations() []Operation { return []Operation{Hold, Release, Delete, Expire, Requeue, Flush} }

// Query asks for a listing.
type Query struct {
	Selection
	// Brief leaves out recipients and their reasons: messages need not be opened.
	Brief bool `json:"brief,omitempty"`
	// Receipts has messages listed that are over, and are kept only to know their
	// key again. Without it, they are not, unless they are asked for by ID.
	Receipts bool `json:"receipts,omitempty"`
}

// Local does everything here, in this process. Client does the same through a
// server's socket. Its fields are not changed while it is used.
type Local struct {
	Queue   Queue   // Required.
	Checker Checker // nil means that Check is ErrUnsupported
	Corrupt string  // the directory for damaged messages, each with NAME.reason beside it; "" means none
	// Maildrop is the directory of a queue.Maildrop. What waits there is listed and
	// shown too, under the names of the files; nothing else can be done with it. ""
	// means none.
	Maildrop string
}

// List yields the messages that are meant, in any order. A message that is
// damaged, or was asked for by its ID and is not there, is yielded as a
// *queue.CorruptError or queue.ErrNotFound, and the iteration goes on. Any other
// error ends it.
//
// What was put aside in Corrupt is yielded only when the queue "corrupt" is asked
// for.
func (l *Local) List(ctx context.Context, q Query) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		if err := q.Check(); err != nil {
			yield(Message{}, err)
			return
		}
		switch q.Queue {
		case inMaildrop:
			l.listDropped(ctx, &q, yield)
		case inCorrupt:
			l.listCorrupt(ctx, &q, yield)
		case "":
			// First: what the server takes meanwhile is seen twice rather than never.
			if q.exact() || l.listDropped(ctx, &q, yield) {
				l.listStored(ctx, q, true)(yield)
			}
		default:
			l.listStored(ctx, q, false)(yield)
		}
	}
}

// listStored yields what the spool has and is meant. Of what it does not have, drops
// says that it is looked for in the maildrop.
func (l *Local) listStored(ctx context.Context, q Query, drops bool) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		now := time.Now()
		for e, err := range l.entries(ctx, &q.Selection) {
			if drops && errors.Is(err, queue.ErrNotFound) {
				if m, ok := l.findDropped(e.ID, &q, now); ok {
					if !yield(m, nil) {
						return
					}
					continue
				}
			}
			if err != nil {
				if !yield(Message{ID: e.ID}, err) {
					return
				}
				continue
			}
			if !q.Match(&e, now) || e.Pending == 0 && !q.Receipts && !q.exact() {
				continue
			}
			m, ok, err := l.message(ctx, &q, &e)
			if !ok && err == nil {
				continue
			}
			if !yield(m, err) || err != nil && !OfOne(err) {
				return
			}
		}
	}
}

// OfOne says whether an error of List concerns one message alone, so that the
// others are still to come: it is damaged, or not there.
func OfOne(err error) bool {
	_, corrupt := errors.AsType[*queue.CorruptError](err)
	return corrupt || errors.Is(err, queue.ErrNotFound)
}

// entries yields everything, or the messages that are asked for by their IDs.
func (l *Local) entries(ctx context.Context, s *Selection) iter.Seq2[queue.Entry, error] {
	if !s.exact() {
		return l.Queue.Entries(ctx)
	}
	return func(yield func(queue.Entry, error) bool) {
		for _, id := range distinct(s.IDs) {
			m, err := l.Queue.Open(ctx, id)
			e := queue.Entry{ID: id}
			if err == nil {
				e = m.Entry
			}
			if !yield(e, err) || err != nil && !OfOne(err) {
				return
			}
		}
	}
}

func distinct(ids []string) []string {
	seen := make(map[string]bool, len(ids))
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		again := seen[id]
		seen[id] = true
		return again
	})
}

// message is what is yielded of an entry. One that has gone meanwhile is not.
func (l *Local) message(ctx context.Context, q *Query, e *queue.Entry) (m Message, ok bool, err error) {
	m = brief(e)
	if q.Brief && q.Recipient == "" {
		return m, true, nil
	}
	s, err := l.Queue.Open(ctx, e.ID)
	if errors.Is(err, queue.ErrNotFound) {
		return m, false, nil
	}
	if err != nil {
		return m, false, err
	}
	if !q.MatchRecipients(s) {
		return m, false, nil
	}
	if q.Brief {
		return m, true, nil
	}
	return full(m, s), true, nil
}

// Show returns all that is known of a message, and its text, Details.Length
// bytes, for the caller to close.
func (l *Local) Show(ctx context.Context, id string) (Details, io.ReadCloser, error) {
	s, err := l.Queue.Open(ctx, id)
	if errors.Is(err, queue.ErrNotFound) {
		d, text, dropErr := l.showDropped(id)
		if dropErr == nil {
			return d, text, nil
		}
		if err = l.elsewhere(id, err); errors.Is(dropErr, queue.ErrSubmission) {
			err = fmt.Errorf("%w: %s in the maildrop: %w", ErrUnsupported, id, dropErr)
		}
	}
	if err != nil {
		return Details{}, nil, err
	}
	text, err := s.Message.Open()
	if err != nil {
		return Details{}, nil, err
	}
	return details(s, s.Message.Size()), text, nil
}

// together is how many messages are changed at a time: a spool can make the
// changes durable together.
const together = 32

// busyTime is how long a message that is busy is waited for.
const busyTime = 2 * time.Second

// Do does one thing to messages, and yields each ID with nil or the reason why it
// was not done. reason is for Hold. An error with no ID ends it.
func (l *Local) Do(ctx context.Context, op Operation, ids []string, reason string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if !slices.Contains(Operations(), op) {
			yield("", fmt.Errorf("%w: no operation %q", ErrUsage, op))
			return
		}
		for some := range slices.Chunk(distinct(ids), together) {
			errs := make([]error, len(some))
			var group sync.WaitGroup
			for i, id := range some {
				group.Go(func() { errs[i] = l.patiently(ctx, op, id, reason) })
			}
			group.Wait()
			for i, id := range some {
				if !yield(id, errs[i]) {
					return
				}
			}
		}
	}
}

// patiently does one thing to a message, and waits for one that is busy.
func (l *Local) patiently(ctx context.Context, op Operation, id, reason string) error {
	until := time.Now().Add(busyTime)
	for {
		err := ctx.Err()
		if err == nil {
			err = l.do(ctx, op, id, reason)
		}
		if errors.Is(err, queue.ErrNotFound) {
			err = l.elsewhere(id, err)
		}
		if !errors.Is(err, queue.ErrBusy) || time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(busyTime / 100):
		}
	}
}

func (l *Local) do(ctx context.Context, op Operation, id, reason string) error {
	switch op {
	case Hold:
		return l.Queue.Hold(ctx, id, reason)
	case Release:
		return l.Queue.Release(ctx, id)
	case Delete:
		return l.Queue.Remove(ctx, id)
	case Expire:
		return l.Queue.Expire(ctx, id)
	case Requeue:
		return l.Queue.Requeue(ctx, id)
	}
	return l.retry(ctx, id)
}

// retry makes a message due. One that is active is being tried.
func (l *Local) retry(ctx context.Context, id string) error {
	err := l.Queue.Retry(ctx, id)
	if !errors.Is(err, queue.ErrNotFound) {
		return err
	}
	s, err := l.Queue.Open(ctx, id)
	if err == nil && s.Hold != "" {
		return fmt.Errorf("%s: %w", id, ErrHeld)
	}
	return err
}

// Flush has everything tried at once that waits; with a site, what is for that
// domain, or below ".example.org".
func (l *Local) Flush(ctx context.Context, site string) error {
	if site == "" {
		return l.Queue.Flush(ctx)
	}
	return l.Queue.FlushSite(ctx, site)
}

// Run is which messages are to be tried at once, and in which order.
type Run struct {
	Selection
	Sort queue.SortOrder `json:"sort,omitempty"` // "" means none in particular
}

// check returns an error for what no queue can do.
func (r *Run) check() error {
	switch r.Sort {
	case "", queue.SortPriority, queue.SortHost, queue.SortFilename, queue.SortTime, queue.SortRandom:
	default:
		return fmt.Errorf("%w: no order %q: want priority, host, filename, time or random", ErrUsage, string(r.Sort))
	}
	if r.Queue == inMaildrop || r.Queue == inCorrupt {
		return fmt.Errorf("%w: mail in %s cannot be tried", ErrUsage, r.Queue)
	}
	return r.Selection.Check()
}

// QueueRun has those tried at once that wait and are meant, and returns how many
// they are. What is held stays held.
func (l *Local) QueueRun(ctx context.Context, r Run) (int, error) {
	if err := r.check(); err != nil {
		return 0, err
	}
	q := queue.QueueRun{Sort: r.Sort}
	if !r.All() {
		now := time.Now()
		q.Match = func(e *queue.Entry) bool { return r.Match(e, now) }
	}
	if r.Recipient != "" {
		q.MatchStored = r.MatchRecipients
	}
	return l.Queue.QueueRun(ctx, q)
}

// Check verifies all checksums of the messages that are meant, and yields each
// ID with nil or what is wrong with it. An error with no ID ends it.
func (l *Local) Check(ctx context.Context, q Query) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if l.Checker == nil {
			yield("", fmt.Errorf("%w: this spool has no checksums", ErrUnsupported))
			return
		}
		if err := q.Selection.Check(); err != nil {
			yield("", err)
			return
		}
		q.Brief, q.Receipts = true, true
		for m, err := range l.listStored(ctx, q, false) {
			corrupt, ok := errors.AsType[*queue.CorruptError](err)
			switch {
			case ok:
				m.ID = corrupt.ID
			case err == nil:
				err = l.Checker.Check(ctx, m.ID)
				if errors.Is(err, queue.ErrNotFound) {
					continue // delivered meanwhile
				}
			case !OfOne(err):
				yield("", err)
				return
			}
			if !yield(m.ID, err) {
				return
			}
		}
	}
}

// Remains is a damaged message that was put aside.
type Remains struct {
	Name   string    `json:"name"` // of the file
	Reason string    `json:"reason"`
	Size   int64     `json:"size"` // bytes
	Time   time.Time `json:"time"` // of its last change
}

// reasonLimit is how much of a reason is read.
const reasonLimit = 4096

// Damaged returns what was put aside, by name.
func (l *Local) Damaged(context.Context) ([]Remains, error) {
	if l.Corrupt == "" {
		return nil, nil
	}
	files, err := os.ReadDir(l.Corrupt)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []Remains
	for _, f := range files {
		info, err := f.Info()
		if err != nil || !info.Mode().IsRegular() || strings.HasSuffix(f.Name(), ".reason") {
			continue
		}
		list = append(list, Remains{Name: f.Name(), Reason: readReason(filepath.Join(l.Corrupt, f.Name()+".reason")),
			Size: info.Size(), Time: info.ModTime().UTC()})
	}
	return list, nil
}

func readReason(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, reasonLimit))
	return strings.TrimSpace(string(b))
}

package queue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// spool is the plainest spool that keeps the contract, with a fault that a test
// can turn on: it is the ground that the manager's tests stand on, so that they
// know exactly what was recorded when.
type spool struct {
	mu      sync.Mutex
	next    int
	stored  map[string]*queue.Stored
	commits int // done so far
	fail    func(n int, accept []queue.Accept, changes []queue.Change) error
	busy    map[string]bool // messages that a Commit changes right now
	races   []string        // broken rules
	latency time.Duration   // of a Commit
	slow    time.Duration   // of one that accepts nothing, beside that
}

func newSpool() *spool {
	return &spool{stored: make(map[string]*queue.Stored), busy: make(map[string]bool)}
}

var errDisk = errors.New("disk on fire")

type draft struct {
	bytes.Buffer
	s *spool
}

func (d *draft) Message(context.Context) (*mtakit.Message, error) {
	return mtakit.NewMessage(d.Bytes()), nil
}

func (d *draft) Commit(ctx context.Context, env *mtakit.Envelope, m *mtakit.Message) (string, error) {
	ids, err := d.s.Commit(ctx, []queue.Accept{{Draft: d, Envelope: env, Message: m}}, nil)
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

func (d *draft) Discard() error { return nil }

func (s *spool) Begin(context.Context, int64) (mtakit.Draft, error) { return &draft{s: s}, nil }

func (s *spool) Commit(_ context.Context, accept []queue.Accept, changes []queue.Change) ([]string, error) {
	if err := s.enter(accept, changes); err != nil {
		return nil, err
	}
	s.mu.Lock()
	latency := s.latency
	if len(accept) == 0 {
		latency += s.slow
	}
	s.mu.Unlock()
	if latency > 0 {
		time.Sleep(latency)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range changes {
		delete(s.busy, c.ID)
		if s.stored[c.ID] == nil {
			return nil, fmt.Errorf("%s: %w", c.ID, queue.ErrNotFound)
		}
	}
	var ids []string
	for _, a := range accept {
		ids = append(ids, s.accept(a))
	}
	for _, c := range changes {
		s.change(c)
	}
	return ids, nil
}

func (s *spool) enter(accept []queue.Accept, changes []queue.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits++
	if s.fail != nil {
		if err := s.fail(s.commits, accept, changes); err != nil {
			return err
		}
	}
	for _, c := range changes {
		if s.busy[c.ID] {
			s.races = append(s.races, c.ID)
		}
		s.busy[c.ID] = true
	}
	return nil
}

func (s *spool) accept(a queue.Accept) string {
	m := a.Message
	if m == nil {
		m = mtakit.NewMessage(bytes.Clone(a.Draft.(*draft).Bytes()))
	}
	s.next++
	id := fmt.Sprintf("M%d", s.next)
	e := a.Envelope.Clone()
	s.stored[id] = &queue.Stored{
		Entry: queue.Entry{ID: id, Queue: "incoming", Sender: e.Sender, Size: m.Size(), Pending: len(e.Recipients),
			Arrival: e.Arrival, Next: a.Next, Attempts: a.Attempts, Hold: e.Hold, Key: a.Key},
		Envelope: e, Message: m, Marks: make([]queue.Mark, len(e.Recipients)),
	}
	for i := range s.stored[id].Marks {
		s.stored[id].Marks[i].Recipient = i
	}
	return id
}

func (s *spool) change(c queue.Change) {
	m := s.stored[c.ID]
	if c.Attempts > 0 {
		m.Attempts, m.Queue = c.Attempts, "active"
	}
	if !c.Next.IsZero() {
		m.Next = c.Next
	}
	for _, mark := range c.Results {
		m.Marks[mark.Recipient].Result = mark.Result
	}
	for _, mark := range c.Marks {
		m.Marks[mark.Recipient] = mark
	}
	if c.Hold != "" {
		m.Hold, m.Queue = c.Hold, "hold"
	}
	if c.Release {
		m.Hold, m.Queue = "", "deferred"
	}
	if c.Defer {
		m.Site = c.Site
	}
	if c.Defer && m.Hold == "" {
		m.Queue = "deferred"
	}
	m.Warned, m.Expire, m.Requeue = m.Warned || c.Warned, m.Expire || c.Expire, m.Requeue || c.Requeue
	m.Panics = max(m.Panics, c.Panics)
	m.Pending = 0
	for i := range m.Marks {
		if m.Marks[i].State == queue.Pending || m.Marks[i].State == queue.Failed {
			m.Pending++
		}
	}
	if c.Remove {
		delete(s.stored, c.ID)
	}
}

func (s *spool) Entries(context.Context) iter.Seq2[queue.Entry, error] {
	s.mu.Lock()
	defer s.mu.Unlock()
	var entries []queue.Entry
	for _, m := range s.stored {
		e := m.Entry
		e.Domains = queue.Domains(m.Envelope.Recipients, m.Marks)
		entries = append(entries, e)
	}
	return func(yield func(queue.Entry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (s *spool) Open(_ context.Context, id string) (*queue.Stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.stored[id]
	if m == nil {
		return nil, fmt.Errorf("%s: %w", id, queue.ErrNotFound)
	}
	c := *m
	c.Envelope = m.Envelope.Clone()
	c.Message = &mtakit.Message{Header: m.Message.Header.Clone(), Body: m.Message.Body}
	c.Marks = append([]queue.Mark(nil), m.Marks...)
	return &c, nil
}

func (s *spool) Close() error { return nil }

// get returns a copy of a message, or nil.
func (s *spool) get(id string) *queue.Stored {
	m, err := s.Open(context.Background(), id)
	if err != nil {
		return nil
	}
	return m
}

func (s *spool) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.stored)
}

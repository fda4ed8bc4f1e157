package memspool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// Spool is a queue.Spool in memory. The zero value is empty and ready.
type Spool struct {
	mu       sync.Mutex
	closed   bool
	last     int64
	messages map[string]*message
}

var _ queue.Spool = (*Spool)(nil)

var errClosed = errors.New("memspool: closed")

// message is never changed: a change puts a new one in its place.
type message struct {
	queue.Entry
	envelope *mtakit.Envelope
	header   []byte
	body     mtakit.Bytes
	marks    []queue.Mark
}

// Begin starts a message.
func (s *Spool) Begin(context.Context, int64) (mtakit.Draft, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	return &draft{spool: s}, nil
}

// Commit accepts messages and records changes in one step.
func (s *Spool) Commit(ctx context.Context, accept []queue.Accept, changes []queue.Change) ([]string, error) {
	defer func() {
		for _, a := range accept {
			if a.Draft != nil {
				a.Draft.Discard()
			}
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	accepted := make([]*message, len(accept))
	for i := range accept {
		m, err := s.accepted(&accept[i])
		if err != nil {
			return nil, fmt.Errorf("memspool: %w", err)
		}
		accepted[i] = m
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	changed, err := s.changed(changes)
	if err != nil {
		return nil, fmt.Errorf("memspool: %w", err)
	}
	return s.put(accepted, changes, changed), nil
}

// accepted makes a message of a draft.
func (s *Spool) accepted(a *queue.Accept) (*message, error) {
	d, ok := a.Draft.(*draft)
	if !ok || d.spool != s || d.gone || a.Envelope == nil {
		return nil, errors.New("no draft of this spool, or no envelope")
	}
	content, err := a.Message, error(nil)
	if content == nil {
		if content, err = d.Message(context.Background()); err != nil {
			return nil, err
		}
	}
	body, err := read(content.Body)
	if err != nil {
		return nil, err
	}
	m := &message{envelope: a.Envelope.Clone(), header: content.Header.Bytes(), body: body}
	if m.envelope.Arrival.IsZero() {
		m.envelope.Arrival = time.Now()
	}
	m.marks = make([]queue.Mark, len(m.envelope.Recipients))
	for i := range m.marks {
		m.marks[i].Recipient = i
	}
	m.Entry = queue.Entry{
		Queue: home(a), Sender: m.envelope.Sender, Size: content.Size(), Pending: len(m.marks),
		Arrival: m.envelope.Arrival, Next: a.Next, Attempts: a.Attempts,
		Priority: m.envelope.Priority, Hold: m.envelope.Hold, Key: a.Key,
		Domains: queue.Domains(m.envelope.Recipients, m.marks),
	}
	return m, nil
}

func home(a *queue.Accept) string {
	switch {
	case a.Envelope.Hold != "":
		return "hold"
	case a.Attempts > 0:
		return "active"
	case a.Next.After(time.Now()):
		return "deferred"
	}
	return "incoming"
}

// changed returns the messages as they are after the changes, nil for those
// that are removed.
func (s *Spool) changed(changes []queue.Change) ([]*message, error) {
	changed := make([]*message, len(changes))
	earlier := map[string]*message{} // a message may be changed twice in one step
	for i := range changes {
		c := &changes[i]
		m := cmp.Or(earlier[c.ID], s.messages[c.ID])
		if m == nil {
			return nil, fmt.Errorf("%w: %s", queue.ErrNotFound, c.ID)
		}
		for _, mark := range slices.Concat(c.Marks, c.Results) {
			if mark.Recipient < 0 || mark.Recipient >= len(m.marks) || mark.State > queue.Notified {
				return nil, fmt.Errorf("message %s: no recipient %d or no state %d", c.ID, mark.Recipient, mark.State)
			}
		}
		if !c.Remove {
			changed[i] = m.change(c)
			earlier[c.ID] = changed[i]
		}
	}
	return changed, nil
}

func (m *message) change(c *queue.Change) *message {
	n := *m
	n.marks = slices.Clone(m.marks)
	n.Attempts = cmp.Or(c.Attempts, n.Attempts)
	if !c.Next.IsZero() {
		n.Next = c.Next
	}
	for _, r := range c.Results {
		r.State = n.marks[r.Recipient].State
		n.marks[r.Recipient] = r
	}
	for _, mark := range c.Marks {
		n.marks[mark.Recipient] = mark
	}
	n.Pending = 0
	for _, mark := range n.marks {
		if mark.State == queue.Pending || mark.State == queue.Failed {
			n.Pending++
		}
	}
	n.Domains = queue.Domains(n.envelope.Recipients, n.marks)
	n.Warned = n.Warned || c.Warned
	n.Expire = n.Expire || c.Expire
	n.Requeue = n.Requeue || c.Requeue
	n.Panics = cmp.Or(c.Panics, n.Panics)
	if c.Defer {
		n.Site = c.Site
	}
	n.place(c)
	return &n
}

func (m *message) place(c *queue.Change) {
	if c.Release {
		m.Hold, m.Queue = "", "incoming"
	}
	switch {
	case c.Hold != "":
		m.Hold, m.Queue = c.Hold, "hold"
	case c.Defer && m.Hold == "":
		m.Queue = "deferred"
	}
}

func (s *Spool) put(accepted []*message, changes []queue.Change, changed []*message) []string {
	if s.messages == nil {
		s.messages = map[string]*message{}
	}
	ids := make([]string, len(accepted))
	for i, m := range accepted {
		s.last = max(s.last+1, time.Now().UnixMicro())
		m.ID = strconv.FormatInt(s.last, 36)
		ids[i] = m.ID
		s.messages[m.ID] = m
	}
	for i, c := range changes {
		if changed[i] == nil {
			delete(s.messages, c.ID)
		} else {
			s.messages[c.ID] = changed[i]
		}
	}
	return ids
}

// Entries yields every message that was there when it was called.
func (s *Spool) Entries(ctx context.Context) iter.Seq2[queue.Entry, error] {
	return func(yield func(queue.Entry, error) bool) {
		entries, err := s.list()
		if err != nil {
			yield(queue.Entry{}, err)
			return
		}
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				yield(queue.Entry{}, err)
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (s *Spool) list() ([]queue.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	entries := make([]queue.Entry, 0, len(s.messages))
	for _, m := range s.messages {
		entries = append(entries, m.Entry)
	}
	return entries, nil
}

// Open returns everything that is known of a message.
func (s *Spool) Open(_ context.Context, id string) (*queue.Stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	m := s.messages[id]
	if m == nil {
		return nil, fmt.Errorf("memspool: %w: %s", queue.ErrNotFound, id)
	}
	env := m.envelope.Clone()
	env.Hold = m.Hold
	header, _ := mtakit.ParseHeader(m.header)
	return &queue.Stored{Entry: m.Entry, Envelope: env, Marks: slices.Clone(m.marks),
		Message: &mtakit.Message{Header: header, Body: m.body}}, nil
}

// Close makes every later use fail.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

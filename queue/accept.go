package queue

import (
	"context"
	"time"

	"github.com/mtakit/mtakit"
)

// Begin starts a message, see Queue. It works from the first moment on, also
// before Serve and after Shutdown: what is committed then waits in the spool.
func (m *Manager) Begin(ctx context.Context, size int64) (mtakit.Draft, error) {
	m.setup()
	d, err := m.Spool.Begin(ctx, size)
	if err != nil {
		return nil, err
	}
	return &draft{Draft: d, m: m}, nil
}

// draft is the spool's, and schedules what it has committed.
type draft struct {
	mtakit.Draft
	m *Manager
}

// Commit accepts the message: state 2 of the package's documentation.
func (d *draft) Commit(ctx context.Context, env *mtakit.Envelope, msg *mtakit.Message) (string, error) {
	e := *env
	if e.Arrival.IsZero() {
		e.Arrival = time.Now()
	}
	return d.m.commitOne(ctx, d.m.accept(d.Draft, &e, msg), nil)
}

// commitOne has the spool accept one message.
func (m *Manager) commitOne(ctx context.Context, a Accept, results Results) (string, error) {
	ids, err := m.Spool.Commit(ctx, []Accept{a}, nil)
	if err != nil {
		m.unreserve(a)
		return "", err
	}
	if results != nil {
		m.watch(ids[0], a.Envelope, results)
	}
	m.accepted(ids[0], a)
	return ids[0], nil
}

// accept keeps a place in the active queue for a message when there is one, so
// that its first attempt is recorded together with it.
func (m *Manager) accept(d mtakit.Draft, e *mtakit.Envelope, msg *mtakit.Message) Accept {
	a := Accept{Draft: d, Envelope: e, Message: msg, Next: e.NotBefore}
	now := time.Now()
	if e.Hold == "" && !e.NotBefore.After(now) && m.reserve() {
		a.Attempts, a.Next = 1, now.Add(m.retry(e, now))
	}
	return a
}

func (m *Manager) reserve() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.phase != serving || m.active >= m.activeLimit() || m.waiting.due() <= m.now() {
		return false
	}
	m.active++
	return true
}

func (m *Manager) unreserve(a Accept) {
	if a.Attempts == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left()
}

// left counts a message out of the active queue. Under mu.
func (m *Manager) left() {
	m.active--
	if m.waiting.due() <= m.now() {
		m.kick()
	}
}

// accepted schedules a message that is in the spool now.
func (m *Manager) accepted(id string, a Accept) {
	m.observeAccepted(id, a)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.receipts.add(id, a.Key)
	switch {
	case a.Envelope.Hold != "":
		return
	case m.knows(id) || m.phase != serving && a.Attempts > 0:
		// It was found in the spool before its commit returned, or it stays there
		// until the next start.
		if a.Attempts > 0 {
			m.left()
		}
		return
	}
	if a.Attempts > 0 {
		m.begin(waiter{id: id}, true)
		return
	}
	m.park(waiter{id: id, due: m.in(time.Until(a.Envelope.NotBefore)), incoming: true})
}

func (m *Manager) observeAccepted(id string, a Accept) {
	if m.Observer == nil {
		return
	}
	m.observe(mtakit.Event{Kind: mtakit.EventQueued, ID: id, Sender: a.Envelope.Sender, Attrs: a.Envelope.Attrs})
	if a.Envelope.Hold != "" {
		m.observe(mtakit.Event{Kind: mtakit.EventHeld, ID: id, Sender: a.Envelope.Sender,
			Reason: a.Envelope.Hold, Attrs: a.Envelope.Attrs})
	}
}

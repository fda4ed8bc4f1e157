package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/mtakit/mtakit"
)

// ErrBusy is wrapped when a message is just being made active, changed by
// somebody else, or at the end of an attempt; a moment later it is not.
var ErrBusy = errors.New("queue: message is busy")

// Flush makes everything due that waits for a next attempt. What is held stays
// held, and what is to be sent later waits for its time.
func (m *Manager) Flush(context.Context) error {
	m.setup()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.waiting.hastenAll()
	m.flushed = true
	m.revive(func(*destination) bool { return true })
	m.kick()
	return nil
}

// revive makes dead destinations alive. Under mu.
func (m *Manager) revive(which func(*destination) bool) {
	for _, t := range m.line.transports {
		for _, d := range t.destinations {
			if d.dead && which(d) {
				d.reset()
			}
		}
	}
}

// due makes a message due that waits.
func (m *Manager) due(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.waiting.hasten(id) {
		return false
	}
	m.kick()
	return true
}

// Retry makes one message due that waits. It is ErrNotFound when no such message
// waits, because it is active, on hold or gone.
func (m *Manager) Retry(ctx context.Context, id string) error {
	m.setup()
	if !m.due(id) && !m.unread(ctx, id) {
		return fmt.Errorf("%s: %w", id, ErrNotFound)
	}
	return nil
}

// unread makes a message due that has not been found in the spool yet.
func (m *Manager) unread(ctx context.Context, id string) bool {
	m.mu.Lock()
	known := m.wasRead() || m.knows(id)
	m.mu.Unlock()
	if known {
		return false
	}
	if s, err := m.look(ctx, id); err != nil || s.Hold != "" || s.Pending == 0 {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.knows(id) {
		m.park(waiter{id: id})
	}
	return true
}

// Hold puts a message on hold. When it is active, that takes effect when the
// attempt ends. It is ErrNotFound when there is no such message.
func (m *Manager) Hold(ctx context.Context, id, reason string) error {
	if reason == "" {
		reason = "held"
	}
	changed, err := m.change(ctx, id, orderHold, Change{ID: id, Hold: reason})
	if changed {
		m.observe(mtakit.Event{Kind: mtakit.EventHeld, ID: id, Reason: reason})
	}
	return err
}

// Remove forgets a message, and nobody is told. When it is active, that takes
// effect when the attempt ends. It is ErrNotFound when there is no such message.
// One that was submitted with a key leaves its receipt, so that a late second
// submission does not send it after all; to remove the receipt is to forget the
// key.
func (m *Manager) Remove(ctx context.Context, id string) error {
	m.setup()
	if r, ok := m.takeReceipt(id); ok {
		if err := m.removeReceipts([]*receipt{r}); err != nil {
			return fmt.Errorf("queue: %s: %w", id, err)
		}
		return nil
	}
	if m.hasKey(id) || !m.wasRead() {
		return m.removeKeyed(ctx, id)
	}
	changed, err := m.change(ctx, id, orderRemove, Change{ID: id, Remove: true})
	if changed {
		m.concluded(id)
		m.observe(mtakit.Event{Kind: mtakit.EventRemoved, ID: id})
	}
	return err
}

// Release takes a message off hold and tries it at once. A message that is not
// on hold is tried at once too. It is ErrNotFound when there is no such message.
func (m *Manager) Release(ctx context.Context, id string) error {
	m.setup()
	if m.due(id) {
		return nil
	}
	changed, err := m.change(ctx, id, orderNone, Change{ID: id, Release: true})
	if !changed {
		return err
	}
	m.observe(mtakit.Event{Kind: mtakit.EventReleased, ID: id})
	return nil
}

// change records a change of a message that is not active, or leaves an order
// with its run. changed says that it was recorded now.
func (m *Manager) change(ctx context.Context, id string, o order, c Change) (changed bool, err error) {
	m.setup()
	e, r, err := m.claim(id)
	if err != nil {
		return false, err
	}
	if r != nil {
		return false, r.take(o, c.Hold)
	}
	_, err = m.Spool.Commit(ctx, nil, []Change{c})
	m.unclaim(e, c, err)
	if err != nil {
		return false, fmt.Errorf("queue: %s: %w", id, err)
	}
	return true, nil
}

// take leaves an order with a run, in place of one that it has; but what is to be
// removed stays so, and a release takes back nothing but a hold. A run that is
// just being ended can no longer heed it.
func (r *run) take(o order, reason string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ending:
		return fmt.Errorf("%s: %w", r.stored.ID, ErrBusy)
	case r.order == orderRemove:
		return fmt.Errorf("%s is being removed: %w", r.stored.ID, ErrNotFound)
	case o == orderNone && r.order != orderHold:
		return nil
	}
	r.order, r.reason = o, reason
	return nil
}

// claim takes a message out of the scheduler's hands, or returns the run of one
// that is active. A message on hold gets an entry for as long as it is claimed.
func (m *Manager) claim(id string) (*entry, *run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[id]
	switch {
	case m.receipts.hasEnded(id):
		return nil, nil, fmt.Errorf("%s has ended: %w", id, ErrNotFound)
	case e == nil:
		e = &entry{waiter: waiter{id: id}}
		if w, ok := m.waiting.take(id); ok {
			e.waiter = w
		}
		m.entries[id] = e
		return e, nil, nil
	case e.run == nil:
		return nil, nil, fmt.Errorf("%s: %w", id, ErrBusy)
	}
	return nil, e.run, nil
}

// unclaim gives back what claim took.
func (m *Manager) unclaim(e *entry, c Change, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, e.id)
	switch {
	case isNotFound(err) || err == nil && (c.Remove || c.Hold != ""):
		return
	case err == nil && c.Release:
		e.due = m.now()
	}
	m.park(e.waiter)
}

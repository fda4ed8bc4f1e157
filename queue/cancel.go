package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mtakit/mtakit"
)

// ErrTooLate is wrapped when a message cannot be cancelled because some
// recipient has it already.
var ErrTooLate = errors.New("queue: message has been delivered to some recipient")

// Cancel takes a message back, if no recipient has it yet: it is removed, and
// nobody is told. Otherwise the error wraps ErrTooLate and the message goes on
// to those that are left; Remove stops that. With either, the receipt says what
// has become of each recipient.
//
// When the message is just being delivered, no further delivery of it is
// started, and Cancel waits for the end of those under way; when ctx ends
// before, its error is returned, and the message may be cancelled all the same.
// The error wraps ErrBusy when the message is just being looked at, and
// ErrNotFound when there is none with this ID.
func (m *Manager) Cancel(ctx context.Context, id string) (*Receipt, error) {
	m.setup()
	for {
		if m.isReceipt(id) {
			r, err := m.Result(ctx, id)
			if err == nil {
				err = tooLate(r)
			}
			return r, err
		}
		e, run, err := m.claim(id)
		switch {
		case err != nil:
			return nil, err
		case run == nil:
			return m.takeBack(ctx, e)
		}
		if err := m.cancelRun(ctx, run); err != nil {
			return nil, err
		}
		r := run.receipt()
		if err := tooLate(r); err != nil || r.Over() {
			return r, err
		}
	}
}

func (m *Manager) isReceipt(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.receipts.hasEnded(id)
}

// tooLate is nil for a message that nobody has got.
func tooLate(r *Receipt) error {
	for i := range r.Recipients {
		if r.Recipients[i].Kind == mtakit.EventDelivered {
			return fmt.Errorf("%s: %w", r.ID, ErrTooLate)
		}
	}
	return nil
}

// takeBack cancels a message that is not active and has been claimed.
func (m *Manager) takeBack(ctx context.Context, e *entry) (*Receipt, error) {
	s, err := m.look(ctx, e.id)
	if err != nil {
		m.unclaim(e, Change{}, err)
		return nil, fmt.Errorf("queue: %w", err)
	}
	r := receiptOf(s)
	if err := tooLate(r); err != nil {
		m.unclaim(e, Change{}, nil)
		return r, err
	}
	if err := m.remove(ctx, e, s); err != nil {
		return nil, err
	}
	return receiptOf(s), nil
}

// remove ends a message that is not active and has been claimed.
func (m *Manager) remove(ctx context.Context, e *entry, s *Stored) error {
	marks := removal(s.Marks)
	_, err := m.Spool.Commit(ctx, nil, []Change{m.ending(s, marks, time.Now())})
	if err == nil {
		for _, mark := range marks {
			s.Marks[mark.Recipient] = mark
		}
		m.concluded(e.id)
	}
	m.unclaim(e, Change{Remove: true}, err)
	if err != nil {
		return fmt.Errorf("queue: %s: %w", e.id, err)
	}
	m.observe(mtakit.Event{Kind: mtakit.EventRemoved, ID: s.ID, Sender: s.Sender, Attrs: s.Envelope.Attrs})
	return nil
}

func (m *Manager) hasKey(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.receipts.ids[id] != nil
}

// removeKeyed is Remove for a message with a key.
func (m *Manager) removeKeyed(ctx context.Context, id string) error {
	e, r, err := m.claim(id)
	if err != nil {
		return err
	}
	if r != nil {
		return r.take(orderRemove, "")
	}
	s, err := m.look(ctx, id)
	if err != nil {
		m.unclaim(e, Change{}, err)
		return fmt.Errorf("queue: %w", err)
	}
	return m.remove(ctx, e, s)
}

// cancelRun leaves the order with a run and waits for its end.
func (m *Manager) cancelRun(ctx context.Context, r *run) error {
	over := r.ask(orderCancel)
	select {
	case <-over:
		return nil
	case <-m.done:
		select {
		case <-over:
			return nil
		default: // it could not be recorded, and will be back after the next start
			return ErrClosed
		}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask gives an order, if that still makes sense, and returns what is closed
// when the run is over.
func (r *run) ask(o order) (over <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over == nil {
		r.over = make(chan struct{})
		if r.isOver {
			close(r.over)
		}
	}
	if !r.ending && r.order == orderNone {
		r.order = o
	}
	return r.over
}

// leave lets go of those who wait for the end of the run.
func (r *run) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over != nil {
		close(r.over)
	}
	r.isOver = true
}

// heed returns the order that holds at the end of the run: what was to be
// cancelled is removed when nobody has got it, and else goes on at once.
func (r *run) heed() (o order, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ending = true
	if r.order != orderCancel {
		return r.order, r.reason
	}
	for i := range r.stored.Marks {
		if fate(&r.stored.Marks[i]) == mtakit.EventDelivered {
			return orderResume, ""
		}
	}
	return orderRemove, ""
}

// receipt is for after the end of the run.
func (r *run) receipt() *Receipt {
	r.mu.Lock()
	defer r.mu.Unlock()
	return receiptOf(r.stored)
}

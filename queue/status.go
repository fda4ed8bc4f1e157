package queue

import (
	"context"
	"iter"
	"time"
)

// Entries yields every message, as Spool.Entries does, with the queue that it
// is in now.
func (m *Manager) Entries(ctx context.Context) iter.Seq2[Entry, error] {
	m.setup()
	return func(yield func(Entry, error) bool) {
		for e, err := range m.list(ctx) {
			if err == nil && m.isActive(e.ID) {
				e.Queue = "active"
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// Open returns everything that is known of a message, as Spool.Open does, with
// the queue that it is in now.
func (m *Manager) Open(ctx context.Context, id string) (*Stored, error) {
	m.setup()
	s, err := m.look(ctx, id)
	if err == nil && m.isActive(id) {
		s.Queue = "active"
	}
	return s, err
}

func (m *Manager) isActive(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[id]
	return e != nil && e.run != nil
}

// Status is a snapshot of the manager's work.
type Status struct {
	Active       int // messages in the active queue
	Waiting      int // messages that wait for their next attempt, or for room
	Deliveries   int // under way
	Recipients   int // in line or under delivery
	Destinations []DestinationStatus
}

// DestinationStatus is a snapshot of one destination. One to which nothing goes
// is not known, though messages may wait for it.
type DestinationStatus struct {
	Transport, Key string
	Busy           int           // deliveries under way
	Window         int           // how many it may have
	Jobs           int           // messages in line for it
	Sleepers       int           // messages that its recovery wakes
	Dead           time.Duration // for how long it will not be tried; 0 means that it is not dead
	Reason         string        // why it is dead
}

// Status returns a snapshot.
func (m *Manager) Status() Status {
	m.setup()
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Status{Active: m.active, Waiting: m.waiting.len(), Deliveries: m.line.busy,
		Recipients: int(m.working.Load())}
	for _, t := range m.line.transports {
		for _, d := range t.destinations {
			status := d.status(m.now())
			status.Sleepers = m.waiting.sites.len(m.waiting.site(d))
			s.Destinations = append(s.Destinations, status)
		}
	}
	return s
}

func (d *destination) status(now time.Duration) DestinationStatus {
	s := DestinationStatus{Transport: d.transport.name, Key: d.key, Busy: d.busy, Window: d.window,
		Jobs: d.waiting()}
	if d.dead {
		s.Dead, s.Reason = max(d.until-now, 0), said(&d.last)
	}
	return s
}

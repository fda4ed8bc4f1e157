package queue

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// QueueRun is which of the messages that wait are to be tried now, and in which
// order. The zero value means all of them.
type QueueRun struct {
	// Match says which messages are meant, as far as the listing tells: ID, Sender,
	// Domains, Arrival. nil means all.
	Match func(*Entry) bool
	// MatchStored says it of those which Match has let through, when it takes their
	// recipients; they are opened for it. nil means all.
	MatchStored func(*Stored) bool
	// Sort is in which order they become active; "" means none in particular.
	Sort SortOrder
}

// SortOrder is the order of a queue run, by the names of Sendmail's
// QueueSortOrder.
type SortOrder string

// The orders. By SortPriority those come first that have less Sendmail cost:
// bytes, 30000 for each recipient, 90000 for each attempt before, less 1800 for
// each unit of Priority. By SortHost they are together whose first pending
// recipient has the same domain, by cost in each. By SortFilename they come by
// queue ID, by SortTime by arrival.
const (
	SortPriority SortOrder = "priority"
	SortHost     SortOrder = "host"
	SortFilename SortOrder = "filename"
	SortTime     SortOrder = "time"
	SortRandom   SortOrder = "random"
)

// Sendmail's ClassFactor, RecipientFactor and RetryFactor.
const (
	classFactor     = 1800
	recipientFactor = 30000
	retryFactor     = 90000
)

func cost(e *Entry) int64 {
	return e.Size + recipientFactor*int64(e.Pending) + retryFactor*int64(e.Attempts) - classFactor*int64(e.Priority)
}

// selected is a message in the order of a run: by text, number and ID.
type selected struct {
	id, text string
	number   int64
}

// key returns where a message stands in the order.
func (o SortOrder) key(e *Entry) (selected, error) {
	s := selected{id: strings.Clone(e.ID)}
	switch o {
	case "":
	case SortPriority:
		s.number = cost(e)
	case SortHost:
		if len(e.Domains) > 0 {
			s.text = strings.Clone(e.Domains[0])
		}
		s.number = cost(e)
	case SortFilename:
		s.text = s.id
	case SortTime:
		s.number = e.Arrival.UnixNano()
	case SortRandom:
		s.number = rand.Int64()
	default:
		return s, fmt.Errorf("queue: unknown order %q", string(o))
	}
	return s, nil
}

func (s selected) compare(o selected) int {
	return cmp.Or(cmp.Compare(s.text, o.text), cmp.Compare(s.number, o.number), cmp.Compare(s.id, o.id))
}

// QueueRun makes the messages that r means due, in its order and before
// everything else that is due, and returns how many they are. What is held stays
// held, what is to be sent later waits for its time, and the sites that these
// messages wait for are tried though they be dead. It goes through the spool;
// with an order it has some 100 bytes of memory for each message meanwhile.
//
// New mail takes turns with it. On an error, those messages are due that were
// seen before.
func (m *Manager) QueueRun(ctx context.Context, r QueueRun) (n int, err error) {
	m.setup()
	if _, err := r.Sort.key(new(Entry)); err != nil {
		return 0, err
	}
	if r.Match == nil && r.MatchStored == nil {
		m.mu.Lock()
		m.revive(func(*destination) bool { return true })
		m.mu.Unlock()
	}
	var all []selected
	for e, found := range m.list(ctx) {
		var means bool
		if means, err = r.means(ctx, m, &e, found); err != nil {
			break
		}
		if !means {
			continue
		}
		m.reviveFor(&e)
		s, _ := r.Sort.key(&e)
		all = append(all, s)
		if r.Sort == "" {
			n += m.hasten(r.Sort, all)
			all = all[:0]
		}
	}
	n += m.hasten(r.Sort, all)
	if err != nil {
		return n, fmt.Errorf("queue: queue run: %w", err)
	}
	return n, nil
}

// means reports whether a message is meant that was found with this error.
func (r *QueueRun) means(ctx context.Context, m *Manager, e *Entry, found error) (bool, error) {
	switch {
	case passable(found):
		return false, nil
	case found != nil:
		return false, found
	case e.Hold != "" || e.Pending == 0 || r.Match != nil && !r.Match(e):
		return false, nil
	case r.MatchStored == nil:
		return true, nil
	}
	s, err := m.look(ctx, e.ID)
	switch {
	case passable(err):
		return false, nil
	case err != nil:
		return false, err
	}
	return r.MatchStored(s), nil
}

// passable says whether an error concerns one message alone, which is gone or
// damaged.
func passable(err error) bool {
	_, corrupt := asCorrupt(err)
	return corrupt || isNotFound(err)
}

// reviveFor has the sites tried that a message waits for, as far as its entry
// tells which they are.
func (m *Manager) reviveFor(e *Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if name, key, ok := strings.Cut(e.Site, " "); ok {
		m.line.revive(name, key)
	}
	for name := range m.line.transports {
		for _, key := range e.Domains {
			m.line.revive(name, key)
		}
	}
}

func (l *line) revive(transport, key string) {
	t := l.transports[transport]
	if t == nil {
		return
	}
	if d := t.destinations[key]; d != nil && d.dead {
		d.reset()
	}
}

// hasten makes messages due that wait, one after the other and before those that
// are due already, and returns how many there were.
func (m *Manager) hasten(o SortOrder, all []selected) int {
	if o != "" {
		slices.SortFunc(all, selected.compare)
	}
	n := 0
	for i := range all {
		if m.hastenOne(all[i].id, i-len(all)) {
			n++
		}
	}
	return n
}

// hastenOne makes a message due with this rank: what is lower comes first. What
// has not been found in the spool yet since the start is so now.
func (m *Manager) hastenOne(id string, rank int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.waiting.move(id, time.Duration(rank)):
	case !m.wasRead() && !m.knows(id):
		m.park(waiter{id: id, due: time.Duration(rank)})
	default:
		return false
	}
	m.kick()
	return true
}

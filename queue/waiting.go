package queue

import (
	"hash/maphash"
	"math"
	"time"
)

// waiting is the messages that wait for their next attempt. There may be a
// million: each takes one slot, a place in a calendar and a cell of the index, some 60
// bytes in all, none of which the garbage collector has to look into. Guarded by
// Manager.mu.
type waiting struct {
	slots     slab
	index     index // of slots, by ID
	sites     sites
	calendars [2]calendar // of those that were tried before, and of the incoming
	turn      int         // the calendar that was served last
	seed      maphash.Seed
}

// waiter is a message that waits.
type waiter struct {
	id       string
	due      time.Duration // by Manager.now
	incoming bool          // never tried
	site     siteHash      // whose recovery wakes it; 0 means none
	since    time.Duration // when it began to wait for the site, by Manager.now
}

func newWaiting() *waiting {
	w := &waiting{seed: maphash.MakeSeed()}
	w.index.hash = w.hash
	w.sites.index.hash = w.sites.hash
	return w
}

func (w *waiting) hash(i uint32) uint64 { return w.slots.hash(w.seed, i) }

func (w *waiting) find(id string) uint32 {
	return w.index.find(maphash.String(w.seed, id), func(i uint32) bool { return w.slots.is(i, id) })
}

func (w *waiting) len() int { return int(w.slots.n) }

func (w *waiting) has(id string) bool { return w.find(id) != 0 }

// add puts a message in that is not there.
func (w *waiting) add(m waiter) {
	i := w.slots.add(m.id)
	s := w.slots.at(i)
	s.due, s.incoming = m.due, m.incoming
	w.index.add(i)
	w.calendarOf(s).add(&w.slots, i)
	if m.site != 0 {
		s.since = seconds(m.since)
		w.sites.add(&w.slots, m.site, i)
	}
}

// seconds rounds up, so that nothing is woken too early.
func seconds(d time.Duration) uint32 {
	return uint32(min((max(d, 0)+time.Second-1)/time.Second, math.MaxUint32))
}

// take removes a message.
func (w *waiting) take(id string) (waiter, bool) {
	i := w.find(id)
	if i == 0 {
		return waiter{}, false
	}
	return w.remove(i), true
}

func (w *waiting) remove(i uint32) waiter {
	s := w.slots.at(i)
	m := waiter{id: w.slots.id(i), due: s.due, incoming: s.incoming}
	if s.site != 0 {
		m.site, m.since = w.sites.all[s.site].hash, time.Duration(s.since)*time.Second
		w.sites.remove(&w.slots, i)
	}
	w.calendarOf(s).remove(&w.slots, int(s.position))
	w.index.remove(i)
	// The last slot fills the gap, so that memory can be given back.
	if last := w.slots.n; i != last {
		w.index.replace(last, i)
		w.slots.move(last, i)
		w.calendarOf(s).items[s.position] = i
		w.sites.moved(&w.slots, i)
	}
	w.slots.drop()
	return m
}

func (w *waiting) calendarOf(s *slot) *calendar {
	if s.incoming {
		return &w.calendars[1]
	}
	return &w.calendars[0]
}

// pop takes a message whose time has come: the one that is due first of those
// that were tried before, and of the incoming, in turn. So new mail does not
// wait for the end of a big queue, nor an old message for a pause in the intake.
func (w *waiting) pop(now time.Duration) (waiter, bool) {
	for range w.calendars {
		w.turn = (w.turn + 1) % len(w.calendars)
		if c := &w.calendars[w.turn]; c.due(&w.slots) <= now {
			return w.remove(c.items[0]), true
		}
	}
	return waiter{}, false
}

// never is when nothing is due.
const never = time.Duration(math.MaxInt64)

// due returns when the next message is due.
func (w *waiting) due() time.Duration {
	return min(w.calendars[0].due(&w.slots), w.calendars[1].due(&w.slots))
}

// hasten makes a message due.
func (w *waiting) hasten(id string) bool { return w.move(id, 0) }

// move gives a message another time.
func (w *waiting) move(id string, due time.Duration) bool {
	i := w.find(id)
	if i != 0 {
		w.reschedule(i, due)
	}
	return i != 0
}

func (w *waiting) reschedule(i uint32, due time.Duration) {
	s := w.slots.at(i)
	s.due = due
	w.calendarOf(s).fix(&w.slots, int(s.position))
}

// hastenAll makes all messages due.
func (w *waiting) hastenAll() {
	// They leave the order of the calendars together, so it need not be mended.
	for i := range w.slots.n {
		w.slots.at(i + 1).due = 0
	}
}

// wake makes the n messages due that have waited for the site for the longest
// time, though not before they have rested since they were tried. It returns how
// many there were.
func (w *waiting) wake(h siteHash, n int, now, rest time.Duration) int {
	for woken := range n {
		site := w.sites.find(h)
		if site == 0 {
			return woken
		}
		i := w.sites.all[site].first
		s := w.slots.at(i)
		w.sites.remove(&w.slots, i)
		w.reschedule(i, min(s.due, max(now, time.Duration(s.since)*time.Second+rest)))
	}
	return n
}

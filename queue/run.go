package queue

import (
	"slices"
	"sync"
	"time"

	"github.com/mtakit/mtakit"
)

// entry is a message that does not wait.
type entry struct {
	waiter      // what is to hold when it waits again
	run    *run // nil while it is opened, or changed by an operator
}

// run is one attempt over a message: state 3 of the package's documentation,
// from the moment it becomes active until all its recipients have a result and
// those are recorded.
type run struct {
	m      *Manager
	entry  *entry
	stored *Stored // Marks are guarded by mu while the run goes on

	slots    []slots               // guarded by Manager.mu
	jobs     map[*destination]*job // of a message of several portions; guarded by Manager.mu
	unrouted int                   // recipients after the portion that is being put in line

	mu      sync.Mutex
	next    int   // recipients from here on are not in work yet
	working int   // recipients in work
	filling bool  // somebody takes the next portion
	left    int   // recipients without a result in this run
	busy    int   // deliveries under way; they read the message
	writing bool  // somebody records results of this message; nobody else may
	fresh   []int // recipients whose result is not recorded yet
	panic   string
	order   order // what somebody wants done with the message
	ending  bool  // too late for orders
	reason  string
	last    bool          // the message ends with this run,
	moved   bool          // and goes on under another ID
	over    chan struct{} // closed when the run is over, for who asked for it
	isOver  bool
	site    *destination // that all deferred recipients wait for
	mixed   bool         // they wait for something else too
}

// order is what an operator wants of a message that is active.
type order byte

const (
	orderNone order = iota
	orderHold
	orderRemove
	orderExpire
	orderRequeue
	orderRequeueLater // it could not be done at the end of this run
	orderCancel       // remove it if nobody has got it,
	orderResume       // which was found not to be so
)

// open makes a message active.
func (m *Manager) open(e *entry, fresh bool) {
	s, err := m.look(m.recordCtx, e.id)
	now := time.Now()
	switch {
	case err != nil:
		m.unopened(e, err)
		return
	case s.Hold != "" || m.draining():
		m.drop(e)
		return
	case s.Envelope.NotBefore.After(now) && standing(s) == orderNone:
		m.putBack(e, s.Envelope.NotBefore.Sub(now))
		return
	}
	r := &run{m: m, entry: e, stored: s, filling: true, order: standing(s)}
	for i := range s.Marks {
		if s.Marks[i].State == Pending {
			r.left++
		}
	}
	if !fresh {
		if err := r.recordAttempt(now); err != nil {
			m.log().Error("recording an attempt", "id", e.id, "error", err)
			m.putBack(e, m.minBackoff())
			return
		}
	}
	r.start()
}

// recordAttempt writes down that an attempt begins and when the next one is
// due, before anything is tried: a message that makes the program crash comes
// back at that time and not at once.
func (r *run) recordAttempt(now time.Time) error {
	r.stored.Attempts++
	return r.commit(nil, Change{Attempts: r.stored.Attempts, Next: now.Add(r.m.retry(r.stored.Envelope, now))})
}

func (r *run) start() {
	m := r.m
	m.mu.Lock()
	r.entry.run = r
	m.mu.Unlock()
	m.observe(mtakit.Event{Kind: mtakit.EventActive, ID: r.stored.ID, Sender: r.stored.Envelope.Sender,
		Size: r.stored.Size, Attrs: r.stored.Envelope.Attrs})
	r.hold()
	r.fill()
}

// hold keeps the run from ending while its jobs are made.
func (r *run) hold() {
	r.mu.Lock()
	r.busy++
	r.mu.Unlock()
}

// release takes back hold, and goes on to what is next.
func (r *run) release() {
	r.mu.Lock()
	r.busy--
	r.mu.Unlock()
	r.advance()
}

// blocked notes that recipients wait for d.
func (r *run) blocked(d *destination) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mixed = r.mixed || r.site != nil && r.site != d
	r.site = d
}

// withdraw leaves n recipients of an ordered-away message without a result, and
// reports whether it did.
func (r *run) withdraw(n int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.order == orderNone {
		return false
	}
	r.left -= n
	r.work(-n)
	r.mixed = true
	return true
}

// advance records results, and ends the run when there is nothing left. Only
// one goroutine at a time does it, so that no two commits change the same
// message at once; results that come meanwhile are taken along.
func (r *run) advance() {
	r.more()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.writing {
		return
	}
	r.writing = true
	for {
		if r.left == 0 && r.busy == 0 {
			r.mu.Unlock()
			r.finish() // it keeps writing
			r.mu.Lock()
			return
		}
		marks := r.unrecorded()
		if len(marks) == 0 {
			r.writing = false
			return
		}
		last := r.left == 0 && !unfinished(r.stored.Marks)
		r.mu.Unlock()
		err := r.record(marks, last)
		r.mu.Lock()
		if err != nil {
			r.m.log().Error("recording results", "id", r.stored.ID, "error", err)
			if r.left > 0 || r.busy > 0 { // who comes next tries again
				r.writing = false
				return
			}
			continue
		}
		r.recorded(marks)
	}
}

// unrecorded returns the fresh results that end a recipient. Deferrals are
// recorded when the run ends. Under mu.
func (r *run) unrecorded() []Mark {
	var marks []Mark
	for _, i := range r.fresh {
		if r.stored.Marks[i].State != Pending {
			marks = append(marks, r.stored.Marks[i])
		}
	}
	return marks
}

// unfinished reports whether something is left to do for a recipient.
func unfinished(marks []Mark) bool {
	for i := range marks {
		if s := marks[i].State; s == Pending || s == Failed {
			return true
		}
	}
	return false
}

// record writes marks down, and tells of them. The last ones of a message with a
// key make it a receipt in the same step: a crash before the end of the run must
// not shorten its life.
func (r *run) record(marks []Mark, last bool) error {
	c := Change{Marks: marks}
	if last && r.stored.Key != "" {
		c = r.m.ending(r.stored, marks, time.Now())
	}
	if err := r.commit(nil, c); err != nil {
		return err
	}
	for i := range marks {
		r.m.announce(r.stored, &marks[i])
	}
	return nil
}

// recorded takes marks off the fresh ones. Under mu.
func (r *run) recorded(marks []Mark) {
	done := make(map[int]bool, len(marks))
	for i := range marks {
		done[marks[i].Recipient] = true
	}
	r.fresh = slices.DeleteFunc(r.fresh, func(i int) bool { return done[i] })
}

// commit records a change of the message, with notices to be accepted in the
// same step.
func (r *run) commit(accept []Accept, c Change) error {
	_, err := r.commitIDs(accept, c)
	return err
}

func (r *run) commitIDs(accept []Accept, c Change) ([]string, error) {
	c.ID = r.stored.ID
	return r.m.Spool.Commit(r.m.recordCtx, accept, []Change{c})
}

// unopened deals with a message that could not be opened.
func (m *Manager) unopened(e *entry, err error) {
	if _, ok := asCorrupt(err); ok {
		m.vanished(e.id)
		m.drop(e)
		return
	}
	if isNotFound(err) {
		m.log().Warn("message has vanished from the spool", "id", e.id)
		m.vanished(e.id)
		m.drop(e)
		return
	}
	m.log().Error("opening a message", "id", e.id, "error", err)
	m.putBack(e, m.minBackoff())
}

// drop forgets a message that is active: it is gone, or only a call brings it
// back.
func (m *Manager) drop(e *entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, e.id)
	m.left()
}

// putBack makes a message wait that was active.
func (m *Manager) putBack(e *entry, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, e.id)
	e.due = m.in(wait)
	m.park(e.waiter)
	m.left()
}

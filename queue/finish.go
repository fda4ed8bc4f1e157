package queue

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mtakit/mtakit"
)

// panicLimit is how many panics put a message on hold.
const panicLimit = 3

// finish ends a run: what is left of the message is decided and recorded in one
// step of the spool, together with the notices to its sender. Only the
// goroutine that has set writing calls it, after the last delivery.
func (r *run) finish() {
	now := time.Now()
	order, reason := r.heed()
	var anew []Accept
	switch {
	case order == orderExpire, order == orderNone && r.m.expired(r.stored.Envelope, now):
		r.expire(order)
	case order == orderRequeue:
		if anew, order, reason = r.requeue(); order == orderRequeueLater && r.m.expired(r.stored.Envelope, now) {
			r.expire(order)
		}
	}
	accept, told, err := r.notices(now, order)
	if err != nil {
		r.m.log().Error("writing a notification", "id", r.stored.ID, "error", err)
		r.m.discard(anew) // or who failed would never be told
		anew, order = nil, order.postponed()
	}
	accept, r.moved = append(accept, anew...), len(anew) > 0
	c := r.conclude(now, told, order, reason)
	ids, err := r.commitIDs(accept, c)
	if err != nil && len(accept) > 0 {
		// There may be room for the results where there is none for a notification:
		// who is not told now is told after a later run.
		r.m.log().Error("accepting a notification", "id", r.stored.ID, "error", err)
		for _, a := range accept {
			r.m.unreserve(a)
		}
		accept, ids, order = nil, nil, order.postponed()
		c = r.conclude(now, told.undo(r), order, reason)
		err = r.commit(nil, c)
	}
	if err != nil && !isNotFound(err) {
		told.undo(r)
		r.m.unsettle(r, err)
		return
	}
	why := ""
	if order == orderRequeue && r.last {
		why = requeuedAs(ids, anew)
	}
	r.announceAll(c, why)
	switch {
	case order == orderRequeue && r.moved:
		r.m.moved(r.stored, ids[len(ids)-1], anew[0].Envelope)
	case r.last:
		r.end(order)
	}
	for i, id := range ids {
		r.logAccepted(id, accept[i].Envelope, r.moved && i == len(ids)-1)
		r.m.accepted(id, accept[i])
	}
	r.m.retire(r, c, now)
	if c.Hold != "" && r.panic != "" {
		r.m.tell(r.m.recordCtx, NotifySoftware, "queue: message "+r.stored.ID+" is on hold", c.Hold+"\n")
	}
}

// reason is a result in words.
func reason(r *mtakit.Result) string {
	if r.Diagnostic == "" && r.Reply != nil {
		return r.Reply.Message
	}
	return r.Diagnostic
}

// conclude says what is to be recorded at the end of the run, when those in
// told have been told and somebody has given an order.
func (r *run) conclude(now time.Time, told telling, order order, hold string) Change {
	c := Change{ID: r.stored.ID, Warned: told.warned}
	for i := range told.index {
		r.stored.Marks[told.index[i]].State = Notified
	}
	r.last = order == orderRemove || order == orderRequeue || !unfinished(r.stored.Marks)
	if r.last && (r.stored.Key == "" || order == orderRequeue && r.moved) {
		return Change{ID: c.ID, Remove: true}
	}
	c.Requeue = order == orderRequeueLater
	c.Marks, c.Results = r.split(told.index)
	if r.last {
		// What is removed has its mark from removal.
		marks := slices.DeleteFunc(c.Marks, func(mark Mark) bool { return mark.State == Failed })
		return r.m.ending(r.stored, append(marks, removal(r.stored.Marks)...), now)
	}
	c.Defer = true
	c.Next = now.Add(r.m.retry(r.stored.Envelope, now))
	if order == orderResume {
		c.Next = now
	}
	c.Hold = hold
	if order == orderNone && r.site != nil && !r.mixed {
		c.Site = siteName(r.site)
	}
	r.countPanic(&c)
	return c
}

// end ends what an order has left of a message that is recorded to be over.
func (r *run) end(o order) {
	if o == orderRemove || o == orderRequeue {
		r.mu.Lock()
		for _, mark := range removal(r.stored.Marks) {
			r.stored.Marks[mark.Recipient] = mark
		}
		r.mu.Unlock()
	}
	r.m.concluded(r.stored.ID)
}

// split returns the results to be recorded: those that end a recipient, and the
// last ones of the others.
func (r *run) split(told []int) (marks, results []Mark) {
	seen := make(map[int]bool)
	for _, list := range [][]int{r.fresh, told} {
		for _, i := range list {
			mark := r.stored.Marks[i]
			switch {
			case seen[i]:
			case mark.State == Pending:
				results = append(results, mark)
			default:
				marks = append(marks, mark)
			}
			seen[i] = true
		}
	}
	return marks, results
}

// countPanic puts a message on hold that makes agents panic. When it has been
// released, it is tried as often again.
func (r *run) countPanic(c *Change) {
	if r.panic == "" {
		return
	}
	c.Panics = r.stored.Panics + 1
	if c.Hold == "" && c.Panics%panicLimit == 0 {
		c.Hold = fmt.Sprintf("after %d times: %s", c.Panics, r.panic)
	}
}

// unsettled is a run whose end is to be recorded later.
type unsettled struct {
	run *run
	due time.Duration // by Manager.now
}

// unsettle keeps a run in memory whose end could not be recorded: forgetting it
// would deliver again what was delivered.
func (m *Manager) unsettle(r *run, err error) {
	m.log().Error("recording the end of an attempt", "id", r.stored.ID, "error", err)
	r.mu.Lock()
	r.ending = false
	r.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unsettled.push(unsettled{r, m.in(m.minBackoff() / 4)})
	m.kick()
}

// settleRest records what the runs have come to that did not end before all else
// did: what could not be recorded before, and orders, which were promised.
func (m *Manager) settleRest() {
	m.mu.Lock()
	m.unsettled = fifo[unsettled]{}
	var rest []*run
	for _, e := range m.entries {
		if e.run != nil {
			rest = append(rest, e.run)
		}
	}
	m.mu.Unlock()
	for _, r := range rest {
		r.settleCutOff()
	}
}

// settleCutOff is settleRest for a run over which nobody works any more.
func (r *run) settleCutOff() {
	if r.left == 0 || r.order != orderNone && r.order != standing(r.stored) {
		r.finish()
		return
	}
	if marks := r.unrecorded(); len(marks) > 0 {
		if err := r.record(marks, false); err != nil {
			r.m.log().Error("recording results", "id", r.stored.ID, "error", err)
		}
	}
}

// retire takes a message out of the active queue.
func (m *Manager) retire(r *run, c Change, now time.Time) {
	defer r.leave()
	pending, done := r.sites()
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, c.ID)
	m.left()
	if r.last || c.Hold != "" {
		m.noteSites(c.ID, nil, done)
		return
	}
	m.park(waiter{id: c.ID, due: m.in(c.Next.Sub(now)), site: m.waiting.siteNamed(c.Site), since: m.now()})
	m.noteSites(c.ID, pending, done)
}

func isNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

func asCorrupt(err error) (*CorruptError, bool) { return errors.AsType[*CorruptError](err) }

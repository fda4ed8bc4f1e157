package queue

import (
	"cmp"
	"container/heap"
	"context"
	"crypto/sha256"
	"time"

	"github.com/mtakit/mtakit"
)

// receipts knows the messages that were submitted with a key: those that are in
// the queue, and those that have ended within Manager.Retention. The latter stay
// in the spool with no pending recipient, and are its receipts.
type receipts struct {
	keys map[keyHash]*receipt
	ids  map[string]*receipt
	// claimed are the keys of which the first submission is under way; the channel
	// is closed when it is over.
	claimed map[keyHash]chan struct{}
	over    receiptHeap
	wake    chan struct{} // tells sweep of an earlier end
}

// keyHash stands for a key of any length.
type keyHash [16]byte

func keyOf(key string) keyHash {
	h := sha256.Sum256([]byte(key))
	return keyHash(h[:16])
}

// receipt is one message with a key.
type receipt struct {
	id      string
	key     keyHash
	content uint64        // digest of what was submitted; 0 means unknown
	until   time.Duration // when an ended message is forgotten, by Manager.now
	index   int32         // in over; -1 while the message is in the queue
	ended   bool
}

// receiptHeap has the receipt on top that is forgotten first.
type receiptHeap []*receipt

func (h receiptHeap) Len() int           { return len(h) }
func (h receiptHeap) Less(i, j int) bool { return h[i].until < h[j].until }

func (h receiptHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = int32(i), int32(j)
}

// Push is for container/heap.
func (h *receiptHeap) Push(x any) {
	r := x.(*receipt)
	r.index = int32(len(*h))
	*h = append(*h, r)
}

// Pop is for container/heap.
func (h *receiptHeap) Pop() any {
	old := *h
	r := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	r.index = -1
	return r
}

func newReceipts() receipts {
	return receipts{keys: make(map[keyHash]*receipt), ids: make(map[string]*receipt),
		claimed: make(map[keyHash]chan struct{}), wake: make(chan struct{}, 1)}
}

// add notes a message; stored is its key as the spool has it, "" for none. Under
// mu.
func (rs *receipts) add(id, stored string) *receipt {
	if stored == "" {
		return nil
	}
	if r := rs.ids[id]; r != nil {
		return r
	}
	key, content := splitKey(stored)
	r := &receipt{id: id, key: keyOf(key), content: content, index: -1}
	rs.keys[r.key], rs.ids[id] = r, r
	return r
}

// drop forgets a message. Under mu.
func (rs *receipts) drop(id string) {
	r := rs.ids[id]
	if r == nil {
		return
	}
	if r.index >= 0 {
		heap.Remove(&rs.over, int(r.index))
	}
	delete(rs.ids, id)
	if rs.keys[r.key] == r { // and not its successor
		delete(rs.keys, r.key)
	}
}

// end makes a message a receipt until a time. Under mu.
func (rs *receipts) end(r *receipt, until time.Duration) {
	r.ended, r.until = true, until
	if r.index >= 0 {
		heap.Fix(&rs.over, int(r.index))
	} else {
		heap.Push(&rs.over, r)
	}
	if r.index == 0 {
		select {
		case rs.wake <- struct{}{}:
		default:
		}
	}
}

// claim returns the message of a key, or what to wait for when somebody else is
// just submitting it; when it returns neither, the key is the caller's until
// release.
func (rs *receipts) claim(m *Manager, key keyHash) (first *receipt, other <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := rs.keys[key]; r != nil {
		return r, nil
	}
	if c := rs.claimed[key]; c != nil {
		return nil, c
	}
	rs.claimed[key] = make(chan struct{})
	return nil, nil
}

func (rs *receipts) release(m *Manager, key keyHash) {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(rs.claimed[key])
	delete(rs.claimed, key)
}

// hasEnded reports whether a message is a receipt. Under mu.
func (rs *receipts) hasEnded(id string) bool {
	r := rs.ids[id]
	return r != nil && r.ended
}

func (m *Manager) retention() time.Duration { return cmp.Or(max(m.Retention, 0), 24*time.Hour) }

// ending is the change that ends a message: it is forgotten, or becomes a
// receipt.
func (m *Manager) ending(s *Stored, marks []Mark, now time.Time) Change {
	if s.Key == "" {
		return Change{ID: s.ID, Remove: true}
	}
	return Change{ID: s.ID, Marks: marks, Release: s.Hold != "", Defer: true, Next: now.Add(m.retention())}
}

// concluded takes note of a message whose ending is recorded, and tells of the
// recipients that were left.
func (m *Manager) concluded(id string) {
	m.mu.Lock()
	if r := m.receipts.ids[id]; r != nil {
		m.receipts.end(r, m.now()+m.retention())
	}
	w := m.watchers[id]
	m.unwatch(id)
	m.mu.Unlock()
	if w != nil {
		m.tellRemoved(w)
	}
}

// vanished forgets the key of a message that is not in the spool any more.
func (m *Manager) vanished(id string) {
	m.mu.Lock()
	m.receipts.drop(id)
	w := m.watchers[id]
	m.unwatch(id)
	m.mu.Unlock()
	if w != nil {
		m.tellRemoved(w)
	}
}

// foundKey takes note of a message with a key that is in the spool from before,
// and reports whether it is a receipt. Under mu.
func (m *Manager) foundKey(e *Entry) bool {
	r := m.receipts.add(e.ID, e.Key)
	if r == nil || r.ended || e.Pending > 0 {
		return r != nil && r.ended
	}
	// A clock that was set forth and back makes no receipt eternal.
	m.receipts.end(r, m.now()+min(max(time.Until(e.Next), 0), m.retention()))
	return true
}

// sweepGrace is how long sweep waits for further receipts, so as to remove many
// in one step.
const sweepGrace = time.Second

// sweepLimit is how many receipts are removed in one step.
const sweepLimit = 200

// sweep removes receipts whose time has come.
func (m *Manager) sweep() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-m.receipts.wake:
		case <-timer.C:
		}
		due, wait := m.dueReceipts()
		_ = m.removeReceipts(due) // has logged it, and they will be due again
		timer.Reset(wait)
	}
}

// dueReceipts takes receipts whose time has come, and says when to look again.
func (m *Manager) dueReceipts() (due []*receipt, wait time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	over := &m.receipts.over
	for len(*over) > 0 && (*over)[0].until <= m.now() {
		if len(due) == sweepLimit {
			return due, 0
		}
		due = append(due, heap.Pop(over).(*receipt))
	}
	if len(*over) == 0 {
		return due, idleWait
	}
	return due, max((*over)[0].until-m.now(), sweepGrace)
}

// removeReceipts removes receipts from the spool that dueReceipts or takeReceipt
// has taken. Those that it cannot remove are due again later.
func (m *Manager) removeReceipts(due []*receipt) (err error) {
	if len(due) == 0 {
		return nil
	}
	changes := make([]Change, len(due))
	for i, r := range due {
		changes[i] = Change{ID: r.id, Remove: true}
	}
	_, err = m.Spool.Commit(m.recordCtx, nil, changes)
	if err != nil && len(due) > 1 { // one that is not there spoils it for all
		err = nil
		for i := range due {
			err = cmp.Or(err, m.removeReceipts(due[i:i+1]))
		}
		return err
	}
	if isNotFound(err) {
		err = nil
	}
	if err != nil {
		m.log().Error("removing a receipt", "id", due[0].id, "error", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range due {
		if err != nil {
			m.receipts.end(r, m.now()+m.minBackoff())
			continue
		}
		m.receipts.drop(r.id)
	}
	return err
}

// takeReceipt takes a receipt out of sweep's hands. ok is false when the message
// is none, or when sweep is just removing it.
func (m *Manager) takeReceipt(id string) (r *receipt, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r = m.receipts.ids[id]
	if r == nil || r.index < 0 {
		return nil, false
	}
	heap.Remove(&m.receipts.over, int(r.index))
	return r, true
}

// Receipt is what has become of a message.
type Receipt struct {
	ID         string
	Key        string // what it was submitted with; "" means nothing
	Recipients []RecipientStatus
}

// Over reports whether no recipient is waiting any more.
func (r *Receipt) Over() bool {
	for i := range r.Recipients {
		if r.Recipients[i].waits() {
			return false
		}
	}
	return true
}

// RecipientStatus is what has become of one recipient.
type RecipientStatus struct {
	ID        string // queue ID of the message
	Recipient mtakit.Recipient
	// Kind is EventDelivered, EventBounced, EventExpired or EventRemoved for a
	// recipient that is done with, EventDeferred for one that was tried and will
	// be again, and EventQueued for one that was not tried.
	Kind mtakit.EventKind
	// Result is the last one. It is zero with EventQueued.
	Result mtakit.Result
}

func (s *RecipientStatus) waits() bool {
	return s.Kind == mtakit.EventQueued || s.Kind == mtakit.EventDeferred
}

func recipientStatus(id string, r mtakit.Recipient, mark *Mark) RecipientStatus {
	return RecipientStatus{ID: id, Recipient: r, Kind: fate(mark), Result: mark.Result}
}

// fate is what a mark means. One that is done with and still says "deferred" was
// removed: see gone. X.4.7 is "delivery time expired" (RFC 3463, section 3.5).
func fate(mark *Mark) mtakit.EventKind {
	r := &mark.Result
	switch {
	case mark.State == Pending && r.Status[0] == 0 && r.Diagnostic == "" && r.Reply == nil:
		return mtakit.EventQueued
	case mark.State == Pending:
		return mtakit.EventDeferred
	case r.Outcome == mtakit.Deferred:
		return mtakit.EventRemoved
	case r.Outcome == mtakit.Bounced && r.Status[1] == 4 && r.Status[2] == 7:
		return mtakit.EventExpired
	case r.Outcome == mtakit.Bounced:
		return mtakit.EventBounced
	}
	return mtakit.EventDelivered
}

// gone is the mark of a recipient that was removed.
func gone(i int) Mark {
	return Mark{Recipient: i, State: Done, Result: mtakit.Result{Diagnostic: "removed from the queue"}}
}

// removal returns the marks that end what is not finished of a message, whose
// removal nobody is told of.
func removal(marks []Mark) (more []Mark) {
	for i := range marks {
		switch marks[i].State {
		case Pending:
			more = append(more, gone(i))
		case Failed:
			mark := marks[i]
			mark.State = Done
			more = append(more, mark)
		}
	}
	return more
}

func receiptOf(s *Stored) *Receipt {
	key, _ := splitKey(s.Key)
	r := &Receipt{ID: s.ID, Key: key, Recipients: make([]RecipientStatus, len(s.Marks))}
	for i := range s.Marks {
		r.Recipients[i] = recipientStatus(s.ID, s.Envelope.Recipients[i], &s.Marks[i])
	}
	return r
}

// Result returns what has become of a message, as far as it is recorded. For one
// that was submitted with a key it can be asked until Retention after its end;
// any other is ErrNotFound once it has left the queue.
func (m *Manager) Result(ctx context.Context, id string) (*Receipt, error) {
	m.setup()
	s, err := m.look(ctx, id)
	if err != nil {
		return nil, err
	}
	return receiptOf(s), nil
}

// Find returns the ID of the message that was submitted with a key. It is
// ErrNotFound when there is none, or when it ended longer than Retention ago. It
// waits until Serve has read what the spool has from before.
func (m *Manager) Find(ctx context.Context, key string) (id string, err error) {
	m.setup()
	if err := m.spoolRead(ctx); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.receipts.keys[keyOf(key)]
	if r == nil {
		return "", ErrNotFound
	}
	return r.id, nil
}

// spoolRead waits until all that was in the spool at the start is known.
func (m *Manager) spoolRead(ctx context.Context) error {
	select {
	case <-m.read: // also when the manager has been stopped since
		return nil
	default:
	}
	select {
	case <-m.read:
		return nil
	case <-m.stop:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

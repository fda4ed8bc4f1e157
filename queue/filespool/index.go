package filespool

import (
	"maps"
	"slices"
	"sync"
)

// index is what the journal says, for as long as its segments are there. Of
// messages that lie quietly in their files it knows nothing: memory does not
// grow with the queue.
type index struct {
	mu       sync.RWMutex
	segments []*segment // in their order; the last one may still be written to
	tracked  map[string]*tracked
	// leaving are removed messages whose file may still be there, or come back.
	leaving map[string]bool
	size    int64     // of the segments
	changed sync.Cond // the size, or what the cleaner says
	// replaying says that records of an earlier process are read.
	replaying bool
}

// tracked is a message of which the journal tells something that no file tells.
type tracked struct {
	id         string
	seg        *segment // holds its image; nil: it has a file
	at         int64    // of the image
	size       int
	dir        *directory  // of its file, nil when nobody has looked
	changes    []*recorded // since the image, or since the file was last written to
	recipients int         // -1: not counted
	oldest     *segment    // that holds the oldest record that counts
	lost       bool        // a sync of its file failed: it gets a new one
	filed      bool        // it may have a file already, though seg is what counts
}

// recorded is a change in the journal.
type recorded struct {
	id    string
	place place
	b     []byte
}

func (x *index) init() {
	x.tracked, x.leaving = map[string]*tracked{}, map[string]bool{}
	x.changed.L = &x.mu
}

func (x *index) newest() *segment {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if len(x.segments) == 0 {
		return nil
	}
	return x.segments[len(x.segments)-1]
}

func (x *index) push(seg *segment) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.segments = append(x.segments, seg)
	x.size += seg.size
}

// drop takes the oldest segment away.
func (x *index) drop(seg *segment) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.segments) > 0 && x.segments[0] == seg {
		x.segments = x.segments[1:]
		x.size -= seg.size
		x.changed.Broadcast()
	}
}

// apply takes in one part of a record that stands at an offset of seg, and
// returns the change if it is one. Under mu.
func (x *index) apply(p *part, seg *segment, at int64) *recorded {
	t := x.tracked[p.id]
	switch p.kind {
	case partMessage:
		if t == nil {
			x.track(&tracked{id: p.id, seg: seg, at: at, size: len(p.data), recipients: p.recipients}, seg)
		}
	case partFile:
		if t == nil {
			x.track(&tracked{id: p.id, dir: p.dir, recipients: p.recipients}, seg)
		}
	case partChange:
		if t == nil {
			t = &tracked{id: p.id, recipients: p.recipients}
			x.track(t, seg)
		}
		rec := &recorded{place: place{seg.seq, at}, b: p.data}
		t.changes = append(t.changes, rec)
		return rec
	case partGone:
		if t == nil || t.seg == nil || t.filed || x.replaying && t.seg == x.oldest(seg) {
			x.leaving[p.id] = true
		}
		x.untrack(t)
	case partMoved:
		x.moved(t, p, seg)
	}
	return nil
}

// oldest returns the segment of which messages may have been about to get files
// when an earlier process ended: the oldest one. Under mu, while seg is replayed.
func (x *index) oldest(seg *segment) *segment {
	if len(x.segments) > 0 {
		return x.segments[0]
	}
	return seg
}

// moved notes that a message has a file that tells everything up to a place.
func (x *index) moved(t *tracked, p *part, seg *segment) {
	if t == nil {
		return // it was removed meanwhile, or nothing is left to be forgotten
	}
	upTo, err := p.place()
	if err != nil {
		return
	}
	t.seg, t.dir, t.lost, t.filed = nil, p.dir, false, false
	n := 0
	for n < len(t.changes) && !t.changes[n].place.after(upTo) {
		n++
	}
	left := t.changes[n:]
	x.untrack(t)
	if len(left) == 0 {
		return
	}
	t.changes = slices.Clone(left)
	oldest := seg
	for _, s := range x.segments {
		if s.seq == t.changes[0].place.segment {
			oldest = s
		}
	}
	x.track(t, oldest)
}

func (x *index) track(t *tracked, oldest *segment) {
	t.oldest = oldest
	oldest.live[t] = true
	x.tracked[t.id] = t
}

func (x *index) untrack(t *tracked) {
	if t == nil {
		return
	}
	delete(t.oldest.live, t)
	delete(x.tracked, t.id)
}

// file notes that a message is about to get a file, and is false when there is
// no such message any more.
func (x *index) file(id string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.tracked[id]
	if t == nil {
		return false
	}
	t.filed = true
	return true
}

// relocate notes that changes were written again, elsewhere.
func (x *index) relocate(changes []*recorded, to func(i int) place) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, rec := range changes {
		rec.place = to(i)
	}
}

// get returns a copy of what is known of a message. gone says that it was
// removed.
func (x *index) get(id string) (t tracked, found, gone bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if p := x.tracked[id]; p != nil {
		t, found = *p, true
		t.changes = p.changes[:len(p.changes):len(p.changes)]
	}
	return t, found, x.leaving[id]
}

// ids returns all messages that the journal knows.
func (x *index) ids() []string {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Collect(maps.Keys(x.tracked))
}

func (x *index) tracks(id string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.tracked[id] != nil
}

func (x *index) knows(id string) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.tracked[id] != nil || x.leaving[id]
}

// left notes that the files of removed messages are gone for good.
func (x *index) left(ids []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, id := range ids {
		delete(x.leaving, id)
	}
}

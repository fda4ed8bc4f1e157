package queue

// Recipients are worked on in portions, so that a list neither fills the memory
// with its jobs and results nor takes the room of other mail: a message gets
// half of the places for recipients that are free, and more when a quarter of
// that is done. As with the places of deliveries, n lists leave one part of
// 2^n to the others.

// leastPortion is what a message gets in any case. A small message never waits
// for lists.
const leastPortion = 50

// portion takes the next recipients of the message into work: the pending ones
// of those from first to before end.
func (r *run) portion() (first, end int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	marks := r.stored.Marks
	first, end = r.next, r.next
	size := 0
	for most := r.share() - r.working; end < len(marks) && size < most; end++ {
		if marks[end].State == Pending {
			size++
		}
	}
	r.next = end
	r.work(size)
	return first, end
}

// share is how many recipients the message may have in work. Under mu.
func (r *run) share() int {
	others := int(r.m.working.Load()) - r.working
	return max((r.m.recipientLimit()-others)/2, leastPortion)
}

// work counts recipients that are taken into work, or are done with. Under mu.
func (r *run) work(n int) {
	r.working += n
	r.m.working.Add(int64(n))
}

// more has the next portion taken when it is time, unless somebody does so.
func (r *run) more() {
	r.mu.Lock()
	due := !r.filling && r.next < len(r.stored.Marks) && r.working <= r.share()/4*3
	if due {
		r.filling = true
		r.busy++ // or the run might end meanwhile
	}
	r.mu.Unlock()
	if !due {
		return
	}
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	r.m.help(r.fill)
}

// fill puts the next portion in line. Of a message that somebody has ordered
// away there is none; while the manager comes to rest, there is no next.
func (r *run) fill() {
	if !r.ordered() {
		if r.m.draining() {
			r.release()
			return
		}
		r.m.enqueue(r.route())
	}
	r.mu.Lock()
	r.filling = false
	r.mu.Unlock()
	r.release()
}

// ordered leaves the recipients that are not in work yet without a result when
// the message is ordered away, and reports whether it is.
func (r *run) ordered() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.order == orderNone {
		return false
	}
	for ; r.next < len(r.stored.Marks); r.next++ {
		if r.stored.Marks[r.next].State == Pending {
			r.left--
			r.mixed = true
		}
	}
	return true
}

// slots is how many deliveries of a transport a run has needed so far.
type slots struct {
	transport *transport
	n         int
}

// join adds a job to the one of the same message that is in line for the same
// destination, if there is one. Under Manager.mu.
func (r *run) join(d *destination, j *job) bool {
	if r.jobs == nil {
		if r.unrouted == 0 { // nothing will come that could join it
			return false
		}
		r.jobs = make(map[*destination]*job)
	}
	first := r.jobs[d]
	if first == nil || !first.inLine || first.nexthop != j.nexthop {
		r.jobs[d] = j
		return false
	}
	first.index = append(first.index, j.index...)
	return true
}

// count adds the deliveries that n more recipients take. Under Manager.mu.
func (r *run) count(t *transport, n int) {
	s := r.slot(t)
	s.n += (n + t.limits.Recipients - 1) / t.limits.Recipients
}

// class returns the class of the message as one transport sees it. What has not
// been routed yet counts as if all of it went there, so that the first portion
// of a list is not taken for a small message. Under Manager.mu.
func (r *run) class(t *transport) int {
	return classOf(r.slot(t).n + r.unrouted/t.limits.Recipients)
}

func (r *run) slot(t *transport) *slots {
	for i := range r.slots {
		if r.slots[i].transport == t {
			return &r.slots[i]
		}
	}
	r.slots = append(r.slots, slots{transport: t})
	return &r.slots[len(r.slots)-1]
}

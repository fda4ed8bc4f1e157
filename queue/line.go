package queue

// line is what waits for deliveries: transports take turns, in each its
// destinations, in each its messages. Guarded by Manager.mu.
//
// A transport or destination stands in line only while it has something that
// may start, but for one rule: a destination gets a further delivery only while
// it has fewer than there are free places. So one silent destination never takes
// the last places, and n of them leave one part of n+1 to the others.
type line struct {
	limit, busy int
	transports  map[string]*transport
	ready       fifo[*transport]
	dead        fifo[*destination] // in the order in which they may be tried again
}

// transport is one delivery agent and its destinations.
type transport struct {
	name         string
	agent        DeliveryAgent
	limits       Limits
	busy         int
	destinations map[string]*destination
	ready        fifo[*destination]
	inLine       bool
}

// delivery is one call of an agent.
type delivery struct {
	run         *run
	destination *destination
	nexthop     string
	index       []int  // into Envelope.Recipients
	reported    []bool // by position in index; guarded by the run's mu
	over        bool   // Deliver has returned; guarded by the run's mu
}

// add puts a job in line.
func (l *line) add(d *destination, j *job) {
	d.jobs.push(j)
	l.enter(d)
}

// enter puts d in line if something of it may start.
func (l *line) enter(d *destination) {
	t := d.transport
	if !d.ready && d.jobs.len() > 0 && d.busy < d.window {
		d.ready = true
		t.ready.push(d)
	}
	if !t.inLine && t.ready.len() > 0 && t.busy < t.limits.Concurrency {
		t.inLine = true
		l.ready.push(t)
	}
}

// next returns a delivery to start, or nil.
func (l *line) next() *delivery {
	for range l.ready.len() {
		if l.busy >= l.limit {
			return nil
		}
		t := l.ready.pop()
		t.inLine = false
		d := l.choose(t)
		if t.ready.len() > 0 && t.busy < t.limits.Concurrency {
			t.inLine = true
			l.ready.push(t)
		}
		if d != nil {
			v := d.start()
			l.busy++
			l.enter(d)
			return v
		}
	}
	return nil
}

// choose takes the first destination out of t's line that may have a delivery.
func (l *line) choose(t *transport) *destination {
	for range t.ready.len() {
		d := t.ready.pop()
		switch {
		case d.jobs.len() == 0 || d.busy >= d.window:
			d.ready = false // until enter finds that it may start again
		case d.busy < l.limit-l.busy && d.busy <= t.limits.Concurrency-t.busy-1:
			d.ready = false
			return d
		default:
			t.ready.push(d)
		}
	}
	return nil
}

// start takes the next recipients of the next message. What is left of it goes
// behind the other messages, so that a big list never stops a small one.
func (d *destination) start() *delivery {
	j := d.jobs.pop()
	n := min(len(j.index), d.transport.limits.Recipients)
	v := &delivery{run: j.run, destination: d, nexthop: j.nexthop, index: j.index[:n:n]}
	if j.index = j.index[n:]; len(j.index) > 0 {
		d.jobs.push(j)
	}
	d.busy++
	d.transport.busy++
	return v
}

// leave gives the place of a delivery free.
func (l *line) leave(d *destination) {
	l.busy--
	d.busy--
	d.transport.busy--
	l.enter(d)
}

// destination returns the destination with this key, made when it is new.
func (t *transport) destination(key string) *destination {
	d := t.destinations[key]
	if d == nil {
		d = &destination{transport: t, key: key}
		d.reset()
		t.destinations[key] = d
	}
	return d
}

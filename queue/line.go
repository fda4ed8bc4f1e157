package queue

import "time"

// line is what waits for deliveries: transports take turns, in each the classes
// of messages, in each class the destinations, in each its messages. Guarded by
// Manager.mu.
//
// A transport or destination stands in line only while it has something that
// may start, but for one rule: a destination gets a further delivery only while
// it has fewer than there are free places. So one silent destination never takes
// the last places, and n of them leave one part of n+1 to the others.
type line struct {
	limit, busy int
	transports  map[string]*transport
	ready       fifo[*transport]
	troubled    fifo[trouble] // sites that failed, to be looked at in this order
	pauses      pauses
	now         func() time.Duration // Manager.now
	kick        func()               // has resume called when the first pause is over
}

// trouble is a site whose failures are remembered.
type trouble struct {
	destination *destination
	at          time.Duration // when it is looked at
}

// remember keeps a site that has failed in mind, until bury.
func (l *line) remember(d *destination) {
	if !d.troubled {
		d.troubled = true
		l.troubled.push(trouble{d, d.until})
	}
}

// bury forgets the sites whose death is over, and those that did not fail for as
// long a time and are not used.
func (l *line) bury(now, again time.Duration) {
	for l.troubled.len() > 0 && l.troubled.first().at <= now {
		d := l.troubled.pop().destination
		if d.until > now || !d.dead && (d.busy > 0 || d.waiting() > 0) {
			l.troubled.push(trouble{d, max(d.until, now+again)})
			continue
		}
		d.troubled = false
		d.reset()
		d.forget()
	}
}

// transport is one delivery agent and its destinations.
type transport struct {
	name         string
	agent        DeliveryAgent
	limits       Limits
	busy         int
	destinations map[string]*destination
	ready        [classes]fifo[*destination]
	turns        turns
	inLine       bool
	paused       bool
}

// delivery is one call of an agent.
type delivery struct {
	run         *run
	probe       *probe // in place of run
	destination *destination
	nexthop     string
	index       []int  // into Envelope.Recipients
	reported    []bool // by position in index; guarded by the run's mu
	over        bool   // Deliver has returned; guarded by the run's mu
}

// add puts a job in line.
func (l *line) add(d *destination, j *job) {
	j.inLine = true
	d.jobs[j.class].push(j)
	l.enter(d)
}

// enter puts d in line if something of it may start.
func (l *line) enter(d *destination) {
	t := d.transport
	for c := range classes {
		if !d.inLine[c] && d.may(c) {
			d.inLine[c] = true
			t.ready[c].push(d)
		}
	}
	l.enterTransport(t)
}

// enterTransport puts t in line if something of it may start.
func (l *line) enterTransport(t *transport) {
	if !t.inLine && !t.paused && t.busy < t.limits.Concurrency && t.waits() {
		t.inLine = true
		l.ready.push(t)
	}
}

func (t *transport) waits() bool {
	for c := range classes {
		if t.ready[c].len() > 0 {
			return true
		}
	}
	return false
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
		if d == nil {
			l.enterTransport(t)
			continue
		}
		v := d.start()
		l.busy++
		l.space(t)
		l.enter(d)
		return v
	}
	return nil
}

// choose takes the destination out of t's line whose turn it is.
func (l *line) choose(t *transport) *destination {
	for _, c := range t.turns.order() {
		if d := l.first(t, c); d != nil {
			t.turns.took(c, func(c int) bool { return t.ready[c].len() > 0 })
			return d
		}
	}
	return nil
}

// first takes the first destination out of t's line that has messages of class
// c and may have a delivery. Those that it passes over have deliveries under
// way, so that there are never more of them than places.
func (l *line) first(t *transport, c int) *destination {
	ready := &t.ready[c]
	for range ready.len() {
		d := ready.pop()
		switch {
		case !d.may(c):
			d.inLine[c] = false // until enter finds that it may start again
		case d.busy < l.limit-l.busy && d.busy < t.limits.Concurrency-t.busy:
			d.inLine[c] = false
			return d
		default:
			ready.push(d)
		}
	}
	return nil
}

// start takes the next recipients of the next message. What is left of it goes
// behind the other messages of its class, so that no list stops another.
func (d *destination) start() *delivery {
	jobs := d.choose()
	j := jobs.pop()
	n := min(len(j.index), d.transport.limits.Recipients)
	v := &delivery{run: j.run, probe: j.probe, destination: d, nexthop: j.nexthop, index: j.index[:n:n]}
	j.index = j.index[n:]
	if j.inLine = len(j.index) > 0; j.inLine {
		jobs.push(j)
	}
	d.busy++
	d.transport.busy++
	return v
}

// choose returns the messages of the class whose turn it is. There is one.
func (d *destination) choose() *fifo[*job] {
	has := func(c int) bool { return d.jobs[c].len() > 0 }
	for _, c := range d.turns.order() {
		if has(c) {
			d.turns.took(c, has)
			return &d.jobs[c]
		}
	}
	return nil
}

// leave gives the place of a delivery free.
func (l *line) leave(d *destination) {
	l.busy--
	d.busy--
	d.transport.busy--
	l.rest(d)
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

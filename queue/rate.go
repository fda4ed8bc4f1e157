package queue

import (
	"container/heap"
	"time"
)

// pause is a destination or a transport that rests until a time, because of
// Limits.RateDelay or Limits.TransportDelay.
type pause struct {
	until       time.Duration // by line.now
	destination *destination  // nil means the whole transport
	transport   *transport
}

// pauses has the one on top that ends first.
type pauses []pause

func (p pauses) Len() int           { return len(p) }
func (p pauses) Less(i, j int) bool { return p[i].until < p[j].until }
func (p pauses) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }

// Push is for container/heap.
func (p *pauses) Push(x any) { *p = append(*p, x.(pause)) }

// Pop is for container/heap.
func (p *pauses) Pop() any {
	old := *p
	x := old[len(old)-1]
	old[len(old)-1] = pause{}
	*p = old[:len(old)-1]
	return x
}

// rest lets a destination rest after a delivery, if it is to.
func (l *line) rest(d *destination) {
	if delay := d.transport.limits.RateDelay; delay > 0 {
		d.paused = true
		l.pause(pause{l.now() + delay, d, d.transport})
	}
}

// space lets a transport rest after the start of a delivery, if it is to.
func (l *line) space(t *transport) {
	if delay := t.limits.TransportDelay; delay > 0 {
		t.paused = true
		l.pause(pause{l.now() + delay, nil, t})
	}
}

func (l *line) pause(p pause) {
	heap.Push(&l.pauses, p)
	if l.pauses[0] == p {
		l.kick()
	}
}

// resume ends the pauses whose time is over.
func (l *line) resume(now time.Duration) {
	for len(l.pauses) > 0 && l.pauses[0].until <= now {
		p := heap.Pop(&l.pauses).(pause)
		if p.destination == nil {
			p.transport.paused = false
			l.enterTransport(p.transport)
			continue
		}
		p.destination.paused = false
		l.enter(p.destination)
		p.destination.forget()
	}
}

package queue

import (
	"strings"
	"time"

	"github.com/mtakit/mtakit"
)

// destination is one site as one transport sees it: what waits for it, and how
// many deliveries it is trusted with. Guarded by Manager.mu.
//
// The feedback is that of Postfix's SCHEDULER_README: each success raises the
// window by Limits.Positive, each failure of the site lowers it by
// Limits.Negative, and after Limits.FailedCohorts whole (pseudo-)cohorts of
// failures in sequence the site is dead for MinBackoff.
type destination struct {
	transport *transport
	key       string
	jobs      [classes]fifo[*job]
	inLine    [classes]bool // stands in its transport's line
	turns     turns
	busy      int
	paused    bool // rests between two deliveries

	window                        int
	success, failure, failCohorts float64
	dead                          bool
	troubled                      bool          // stands in line.troubled
	until                         time.Duration // when its death is over, or a failure forgotten; by Manager.now
	last                          mtakit.Result // why it is dead
}

// wakeRate is how many sleepers one success wakes. They come back at the pace
// at which the site proves that it takes mail.
const wakeRate = 2

// job is the recipients of one message that go to one destination.
type job struct {
	run     *run
	probe   *probe // in place of run
	nexthop string
	index   []int // into Envelope.Recipients
	class   int   // of the message
	inLine  bool
}

// may reports whether a message of class c may start.
func (d *destination) may(c int) bool {
	return d.jobs[c].len() > 0 && d.busy < d.window && !d.paused
}

// site is the key without the recipient that limits.Recipients may have put
// before it.
func (d *destination) site() string { return d.key[strings.LastIndexByte(d.key, ' ')+1:] }

// waiting is how many messages are in line.
func (d *destination) waiting() int {
	n := 0
	for c := range d.jobs {
		n += d.jobs[c].len()
	}
	return n
}

// take takes a job out of line, or returns nil.
func (d *destination) take() *job {
	for c := range d.jobs {
		if d.jobs[c].len() > 0 {
			j := d.jobs[c].pop()
			j.inLine = false
			return j
		}
	}
	return nil
}

// succeeded counts a delivery in which the site did its part. One that was under
// way when it died shows that it lives.
func (d *destination) succeeded() {
	if d.dead {
		d.reset()
		return
	}
	d.failCohorts = 0
	limits := &d.transport.limits
	// A window that the traffic does not fill says nothing about the site.
	if d.window >= limits.Destination || d.window >= d.busy+limits.Initial {
		return
	}
	d.success += limits.Positive.at(d.window)
	for d.success >= 1 {
		d.window++
		d.success--
		d.failure = 0
	}
	d.window = min(d.window, limits.Destination)
}

// failed counts a delivery that the site did not take part in, and reports
// whether the site is dead now.
func (d *destination) failed(r mtakit.Result, until time.Duration) bool {
	if d.dead {
		return false
	}
	d.until = until
	limits := &d.transport.limits
	d.failCohorts += 1 / float64(d.window)
	if limits.FailedCohorts > 0 && d.failCohorts > float64(limits.FailedCohorts) {
		d.dead, d.last = true, r
		return true
	}
	d.failure -= limits.Negative.at(d.window)
	for d.failure < 0 {
		d.window--
		d.failure++
		d.success = 0
	}
	d.window = max(d.window, 1)
	return false
}

// alive reports whether the site may be tried; the time of its death over, it
// begins anew.
func (d *destination) alive(now time.Duration) bool {
	if d.dead && now >= d.until {
		d.reset()
	}
	return !d.dead
}

func (d *destination) reset() {
	d.dead = false
	d.window = d.transport.limits.Initial
	d.success, d.failure, d.failCohorts = 0, 0, 0
}

// idle reports whether there is nothing to remember of the site. That it failed
// is remembered, or one that gets little mail would never be dead.
func (d *destination) idle() bool {
	return d.busy == 0 && d.waiting() == 0 && !d.dead && d.failCohorts == 0 && !d.paused
}

// forget drops the destination if there is nothing to remember of it.
func (d *destination) forget() {
	if d.idle() && d.transport.destinations[d.key] == d { // and not another one that came after it
		delete(d.transport.destinations, d.key)
	}
}

// suspended is the result of recipients whose site is dead.
func (d *destination) suspended() mtakit.Result {
	reason := d.last.Diagnostic
	if reason == "" && d.last.Reply != nil {
		reason = d.last.Reply.Message
	}
	if reason == "" {
		reason = "the destination does not answer"
	}
	return deferred(4, 4, 1, "delivery temporarily suspended: "+reason, true)
}

package queue

import (
	"time"

	"github.com/mtakit/mtakit"
)

// destination is one site as one transport sees it: what waits for it, and how
// many deliveries it is trusted with. Guarded by Manager.mu.
//
// The feedback is that of Postfix's SCHEDULER_README, with its defaults: each
// success raises the window by one, each failure of the site lowers it by one,
// and after a whole (pseudo-)cohort of failures in sequence, failedCohorts of
// them, the site is dead for MinBackoff.
type destination struct {
	transport *transport
	key       string
	jobs      fifo[*job]
	ready     bool // stands in its transport's line
	busy      int

	window                        int
	success, failure, failCohorts float64
	dead                          bool
	deadUntil                     time.Duration // by Manager.now
	last                          mtakit.Result // why it is dead

	// sleepers are the messages that wait for nothing but this site, and since
	// when, by Manager.now.
	sleepers map[*entry]time.Duration
}

// failedCohorts is Postfix's destination_concurrency_failed_cohort_limit.
const failedCohorts = 1

// wakeRate is how many sleepers one success wakes. They come back at the pace
// at which the site proves that it takes mail.
const wakeRate = 2

// job is the recipients of one message that go to one destination.
type job struct {
	run     *run
	nexthop string
	index   []int // into Envelope.Recipients
}

// succeeded counts a delivery in which the site did its part.
func (d *destination) succeeded() {
	d.failCohorts = 0
	// A window that the traffic does not fill says nothing about the site.
	if d.window >= d.transport.limits.Destination || d.window >= d.busy+d.transport.limits.Initial {
		return
	}
	d.success++
	for d.success >= 1 {
		d.window++
		d.success--
		d.failure = 0
	}
	d.window = min(d.window, d.transport.limits.Destination)
}

// failed counts a delivery that the site did not take part in, and reports
// whether the site is dead now.
func (d *destination) failed(r mtakit.Result, until time.Duration) bool {
	if d.dead {
		return false
	}
	d.failCohorts += 1 / float64(d.window)
	if d.failCohorts > failedCohorts {
		d.dead, d.deadUntil, d.last = true, until, r
		return true
	}
	d.failure--
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
	if d.dead && now >= d.deadUntil {
		d.reset()
	}
	return !d.dead
}

func (d *destination) reset() {
	d.dead = false
	d.window = d.transport.limits.Initial
	d.success, d.failure, d.failCohorts = 0, 0, 0
}

// idle reports whether there is nothing to remember of the site.
func (d *destination) idle() bool {
	return d.busy == 0 && d.jobs.len() == 0 && !d.dead && len(d.sleepers) == 0
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

package queue

import (
	"fmt"

	"github.com/mtakit/mtakit"
)

// pump starts what may be started. Under mu.
func (m *Manager) pump() {
	for m.phase == serving {
		v := m.line.next()
		if v == nil {
			return
		}
		if v.probe != nil {
			m.work(func() { m.probe(v) })
			continue
		}
		v.run.hold()
		m.work(func() { m.deliver(v) })
	}
}

// deliver makes one delivery and records what came of it.
func (m *Manager) deliver(v *delivery) {
	if v.run.withdraw(len(v.index)) {
		m.leave(v, nil, true)
		v.run.release()
		return
	}
	results, fell := m.call(v)
	site := m.note(v, results)
	// A place is not kept while results go to disk, or slow disks would look like
	// slow sites; but there is an end to how many do that at a time.
	if early := m.settleEarly(); early {
		m.leave(v, site, fell)
		v.run.release()
		m.settled()
		return
	}
	v.run.release()
	m.leave(v, site, fell)
}

func (m *Manager) settleEarly() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.settling >= m.line.limit {
		return false
	}
	m.settling++
	return true
}

func (m *Manager) settled() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settling--
}

// call asks the agent. fell says that it panicked.
func (m *Manager) call(v *delivery) (results []mtakit.Result, fell bool) {
	s := v.run.stored
	d := &mtakit.Delivery{
		ID: s.ID, Attempt: s.Attempts, Envelope: s.Envelope, Recipients: recipients(s.Envelope.Recipients, v.index),
		NextHop: v.nexthop, Message: s.Message,
	}
	d.Report = func(i int, r mtakit.Result) { m.report(v, i, r) }
	m.observeAttempt(v, d)
	defer func() {
		if p := recover(); p != nil {
			failed := m.panicked(v.run, "", fmt.Sprint("delivery agent ", v.destination.transport.name, " panicked: ", p))
			results, fell = make([]mtakit.Result, len(v.index)), true
			for i := range results {
				results[i] = failed
			}
		}
	}()
	return v.destination.transport.agent.Deliver(m.deliverCtx, d), false
}

// recipients returns those of all that index names. It shares all's memory
// when they stand side by side.
func recipients(all []mtakit.Recipient, index []int) []mtakit.Recipient {
	first, n := index[0], len(index)
	if index[n-1]-first == n-1 {
		return all[first : first+n : first+n]
	}
	some := make([]mtakit.Recipient, n)
	for i, j := range index {
		some[i] = all[j]
	}
	return some
}

// report takes a result before the delivery is over. The last one of a message
// is not recorded at once: Deliver returns soon, and then one step does for the
// result and the removal.
func (m *Manager) report(v *delivery, i int, result mtakit.Result) {
	if i < 0 || i >= len(v.index) || result.Outcome == mtakit.Deferred {
		return
	}
	r := v.run
	r.mu.Lock()
	if v.reported == nil {
		v.reported = make([]bool, len(v.index))
	}
	known := v.reported[i] || v.over
	if !known {
		v.reported[i] = true
		r.note(v.index[i], result)
	}
	last := r.left == 0
	r.mu.Unlock()
	if known || last {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.help(r.advance)
}

// note gives each recipient of a delivery its result, and returns the one that
// counts against the site, if there is one.
func (m *Manager) note(v *delivery, results []mtakit.Result) (site *mtakit.Result) {
	cancelled := m.deliverCtx.Err() != nil
	v.run.mu.Lock()
	v.over = true
	v.run.mu.Unlock()
	for n, i := range v.index {
		result := deferred(4, 3, 0, "the delivery agent gave no result", false)
		if n < len(results) {
			result = results[n]
		}
		isDeferred := result.Outcome == mtakit.Deferred
		if isDeferred && result.Site && site == nil {
			failed := result // or each result would be allocated
			site = &failed
			v.run.blocked(v.destination)
		}
		if v.reported != nil && v.reported[n] || isDeferred && cancelled {
			continue // known, or not tried to the end: it stays as it is recorded
		}
		v.run.settle(i, result)
	}
	if cancelled {
		return nil
	}
	return site
}

// leave gives the place of a delivery free and learns from it, unless it ended
// in a way that says nothing of the site.
func (m *Manager) leave(v *delivery, site *mtakit.Result, fell bool) {
	d := v.destination
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case fell || m.deliverCtx.Err() != nil:
	case site == nil:
		d.succeeded()
		m.wakeSleepers(d)
	default:
		if d.failed(*site, m.now()+m.minBackoff()) {
			m.suspend(d)
		}
		m.line.remember(d)
	}
	m.line.leave(d)
	d.forget()
	m.pump()
}

// suspend defers what waits for a destination that has died. Under mu.
func (m *Manager) suspend(d *destination) {
	result := d.suspended()
	for j := d.take(); j != nil; j = d.take() {
		if j.probe != nil {
			j.probe.result <- result
			continue
		}
		m.help(func() {
			j.run.blocked(d)
			j.run.settleAll(j.index, result)
		})
	}
}

// wakeSleepers makes some messages due that wait for nothing but d, though not
// before MinBackoff has passed since they were tried: a site that takes one
// message and refuses the next must not keep them going round. Under mu.
func (m *Manager) wakeSleepers(d *destination) {
	if m.waiting.wake(m.waiting.site(d), wakeRate, m.now(), m.minBackoff()) > 0 {
		m.kick()
	}
}

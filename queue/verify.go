package queue

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/internal/wire"
)

// Verifier is a DeliveryAgent that can find out whether it would deliver to a
// recipient, without delivering anything.
//
// Verify is asked like Deliver and returns as many results: Delivered means that
// the recipient's mail would be taken, Bounced that it would not, and Deferred
// that this cannot be known now. d has no ID and an empty message.
type Verifier interface {
	Verify(ctx context.Context, d *mtakit.Delivery) []mtakit.Result
}

// Verify finds out whether mail for an address could be delivered, as Postfix's
// address verification does: Router and agent are asked as for a message, and
// the probe stands in line with the deliveries to the same destination, but
// nothing is ever sent, and nothing is in the spool. The result is what
// Verifier says; an agent that is no Verifier leaves it Deferred.
//
// The envelope sender is DoubleBounceSender. It must be an address that we
// accept mail for: a server that verifies senders too asks us for it.
//
// An error means that nothing was found out: ctx ended, or it is ErrClosed
// because the Manager is not serving.
func (m *Manager) Verify(ctx context.Context, address string) (mtakit.Result, error) {
	m.setup()
	if address == "" || !wire.IsAddress(address) {
		return mtakit.Result{Outcome: mtakit.Bounced, Status: smtp.EnhancedCode{5, 1, 3}, Diagnostic: "bad address syntax"}, nil
	}
	p := &probe{ctx: ctx, result: make(chan mtakit.Result, 1), envelope: &mtakit.Envelope{Sender: m.doubleBounceSender(),
		Arrival: time.Now(), Recipients: []mtakit.Recipient{{Address: address}}}}
	p.envelope.Options.UTF8 = !isASCII(address)
	if err := m.lineUp(p); err != nil {
		return mtakit.Result{}, err
	}
	select {
	case r := <-p.result:
		if err := m.interrupted(ctx, &r); err != nil {
			return mtakit.Result{}, err
		}
		m.log().Info("probe", "to", address, "relay", r.Remote, "status", r.Outcome.String(), "reason", said(&r))
		return r, nil
	case <-m.stop:
		return mtakit.Result{}, ErrClosed
	case <-ctx.Done():
		return mtakit.Result{}, fmt.Errorf("queue: verifying %s: %w", address, ctx.Err())
	}
}

// interrupted is the error when a result says nothing but that the probe was
// given up: nobody must remember it.
func (m *Manager) interrupted(ctx context.Context, r *mtakit.Result) error {
	switch {
	case r.Outcome != mtakit.Deferred:
		return nil
	case m.draining():
		return ErrClosed
	}
	return ctx.Err()
}

// probe is a question about a recipient that stands in line like a job.
type probe struct {
	ctx      context.Context // of who waits for it
	envelope *mtakit.Envelope
	result   chan mtakit.Result // has room for the one
}

// lineUp puts a probe in line, or settles it.
func (m *Manager) lineUp(p *probe) error {
	route, result := m.probeRoute(p)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.phase != serving:
		return ErrClosed
	case result != nil:
		p.result <- *result
		return nil
	}
	d := m.transport(route.Transport).destination(route.Key)
	if !d.alive(m.now()) {
		p.result <- d.suspended()
		return nil
	}
	m.line.add(d, &job{probe: p, nexthop: route.NextHop, index: []int{0}})
	m.pump()
	return nil
}

// probeRoute is ask for a probe.
func (m *Manager) probeRoute(p *probe) (route mtakit.Route, result *mtakit.Result) {
	defer func() {
		if v := recover(); v != nil {
			result = m.probePanicked(p, fmt.Sprint("router panicked: ", v))
		}
	}()
	return m.reach(p.ctx, "", p.envelope, &p.envelope.Recipients[0])
}

func (m *Manager) probePanicked(p *probe, reason string) *mtakit.Result {
	to := p.envelope.Recipients[0].Address
	m.log().Error("panic", "probe", to, "reason", reason, "stack", string(debug.Stack()))
	m.observe(mtakit.Event{Kind: mtakit.EventPanic, Recipient: to, Reason: reason})
	result := deferred(4, 3, 0, "internal error while verifying", false)
	return &result
}

// probe asks the agent, unless nobody waits for the answer any more.
func (m *Manager) probe(v *delivery) {
	p := v.probe
	if p.ctx.Err() != nil {
		m.leave(v, nil, true)
		return
	}
	result, fell := m.callVerifier(v)
	if result.Outcome == mtakit.Deferred && p.ctx.Err() != nil {
		fell = true // it was given up, which says nothing of the site
	}
	var site *mtakit.Result
	if result.Outcome == mtakit.Deferred && result.Site {
		site = &result
	}
	p.result <- result
	m.leave(v, site, fell)
}

// callVerifier asks the agent. fell says that this says nothing of the site.
func (m *Manager) callVerifier(v *delivery) (result mtakit.Result, fell bool) {
	p, t := v.probe, v.destination.transport
	agent, ok := t.agent.(Verifier)
	if !ok {
		return deferred(4, 3, 5, fmt.Sprintf("mail transport %q cannot verify addresses", t.name), false), true
	}
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	defer context.AfterFunc(m.deliverCtx, cancel)()
	defer func() {
		if fault := recover(); fault != nil {
			result, fell = *m.probePanicked(p, fmt.Sprint("delivery agent ", t.name, " panicked: ", fault)), true
		}
	}()
	results := agent.Verify(ctx, &mtakit.Delivery{Attempt: 1, Envelope: p.envelope, Recipients: p.envelope.Recipients,
		NextHop: v.nexthop, Message: mtakit.NewMessage(nil)})
	if len(results) == 0 {
		return deferred(4, 3, 0, "the delivery agent gave no result", false), false
	}
	result = results[0]
	bound(&result)
	return result, false
}

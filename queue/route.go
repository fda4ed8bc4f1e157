package queue

import (
	"cmp"
	"context"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// deferred makes a result of ours.
func deferred(a, b, c int, text string, site bool) mtakit.Result {
	return mtakit.Result{Status: smtp.EnhancedCode{a, b, c}, Diagnostic: text, Site: site}
}

// route asks the Router for each recipient of the next portion. It returns what
// there is to deliver; recipients that have their result already are settled.
func (r *run) route() []placed {
	first, end := r.portion()
	r.unrouted = len(r.stored.Marks) - end
	var jobs []placed
	find := make(map[mtakit.Route]int)
	for i := first; i < end; i++ {
		if r.stored.Marks[i].State != Pending {
			continue
		}
		route, result := r.m.ask(r, i)
		if result != nil {
			r.settle(i, *result)
			continue
		}
		n, ok := find[route]
		if !ok {
			n = len(jobs)
			find[route] = n
			jobs = append(jobs, placed{route, &job{run: r, nexthop: route.NextHop}})
		}
		jobs[n].job.index = append(jobs[n].job.index, i)
	}
	return jobs
}

// placed is a job and where it belongs.
type placed struct {
	route mtakit.Route
	job   *job
}

// ask returns the route of recipient i, filled in, or its result.
func (m *Manager) ask(r *run, i int) (route mtakit.Route, result *mtakit.Result) {
	p := &r.stored.Envelope.Recipients[i]
	defer func() {
		if v := recover(); v != nil {
			failed := m.panicked(r, p.Address, fmt.Sprint("router panicked: ", v))
			result = &failed
		}
	}()
	return m.reach(m.deliverCtx, r.stored.ID, r.stored.Envelope, p)
}

// reach asks the Router. id is for the log.
func (m *Manager) reach(ctx context.Context, id string, e *mtakit.Envelope, p *mtakit.Recipient) (mtakit.Route, *mtakit.Result) {
	route, err := m.Router.Route(ctx, e, p)
	switch {
	case err != nil:
		m.log().Error("routing", "id", id, "recipient", p.Address, "error", err)
		failed := deferred(4, 3, 0, "address resolver failure", false)
		return route, &failed
	case route.Reply != nil:
		failed := mtakit.ResultOf(route.Reply)
		return route, &failed
	case m.Agents[route.Transport] == nil:
		m.log().Error("no such transport", "id", id, "recipient", p.Address, "transport", route.Transport)
		failed := deferred(4, 3, 5, fmt.Sprintf("mail transport unavailable: %q", route.Transport), false)
		return route, &failed
	}
	route.NextHop = cmp.Or(route.NextHop, domain(p.Address), m.hostname())
	route.Key = cmp.Or(route.Key, route.NextHop)
	if cmp.Or(m.Transports[route.Transport].Recipients, m.Limits.Recipients) == 1 {
		route.Key = strings.ToLower(p.Address) + " " + route.Key // each recipient is a destination
	}
	return route, nil
}

// domain returns what stands behind the last "@", in lower case; "" when there
// is none.
func domain(address string) string {
	i := strings.LastIndexByte(address, '@')
	if i < 0 {
		return ""
	}
	return strings.ToLower(address[i+1:])
}

// panicked counts a panic against the message and returns its result.
func (m *Manager) panicked(r *run, recipient, reason string) mtakit.Result {
	m.log().Error("panic", "id", r.stored.ID, "recipient", recipient, "reason", reason, "stack", string(debug.Stack()))
	m.observe(mtakit.Event{Kind: mtakit.EventPanic, ID: r.stored.ID, Sender: r.stored.Envelope.Sender, Recipient: recipient,
		Reason: reason, Attrs: r.stored.Envelope.Attrs})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.panic = reason
	return deferred(4, 3, 0, "internal error while delivering", false)
}

// enqueue puts jobs in line, and settles those whose destination is dead.
func (m *Manager) enqueue(jobs []placed) {
	type refusal struct {
		job    *job
		result mtakit.Result
	}
	var refused []refusal
	m.mu.Lock()
	for _, p := range jobs {
		p.job.run.count(m.transport(p.route.Transport), len(p.job.index))
	}
	for _, p := range jobs {
		t := m.transport(p.route.Transport)
		d := t.destination(p.route.Key)
		if !d.alive(m.now()) {
			refused = append(refused, refusal{p.job, d.suspended()})
			p.job.run.blocked(d)
			continue
		}
		if !p.job.run.join(d, p.job) {
			p.job.class = p.job.run.class(t)
			m.line.add(d, p.job)
		}
	}
	m.pump()
	m.mu.Unlock()
	for _, f := range refused {
		f.job.run.settleAll(f.job.index, f.result)
	}
}

func (m *Manager) transport(name string) *transport {
	t := m.line.transports[name]
	if t == nil {
		t = &transport{name: name, agent: m.Agents[name], limits: m.limits(name), destinations: make(map[string]*destination)}
		m.line.transports[name] = t
	}
	return t
}

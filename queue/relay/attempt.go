package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/internal/wire"
)

// attempt is one call of Deliver.
type attempt struct {
	agent   *Agent
	d       *mtakit.Delivery
	times   Timeouts
	results []mtakit.Result
	probe   bool   // ends before DATA
	done    []bool // final and reported
	met     []bool // has a result that another host may still better
}

func newAttempt(a *Agent, d *mtakit.Delivery) *attempt {
	n := len(d.Recipients)
	return &attempt{agent: a, d: d, times: a.Timeouts.withDefaults(),
		results: make([]mtakit.Result, n), done: make([]bool, n), met: make([]bool, n)}
}

// run tries an idle connection and then the hosts, until nobody is left.
func (t *attempt) run(ctx context.Context) {
	a := t.agent
	t.checkRecipients()
	hop, err := parseNextHop(t.d.NextHop)
	if len(t.pending()) == 0 {
		return
	}
	if err != nil {
		t.finish(t.pending(), badNextHop(t.d, err))
		return
	}
	key := strings.ToLower(t.d.NextHop)
	tried := ""
	if s := a.idle.take(key, orElse(a.Lifetime, 300*time.Second)); s != nil {
		if t.converse(ctx, s, key) {
			tried = s.host.dial
		}
	}
	if len(t.pending()) == 0 {
		return
	}
	hosts, err := a.hosts(ctx, hop)
	if ctx.Err() != nil {
		err = interrupted(ctx)
	}
	var fault *trouble
	if errors.As(err, &fault) {
		t.trouble(t.pending(), fault)
		return
	}
	t.tryHosts(ctx, hosts, key, tried)
}

// tryHosts goes from host to host with the recipients that are left.
func (t *attempt) tryHosts(ctx context.Context, hosts []host, key, tried string) {
	sessions := 0
	if tried != "" {
		sessions++
	}
	for _, h := range hosts {
		pending := t.pending()
		if len(pending) == 0 || sessions >= max(1, orElse(t.agent.SessionLimit, 2)) {
			return
		}
		if h.dial == tried {
			continue
		}
		s, fault := t.agent.connect(ctx, h, t.times, t.d.NextHop)
		if fault != nil {
			t.trouble(pending, fault)
			if ctx.Err() != nil {
				return
			}
			continue
		}
		sessions++
		t.converse(ctx, s, key)
	}
}

// converse delivers over one session. It reports whether the session was alive:
// one that was idle may have died since, which says nothing of the host.
func (t *attempt) converse(ctx context.Context, s *session, key string) (alive bool) {
	a := t.agent
	s.bind(ctx)
	alive, healthy := true, true
	for index := t.pending(); len(index) > 0 && healthy; {
		tr := &transaction{attempt: t, session: s, index: index}
		healthy = tr.run()
		alive = alive && !tr.dead
		index = tr.again
		if !tr.taken {
			break
		}
	}
	if !s.unbind() {
		healthy = false
	}
	switch {
	case !healthy:
		s.close()
	case !a.idle.put(key, s, orElse(a.IdleTime, 2*time.Second), orElse(a.IdleLimit, 100)):
		s.quit()
	}
	return alive
}

// refuse answers for all what needs no server.
func (a *Agent) refuse(d *mtakit.Delivery) (mtakit.Result, bool) {
	bounce := func(x, y int, text string) (mtakit.Result, bool) {
		return mtakit.Result{Outcome: mtakit.Bounced, Status: smtp.EnhancedCode{5, x, y}, Diagnostic: text}, true
	}
	limit := orElse(a.HopLimit, 50)
	switch hops := d.Message.Header.Count("Received"); {
	case limit > 0 && hops > limit:
		return bounce(4, 6, fmt.Sprintf("too many hops: %d Received fields, this message loops", hops))
	case !wire.IsAddress(d.Envelope.Sender):
		return bounce(1, 7, "sender address cannot be sent by SMTP")
	case d.Envelope.Options.Body == smtp.BodyBinaryMIME:
		return bounce(6, 3, "BODY=BINARYMIME can only be sent in chunks, which this agent does not do")
	case d.Envelope.Options.RequireTLS:
		return bounce(7, 30, "REQUIRETLS needs a verified server, which this agent cannot promise") // RFC 8689, section 5
	}
	return mtakit.Result{}, false
}

// checkRecipients bounces addresses that would break out of their command.
func (t *attempt) checkRecipients() {
	for i := range t.d.Recipients {
		if address := t.d.Recipients[i].Address; address == "" || !wire.IsAddress(address) {
			t.finish([]int{i}, mtakit.Result{Outcome: mtakit.Bounced, Status: smtp.EnhancedCode{5, 1, 3},
				Diagnostic: "recipient address cannot be sent by SMTP"})
		}
	}
}

// badNextHop is permanent when the recipient's own domain is what cannot be
// read, and otherwise a fault in some table that can be mended.
func badNextHop(d *mtakit.Delivery, err error) mtakit.Result {
	address := d.Recipients[0].Address
	if strings.EqualFold(address[strings.LastIndexByte(address, '@')+1:], d.NextHop) {
		return mtakit.Result{Outcome: mtakit.Bounced, Status: smtp.EnhancedCode{5, 1, 2}, Diagnostic: err.Error()}
	}
	return mtakit.Result{Status: smtp.EnhancedCode{4, 3, 5}, Diagnostic: err.Error()}
}

// all returns the indexes of all recipients.
func (t *attempt) all() []int {
	index := make([]int, len(t.results))
	for i := range index {
		index[i] = i
	}
	return index
}

// pending returns the indexes of recipients without a final result.
func (t *attempt) pending() []int {
	index := make([]int, 0, len(t.done))
	for i, done := range t.done {
		if !done {
			index = append(index, i)
		}
	}
	return index
}

// finish gives a final result and reports it.
func (t *attempt) finish(index []int, r mtakit.Result) {
	for _, i := range index {
		if t.done[i] {
			continue
		}
		t.results[i], t.done[i] = r, true
		if t.d.Report != nil {
			t.d.Report(i, r)
		}
	}
}

// meet gives a result that the next host may better. A host that cannot be
// reached does not hide what another one said of the recipient, and a host that
// refuses for good does not count when another one may still be reached.
func (t *attempt) meet(index []int, r mtakit.Result) {
	for _, i := range index {
		old := t.results[i]
		switch {
		case t.met[i] && old.Outcome == mtakit.Deferred && old.Reply != nil && !old.Site && r.Site:
		case t.met[i] && old.Outcome == mtakit.Deferred && r.Outcome == mtakit.Bounced:
		default:
			t.results[i], t.met[i] = r, true
		}
	}
}

// trouble tells the recipients of what befell the connection.
func (t *attempt) trouble(index []int, fault *trouble) {
	t.agent.log().Debug("no delivery", "id", t.d.ID, "nexthop", t.d.NextHop, "reason", fault.text, "error", fault.cause)
	t.meet(index, fault.result())
}

// reportRest makes what was met final.
func (t *attempt) reportRest() {
	for _, i := range t.pending() {
		t.finish([]int{i}, t.results[i])
	}
}

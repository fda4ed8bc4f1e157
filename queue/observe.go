package queue

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/mtakit/mtakit"
)

func (m *Manager) observe(e mtakit.Event) {
	if m.Observer == nil {
		return
	}
	e.Time = time.Now()
	defer m.survive("observer")
	m.Observer.Observe(m.recordCtx, e)
}

// survive is deferred around somebody else's code that only listens: its panic is
// logged, and the mail goes on.
func (m *Manager) survive(who string) {
	if p := recover(); p != nil {
		m.log().Error("panic in "+who, "panic", p, "stack", string(debug.Stack()))
	}
}

func (m *Manager) observeAttempt(v *delivery, d *mtakit.Delivery) {
	if m.Observer == nil {
		return
	}
	route := mtakit.Route{Transport: v.destination.transport.name, NextHop: v.nexthop, Key: v.destination.key}
	for i := range d.Recipients {
		m.observe(mtakit.Event{Kind: mtakit.EventAttempt, ID: d.ID, Sender: d.Envelope.Sender,
			Recipient: d.Recipients[i].Address, Size: v.run.stored.Size, Route: route, Attrs: d.Envelope.Attrs})
	}
}

func (m *Manager) observeResult(kind mtakit.EventKind, s *Stored, mark *Mark) {
	if m.Observer == nil {
		return
	}
	result := mark.Result
	m.observe(mtakit.Event{Kind: kind, ID: s.ID, Sender: s.Envelope.Sender,
		Recipient: s.Envelope.Recipients[mark.Recipient].Address, Size: s.Size, Result: &result,
		Reason: said(&result), Attrs: s.Envelope.Attrs})
}

// announce tells of a result that is recorded.
func (m *Manager) announce(s *Stored, mark *Mark) {
	kind := mtakit.EventDelivered
	switch mark.Result.Outcome {
	case mtakit.Deferred:
		kind = mtakit.EventDeferred
	case mtakit.Bounced:
		kind = mtakit.EventBounced
	}
	m.observeResult(kind, s, mark)
	m.pass(s, mark)
	if m.Logger == nil || !m.Logger.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	r, p := &mark.Result, &s.Envelope.Recipients[mark.Recipient]
	attrs := append(make([]slog.Attr, 0, 10),
		slog.String("id", s.ID), slog.String("from", s.Envelope.Sender), slog.String("to", p.Address))
	if original := p.OriginalAddress(); original != p.Address {
		attrs = append(attrs, slog.String("orig_to", original))
	}
	if r.Remote != "" {
		attrs = append(attrs, slog.String("relay", r.Remote))
	}
	attrs = append(attrs,
		slog.Duration("delay", time.Since(s.Envelope.Arrival)), slog.Int("attempt", s.Attempts),
		slog.String("dsn", fmt.Sprintf("%d.%d.%d", r.Status[0], r.Status[1], r.Status[2])),
		slog.String("status", r.Outcome.String()), slog.String("reason", said(r)))
	m.Logger.LogAttrs(context.Background(), slog.LevelInfo, "delivery", attrs...)
}

// logAccepted tells of what the end of a run has accepted, so that who looks for
// one ID in the log finds the other: a notification, or the message itself anew.
func (r *run) logAccepted(id string, e *mtakit.Envelope, anew bool) {
	if anew {
		r.m.log().Info("requeued", "id", r.stored.ID, "as", id)
		return
	}
	r.m.log().Info("notification", "id", r.stored.ID, "as", id, "to", e.Recipients[0].Address)
}

// said is a result for the log: what the server said, and in reply to what.
func said(r *mtakit.Result) string {
	switch {
	case r.Reply == nil:
		return r.Diagnostic
	case r.Diagnostic == "" || r.Diagnostic == r.Reply.Message:
		return r.Reply.Message
	}
	return fmt.Sprintf("%d %s (%s)", r.Reply.Code, r.Reply.Message, r.Diagnostic)
}

// announceAll tells of what the end of a run has recorded; why is the reason of a
// removal.
func (r *run) announceAll(c Change, why string) {
	for _, i := range r.fresh {
		r.m.announce(r.stored, &r.stored.Marks[i])
	}
	r.fresh = nil
	e := mtakit.Event{ID: r.stored.ID, Sender: r.stored.Envelope.Sender, Size: r.stored.Size, Attrs: r.stored.Envelope.Attrs}
	switch {
	case r.last:
		e.Kind, e.Reason = mtakit.EventRemoved, why
	case c.Hold != "":
		e.Kind, e.Reason = mtakit.EventHeld, c.Hold
	default:
		return
	}
	r.m.observe(e)
}

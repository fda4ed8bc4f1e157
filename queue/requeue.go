package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/mtakit/mtakit"
)

// Requeue accepts a message anew, also one on hold, as Postfix's "postsuper -r":
// its text and its pending recipients go through Filter, and what comes of that
// takes the place of the old message in one step, under a new ID. So it is how
// new rules and aliases reach old mail. Arrival, age and submitter's key stay,
// attempts and the delay warning begin anew; a filter that adds copies adds them
// again. What the filter refuses for good goes back to the sender; what it
// refuses for now is asked again at the next attempt.
//
// When the message is active, that takes effect when the deliveries that are
// under way have ended. It is ErrNotFound when there is no such message.
func (m *Manager) Requeue(ctx context.Context, id string) error {
	_, err := m.change(ctx, id, orderRequeue, Change{ID: id, Requeue: true, Release: true})
	return err
}

// standing returns the order that was recorded with a message.
func standing(s *Stored) order {
	switch {
	case s.Expire:
		return orderExpire
	case s.Requeue:
		return orderRequeue
	}
	return orderNone
}

// postponed is the order as it stands when it cannot be carried out now.
func (o order) postponed() order {
	if o == orderRequeue {
		return orderRequeueLater
	}
	return o
}

// requeue is the part of finish that accepts a message anew. It returns what is
// to be accepted, and the order for the end of the run: the old message is
// forgotten only by orderRequeue. hold is why it is held.
func (r *run) requeue() (anew []Accept, then order, hold string) {
	recipients := r.stored.pending()
	if len(recipients) == 0 {
		return nil, orderNone, ""
	}
	a, keep, err := r.anew(recipients)
	reply, said := mtakit.AsReply(err)
	switch {
	case err == nil && keep:
		return []Accept{a}, orderRequeue, ""
	case err == nil: // the filter threw it away
		return nil, orderRequeue, ""
	case said && reply.Code/100 == 5:
		r.settlePending(func(mtakit.Result) mtakit.Result { return mtakit.ResultOf(reply) }, "")
		return nil, orderNone, ""
	case errors.Is(err, ErrSubmission) && !said:
		return nil, orderHold, "it cannot be requeued: " + err.Error()
	}
	r.m.log().Error("requeueing", "id", r.stored.ID, "error", err)
	later := deferred(4, 3, 0, "the message cannot be accepted anew for now", false)
	if said {
		later = mtakit.ResultOf(reply)
	}
	r.settlePending(func(mtakit.Result) mtakit.Result { return later }, "")
	return nil, orderRequeueLater, ""
}

// anew makes a draft of the message and asks the filter about it. keep is false
// when it is to be thrown away.
func (r *run) anew(recipients []mtakit.Recipient) (a Accept, keep bool, err error) {
	env := r.stored.Envelope.Clone()
	env.Recipients, env.Hold = recipients, ""
	d, err := r.m.Spool.Begin(r.m.recordCtx, r.stored.Message.Size())
	if err != nil {
		return a, false, err
	}
	defer func() {
		if err != nil || !keep {
			_ = d.Discard()
		}
	}()
	if _, err := r.stored.Message.WriteTo(d); err != nil {
		return a, false, fmt.Errorf("copying: %w", err)
	}
	msg, err := d.Message(r.m.recordCtx)
	if err != nil {
		return a, false, err
	}
	if keep, err = filtered(r.m.deliverCtx, r.m.Filter, r.m.log(), env, msg); err != nil || !keep {
		return a, false, err
	}
	a = r.m.accept(d, env, msg)
	a.Key = r.stored.Key
	return a, true, nil
}

// discard throws drafts away that were not committed.
func (m *Manager) discard(accept []Accept) {
	for _, a := range accept {
		m.unreserve(a)
		_ = a.Draft.Discard()
	}
}

// requeuedAs is why the old message is removed.
func requeuedAs(ids []string, anew []Accept) string {
	if len(anew) == 0 {
		return "thrown away by the filter"
	}
	return "requeued as " + ids[len(ids)-1]
}

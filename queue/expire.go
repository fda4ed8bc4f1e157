package queue

import (
	"context"
	"slices"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Expire gives a message up, as Postfix's "postsuper -f": it is not tried any
// more, also when it is on hold, and its sender is told with the reason of the
// last attempt. When it is active, that takes effect when the deliveries that
// are under way have ended. It is ErrNotFound when there is no such message.
func (m *Manager) Expire(ctx context.Context, id string) error {
	_, err := m.change(ctx, id, orderExpire, Change{ID: id, Expire: true, Release: true})
	return err
}

// expire gives up what is pending.
func (r *run) expire(o order) {
	r.settlePending(func(last mtakit.Result) mtakit.Result {
		why := reason(&last)
		switch {
		case o != orderExpire:
			why = "delivery time expired: " + why
		case why == "":
			why = "message is administratively expired"
		default:
			why = "message is administratively expired: " + why
		}
		last.Outcome, last.Status, last.Diagnostic = mtakit.Bounced, smtp.EnhancedCode{4, 4, 7}, why
		return last
	}, mtakit.EventExpired)
}

// settlePending gives those who are pending at the end of a run a result, made
// of their last one, and tells the Observer of each; kind "" means not here.
func (r *run) settlePending(result func(last mtakit.Result) mtakit.Result, kind mtakit.EventKind) {
	fresh := make(map[int]bool, len(r.fresh))
	for _, i := range r.fresh {
		fresh[i] = true
	}
	for i := range r.stored.Marks {
		mark := &r.stored.Marks[i]
		if mark.State != Pending {
			continue
		}
		mark.Recipient = i
		mark.Result = result(mark.Result)
		bound(&mark.Result)
		mark.State = r.state(i, mark.Result)
		if !fresh[i] {
			r.fresh = append(r.fresh, i)
		}
		if kind != "" {
			r.m.observeResult(kind, r.stored, mark)
		}
	}
}

// pending returns the recipients that are to be delivered.
func (s *Stored) pending() []mtakit.Recipient {
	i := -1
	return slices.DeleteFunc(slices.Clone(s.Envelope.Recipients), func(mtakit.Recipient) bool {
		i++
		return s.Marks[i].State != Pending
	})
}

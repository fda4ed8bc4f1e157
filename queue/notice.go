package queue

import (
	"errors"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/dsn"
)

// telling is who has been told of what when the notices of a run are accepted.
type telling struct {
	index  []int // recipients
	warned bool
}

// undo takes back that anybody was told.
func (t telling) undo(r *run) telling {
	for _, i := range t.index {
		r.stored.Marks[i].State = Failed
	}
	return telling{}
}

// notices writes the notifications that the end of a run calls for: one for all
// that failed, one for all whose success was to be told, one for the delay. On
// an error there is none of them.
func (r *run) notices(now time.Time, order order) (accept []Accept, told telling, err error) {
	if order == orderRemove {
		return nil, telling{}, nil
	}
	var failed, succeeded, waiting []int
	for i := range r.stored.Marks {
		mark := &r.stored.Marks[i]
		switch {
		case mark.State == Failed && mark.Result.Outcome == mtakit.Bounced:
			failed = append(failed, i)
		case mark.State == Failed:
			succeeded = append(succeeded, i)
		case mark.State == Pending && r.wants(i, smtp.DSNNotifyDelayed):
			waiting = append(waiting, i)
		}
	}
	if order == orderRequeue || !r.m.warns(r.stored, now) {
		waiting = nil
	}
	for _, n := range []struct {
		kind  dsn.Kind
		index []int
	}{{dsn.Failure, failed}, {dsn.Success, succeeded}, {dsn.Delay, waiting}} {
		if len(n.index) == 0 {
			continue
		}
		a, err := r.notice(n.kind, n.index, now)
		if err != nil {
			for _, a := range accept {
				r.m.unreserve(a)
				_ = a.Draft.Discard()
			}
			return nil, telling{}, err
		}
		accept = append(accept, a)
	}
	return accept, telling{append(failed, succeeded...), len(waiting) > 0}, nil
}

// notice writes one notification into a draft of the spool. It has the null
// sender, so that nothing ever answers it (RFC 5321, section 4.5.5).
func (r *run) notice(kind dsn.Kind, index []int, now time.Time) (Accept, error) {
	report := r.report(kind, index, now)
	d, eightbit, err := r.m.write(report)
	if errors.Is(err, dsn.ErrMessage) {
		// The body cannot be read, which is no reason to leave the sender without
		// an answer.
		r.m.log().Error("returning a message", "id", r.stored.ID, "error", err)
		report.HeaderOnly = true
		d, eightbit, err = r.m.write(report)
	}
	if err != nil {
		return Accept{}, err
	}
	e := &mtakit.Envelope{Arrival: now, Recipients: []mtakit.Recipient{{Address: report.To}}}
	e.Options.UTF8 = report.IsUTF8()
	if eightbit {
		e.Options.Body = smtp.Body8BitMIME
	}
	if report.Postmaster {
		e.Sender = r.m.doubleBounceSender()
	}
	return r.m.accept(d, e, nil), nil
}

// write writes a notification into a draft.
func (m *Manager) write(report *dsn.Report) (d mtakit.Draft, eightbit bool, err error) {
	if d, err = m.Spool.Begin(m.recordCtx, 0); err != nil {
		return nil, false, err
	}
	if eightbit, err = report.Encode(d); err != nil {
		_ = d.Discard()
		return nil, false, err
	}
	return d, eightbit, nil
}

func (r *run) report(kind dsn.Kind, index []int, now time.Time) *dsn.Report {
	e := r.stored.Envelope
	report := &dsn.Report{
		Kind: kind, Hostname: r.m.hostname(), To: e.Sender, ID: r.stored.ID, Sender: e.Sender,
		EnvelopeID: e.Options.EnvelopeID, Arrival: e.Arrival, Date: now, RetryUntil: born(e).Add(r.m.lifetime(e)),
		Message: r.stored.Message, HeaderOnly: e.Options.Return == smtp.DSNReturnHeaders,
		Limit: r.m.BounceSizeLimit, UTF8: e.Options.UTF8, Recipients: make([]dsn.Recipient, len(index)),
	}
	if e.Sender == "" {
		// A double bounce: nobody but the postmaster is left.
		report.To, report.Postmaster = r.m.Postmaster, true
	}
	for n, i := range index {
		p := &e.Recipients[i]
		report.Recipients[n] = dsn.Recipient{
			Address: p.Address, Original: p.Original, ORCPT: p.Options.OriginalRecipient,
			ORCPTType: p.Options.OriginalRecipientType, Result: r.stored.Marks[i].Result,
		}
	}
	return report
}

package queue

import (
	"context"
	"errors"
	"io"
	"slices"
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

// notices writes the notifications that the end of a run calls for: to the
// sender one for all that failed, one for all whose success was to be told, one
// for the delay, and copies of the first and the last to whom the postmaster's
// Notify names. On an error there is none of them.
func (r *run) notices(now time.Time, order order) (accept []Accept, told telling, err error) {
	if order == orderRemove {
		return nil, telling{}, nil
	}
	f := r.fates(now)
	if order == orderRequeue {
		f.delayed = nil
	}
	told.index = slices.Concat(f.failed, f.succeeded)
	for _, report := range r.reports(f, now) {
		a, keep, err := r.notice(report)
		if err != nil {
			for _, a := range accept {
				r.m.unreserve(a)
				_ = a.Draft.Discard()
			}
			return nil, telling{}, err
		}
		if keep {
			accept = append(accept, a)
		}
		told.warned = told.warned || report.Kind == dsn.Delay
	}
	return accept, told, nil
}

// fates are the recipients of whom somebody is to be told.
type fates struct {
	failed, succeeded, delayed []int
	warn                       bool // tell the sender of the delayed ones
}

func (r *run) fates(now time.Time) (f fates) {
	due := r.m.warningDue(r.stored, now)
	f.warn = due && r.m.warns(r.stored.Envelope)
	due = due && (f.warn || r.m.noticeTo(NotifyDelay) != "")
	for i := range r.stored.Marks {
		mark := &r.stored.Marks[i]
		switch {
		case mark.State == Failed && mark.Result.Outcome == mtakit.Bounced:
			f.failed = append(f.failed, i)
		case mark.State == Failed:
			f.succeeded = append(f.succeeded, i)
		case mark.State == Pending && due:
			f.delayed = append(f.delayed, i)
		}
	}
	return f
}

// reports returns the reports that tell of f.
func (r *run) reports(f fates, now time.Time) (reports []*dsn.Report) {
	add := func(kind dsn.Kind, index []int, to string, postmaster bool) {
		if len(index) > 0 && (to != "" || !postmaster) {
			reports = append(reports, r.report(kind, index, to, postmaster, now))
		}
	}
	e := r.stored.Envelope
	if e.Sender == "" {
		// A double bounce: nobody but the postmaster is left.
		add(dsn.Failure, f.failed, r.m.noticeTo(Notify2Bounce), true)
		return reports
	}
	add(dsn.Failure, r.wanted(f.failed, smtp.DSNNotifyFailure), e.Sender, false)
	add(dsn.Failure, f.failed, r.m.noticeTo(NotifyBounce), true)
	add(dsn.Success, f.succeeded, e.Sender, false)
	if f.warn {
		add(dsn.Delay, r.wanted(f.delayed, smtp.DSNNotifyDelayed), e.Sender, false)
	}
	add(dsn.Delay, f.delayed, r.m.noticeTo(NotifyDelay), true)
	return reports
}

// wanted returns those of index whose sender wants to be told.
func (r *run) wanted(index []int, what smtp.DSNNotify) (some []int) {
	for _, i := range index {
		if r.wants(i, what) {
			some = append(some, i)
		}
	}
	return some
}

// notice writes one notification into a draft of the spool. It has the null
// sender, so that nothing ever answers it (RFC 5321, section 4.5.5); the
// postmaster's has one whose mail is never returned. keep is false when the
// NoticeFilter threw it away.
func (r *run) notice(report *dsn.Report) (a Accept, keep bool, err error) {
	d, eightbit, err := r.m.write(r.m.recordCtx, report)
	if errors.Is(err, dsn.ErrMessage) {
		// The body cannot be read, which is no reason to leave the sender without
		// an answer.
		r.m.log().Error("returning a message", "id", r.stored.ID, "error", err)
		report.HeaderOnly = true
		d, eightbit, err = r.m.write(r.m.recordCtx, report)
	}
	if err != nil {
		return Accept{}, false, err
	}
	e := &mtakit.Envelope{Arrival: report.Date, Recipients: []mtakit.Recipient{{Address: report.To}}}
	e.Options = bodyOptions(eightbit, report.IsUTF8())
	if report.Postmaster {
		e.Sender = r.m.doubleBounceSender()
	}
	e, msg, keep, err := r.m.admit(r.m.recordCtx, d, e)
	if err != nil || !keep {
		_ = d.Discard()
		return Accept{}, false, err
	}
	return r.m.accept(d, e, msg), true, nil
}

// admit asks the NoticeFilter about a notification. It returns what is to be
// accepted; the sender stays what it is.
func (m *Manager) admit(ctx context.Context, d mtakit.Draft, e *mtakit.Envelope) (env *mtakit.Envelope, msg *mtakit.Message, keep bool, err error) {
	if m.NoticeFilter == nil {
		return e, nil, true, nil
	}
	if msg, err = d.Message(ctx); err != nil {
		return nil, nil, false, err
	}
	env = e.Clone()
	keep, err = filtered(ctx, m.NoticeFilter, m.log(), env, msg)
	env.Sender = e.Sender
	reply, said := mtakit.AsReply(err)
	if errors.Is(err, ErrSubmission) || said && reply.Code/100 == 5 || err == nil && keep && len(env.Recipients) == 0 {
		m.log().Error("a filter refuses a notification", "to", e.Recipients[0].Address, "error", err)
		return e, nil, true, nil
	}
	return env, msg, keep, err
}

// encoder is a dsn.Report or dsn.Notice.
type encoder interface {
	Encode(w io.Writer) (eightbit bool, err error)
}

// write writes a notification into a draft.
func (m *Manager) write(ctx context.Context, notification encoder) (d mtakit.Draft, eightbit bool, err error) {
	if d, err = m.Spool.Begin(ctx, 0); err != nil {
		return nil, false, err
	}
	if eightbit, err = notification.Encode(d); err != nil {
		_ = d.Discard()
		return nil, false, err
	}
	return d, eightbit, nil
}

func bodyOptions(eightbit, utf8 bool) (o smtp.MailOptions) {
	if eightbit {
		o.Body = smtp.Body8BitMIME
	}
	o.UTF8 = utf8
	return o
}

func (r *run) report(kind dsn.Kind, index []int, to string, postmaster bool, now time.Time) *dsn.Report {
	e := r.stored.Envelope
	report := &dsn.Report{
		Kind: kind, Hostname: r.m.hostname(), To: to, Postmaster: postmaster, ID: r.stored.ID, Sender: e.Sender,
		EnvelopeID: e.Options.EnvelopeID, Arrival: e.Arrival, Date: now, RetryUntil: born(e).Add(r.m.lifetime(e)),
		Message: r.stored.Message, HeaderOnly: e.Options.Return == smtp.DSNReturnHeaders || postmaster && e.Sender != "",
		Limit: r.m.BounceSizeLimit, UTF8: e.Options.UTF8, Threaded: r.m.ThreadedBounces,
		Templates: r.m.Templates, Params: r.m.templateParams(), Recipients: make([]dsn.Recipient, len(index)),
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

// warningDue reports whether it is time to tell somebody that the message waits.
func (m *Manager) warningDue(s *Stored, now time.Time) bool {
	e := s.Envelope
	return m.WarningAfter > 0 && !s.Warned && now.Sub(born(e)) >= m.WarningAfter && e.Sender != "" && !m.isDoubleBounce(e)
}

// warns reports whether the sender is told that the message waits.
func (m *Manager) warns(e *mtakit.Envelope) bool {
	if m.WarnSenders != nil {
		return m.WarnSenders.Ours(e)
	}
	return e.Client.Login != "" || !e.Client.Addr.IsValid()
}

// templateParams are what templates may name of our settings.
func (m *Manager) templateParams() dsn.Params {
	if m.Templates == (dsn.Templates{}) {
		return nil
	}
	p := dsn.Params{"mail_name": "mtakit"}
	p.SetDuration("delay_warning_time", m.WarningAfter)
	p.SetDuration("maximal_queue_lifetime", m.lifetime(&mtakit.Envelope{Sender: "somebody"}))
	return p
}

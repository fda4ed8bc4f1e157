package restrictions

import (
	"context"
	"strings"

	"github.com/mtakit/mtakit"
)

// Stages is the restrictions of a server: a list for each point of a session.
// It is itself a Restriction that is asked at every stage and tells them apart
// by Session.Stage. Its fields must not be changed while it is asked.
type Stages struct {
	Client    Restriction // smtpd_client_restrictions; nil permits
	HELO      Restriction // smtpd_helo_restrictions; nil permits, and so does a client that gave no name
	Sender    Restriction // smtpd_sender_restrictions; nil permits
	Recipient Restriction // smtpd_recipient_restrictions, after Relay; nil permits
	Data      Restriction // smtpd_data_restrictions; nil permits
	EndOfData Restriction // smtpd_end_of_data_restrictions, when the size is known; nil permits
	ETRN      Restriction // smtpd_etrn_restrictions; nil permits

	// Relay is smtpd_relay_restrictions, which protects from being an open
	// relay: a yes of any other list does not count here. Postfix does not start
	// without one; nil refuses every recipient with "Relay access denied", since
	// Stages cannot know which domains are yours. An empty List permits all.
	Relay Restriction

	// Unlisted is asked last of all for a recipient that is otherwise permitted
	// (smtpd_reject_unlisted_recipient); nil permits.
	Unlisted Restriction

	// NoDelay asks Client, HELO and Sender at their own command
	// (smtpd_delay_reject=no); false asks them for each recipient, so that the
	// log has sender and recipient of what was refused, and clients that do not
	// understand a refusal before RCPT do.
	NoDelay bool
}

// step is one list at the time it is asked.
type step struct {
	list mtakit.Stage
	r    Restriction
}

// Check asks the lists that belong to s.Stage. At StageVRFY they are those of
// RCPT without Sender.
func (g *Stages) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	if s.Stage == mtakit.StageRcpt || s.Stage == mtakit.StageVRFY {
		return g.recipient(ctx, s)
	}
	var buf [4]step
	sum, err := run(ctx, s, g.steps(buf[:0], s.Stage))
	if err == nil && s.Stage >= mtakit.StageData {
		sum = converted(sum, s)
	}
	return sum, err
}

// recipient asks for a recipient. A bare postmaster is always welcome (RFC 5321,
// section 4.5.1), even where rewriting has already given him a domain.
func (g *Stages) recipient(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	if s.Recipient == nil {
		return mtakit.Verdict{}, nil
	}
	if strings.EqualFold(s.Recipient.OriginalAddress(), "postmaster") {
		return mtakit.Verdict{Action: mtakit.Permit}, nil
	}
	var buf [5]step
	sum, err := run(ctx, s, g.steps(buf[:0], s.Stage))
	if err != nil {
		return sum, err
	}
	sum = converted(sum, s)
	if sum.Action == mtakit.Reject || sum.Action == mtakit.Discard {
		return sum, nil
	}
	last, err := run(ctx, s, []step{{mtakit.StageRcpt, g.Unlisted}})
	sum.Action, sum.Reply, sum.Reason = last.Action, last.Reply, last.Reason
	sum.Merge(last)
	return sum, err
}

// steps returns the lists of a stage in their order.
func (g *Stages) steps(out []step, stage mtakit.Stage) []step {
	early := g.NoDelay
	switch stage {
	case mtakit.StageConnect:
		return when(early, out, step{stage, g.Client})
	case mtakit.StageHELO:
		return when(early, out, step{stage, g.HELO})
	case mtakit.StageMail:
		return when(early, out, step{stage, g.Sender})
	case mtakit.StageData:
		return append(out, step{stage, g.Data})
	case mtakit.StageEndOfData:
		return append(out, step{stage, g.EndOfData})
	}
	out = when(!early, out, step{mtakit.StageConnect, g.Client}, step{mtakit.StageHELO, g.HELO})
	if stage == mtakit.StageETRN {
		return append(out, step{stage, g.ETRN})
	}
	out = when(!early && stage == mtakit.StageRcpt, out, step{mtakit.StageMail, g.Sender})
	relay := g.Relay
	if relay == nil {
		relay = RestrictionFunc(denied)
	}
	return append(out, step{mtakit.StageRcpt, relay}, step{mtakit.StageRcpt, g.Recipient})
}

// denied stands for a Relay that nobody gave.
func denied(_ context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	v := relayDenied(s, 554)
	v.Reason = "restrictions: Stages without Relay"
	return v, nil
}

func when(yes bool, out []step, more ...step) []step {
	if yes {
		return append(out, more...)
	}
	return out
}

// run asks lists until one refuses or discards. Each stands for itself: a Permit
// ends only its own, and DeferIfReject holds only in it.
func run(ctx context.Context, s *mtakit.Session, steps []step) (mtakit.Verdict, error) {
	var sum mtakit.Verdict
	at := *s // what one list defers, the next ones see
	for _, next := range steps {
		if next.r == nil || next.list == mtakit.StageHELO && s.HELO == "" {
			continue
		}
		v, err := next.r.Check(place{list: next.list}.in(ctx), &at)
		if err != nil {
			return sum, err
		}
		v = deferred(v)
		v.DeferIfReject = nil
		sum.Merge(v)
		if at.DeferIfPermit == nil {
			at.DeferIfPermit = v.DeferIfPermit
		}
		sum.Action, sum.Reply, sum.Reason = v.Action, v.Reply, v.Reason
		if v.Action == mtakit.Reject || v.Action == mtakit.Discard {
			return sum, nil
		}
	}
	return sum, nil
}

// converted makes a refusal of a permission that an earlier defer_if_permit was
// waiting for.
func converted(sum mtakit.Verdict, s *mtakit.Session) mtakit.Verdict {
	waiting := s.DeferIfPermit
	if waiting == nil {
		waiting = sum.DeferIfPermit
	}
	if waiting != nil && sum.Action != mtakit.Reject && sum.Action != mtakit.Discard {
		sum.Action, sum.Reply, sum.Reason = mtakit.Reject, waiting, "defer_if_permit"
	}
	return sum
}

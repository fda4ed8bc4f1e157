package restrictions

import (
	"context"

	"github.com/mtakit/mtakit"
)

// List is restrictions that are asked one after the other until one decides:
// Permit ends the list with a yes, Reject and Discard end everything, Dunno asks
// the next. The end of the list is a Dunno, which counts as a yes; in a List
// within a List it lets the outer one go on. Effects of all that were asked add
// up. nil has no restrictions.
//
// DeferIfReject of one turns a later 5xx of the same list into its 4xx. When
// there is a DeferIfPermit too, nothing that follows matters, and the list ends.
type List []Restriction

// Check asks the list.
func (l List) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	var sum mtakit.Verdict
	for _, r := range l {
		v, err := r.Check(ctx, s)
		if err != nil {
			return sum, err
		}
		sum.Merge(v)
		if v.Action != mtakit.Dunno {
			sum.Action, sum.Reply, sum.Reason = v.Action, v.Reply, v.Reason
			return deferred(sum), nil
		}
		if sum.DeferIfReject != nil && (sum.DeferIfPermit != nil || s.DeferIfPermit != nil) {
			return sum, nil
		}
	}
	return sum, nil
}

// deferred puts DeferIfReject in the place of a 5xx.
func deferred(v mtakit.Verdict) mtakit.Verdict {
	if v.Action == mtakit.Reject && v.DeferIfReject != nil && v.Reply != nil && v.Reply.Code/100 == 5 {
		v.Reason = "defer_if_reject, in place of " + oneLine(v.Reply)
		v.Reply = v.DeferIfReject
	}
	return v
}

// WarnIfReject logs what Restriction would have refused or deferred, and goes
// on. Faults of ours (451 4.3.x) are not held back, as in Postfix: who does not
// know the answer must not say yes.
type WarnIfReject struct {
	Restriction Restriction // nil refuses nothing
}

// Check asks the restriction.
func (w WarnIfReject) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	if w.Restriction == nil {
		return mtakit.Verdict{}, nil
	}
	v, err := w.Restriction.Check(ctx, s)
	if err != nil {
		return v, err
	}
	if v.DeferIfPermit != nil {
		v.Log = append(v.Log, "reject_warning: "+oneLine(v.DeferIfPermit))
		v.DeferIfPermit = nil
	}
	if v.Action == mtakit.Reject && !fault(v.Reply) {
		v.Log = append(v.Log, "reject_warning: "+oneLine(v.Reply))
		v.Action, v.Reply, v.Reason = mtakit.Dunno, nil, ""
	}
	return v, nil
}

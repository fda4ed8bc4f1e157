package mtakit

import "github.com/emersion/go-smtp"

// Action is what a restriction or a filter decided.
type Action int

const (
	// Dunno has no opinion: the next restriction or filter is asked.
	Dunno Action = iota
	// Permit ends the list it stands in; other lists are still asked.
	Permit
	// Reject refuses with Reply, whose code says for how long (4xx or 5xx).
	Reject
	// Discard says yes to the client and throws the message away. No further
	// list is asked.
	Discard
)

// String returns "DUNNO", "OK", "REJECT" or "DISCARD".
func (a Action) String() string {
	names := [...]string{"DUNNO", "OK", "REJECT", "DISCARD"}
	if a < 0 || int(a) >= len(names) {
		return "UNKNOWN"
	}
	return names[a]
}

// Verdict is an action and its effects beside it. The zero value is Dunno
// without effects. A verdict with any Action may carry effects.
type Verdict struct {
	Action Action
	Reply  *smtp.SMTPError // with Reject: the answer, never nil. Otherwise ignored.
	Reason string          // for the log, not for the peer; "" means that Reply says it all

	// DeferIfPermit, when not nil, becomes the reply if everything else permits;
	// DeferIfReject replaces a later 5xx of the same list. See access(5).
	DeferIfPermit, DeferIfReject *smtp.SMTPError

	Hold     string   // put the message on hold, with this reason; "" means do not
	Redirect string   // send the message to this address in place of its recipients; "" means do not
	Filter   string   // after-queue content filter, "transport:nexthop"; "" means none
	BCC      []string // further recipients
	Prepend  []string // whole header fields without line end, "Name: value", to stand above the received ones
	Log      []string // texts of WARN and INFO, and of what warn_if_reject would have refused
}

// Merge adds the effects of later to v: a later Hold, Redirect or Filter wins,
// lists grow, the first DeferIfPermit and DeferIfReject stay. Action, Reply and
// Reason of v are not touched.
func (v *Verdict) Merge(later Verdict) {
	if v.DeferIfPermit == nil {
		v.DeferIfPermit = later.DeferIfPermit
	}
	if v.DeferIfReject == nil {
		v.DeferIfReject = later.DeferIfReject
	}
	if later.Hold != "" {
		v.Hold = later.Hold
	}
	if later.Redirect != "" {
		v.Redirect = later.Redirect
	}
	if later.Filter != "" {
		v.Filter = later.Filter
	}
	v.BCC = append(v.BCC, later.BCC...)
	v.Prepend = append(v.Prepend, later.Prepend...)
	v.Log = append(v.Log, later.Log...)
}

// Temporary reports whether err is a reply that says 4xx, and false for every
// other reply. An error that is no *smtp.SMTPError is a fault nobody
// classified, and those are temporary.
func Temporary(err error) bool {
	reply, ok := AsReply(err)
	return !ok || reply.Code/100 == 4
}

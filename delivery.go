package mtakit

import (
	"errors"

	"github.com/emersion/go-smtp"
)

// Route says how a recipient is reached. It is asked at attempt time, never
// stored.
type Route struct {
	Transport string // which agent: "local", "smtp"
	// NextHop is what the agent is told: "example.org", "[192.0.2.1]:2525",
	// "unix:/run/lmtp"; "" means the recipient's domain.
	NextHop string
	// Key is the destination that concurrency and back-off are counted for;
	// "" means NextHop. Recipients of one message with equal Transport and Key
	// travel in one delivery.
	Key string
	// Reply, when not nil, is the recipient's result without any delivery:
	// error: and retry: transports, relocated users, unknown users.
	Reply *smtp.SMTPError
}

// Delivery is one attempt for a group of recipients of one message. It is
// valid until Deliver returns; agents change nothing in it.
type Delivery struct {
	ID         string // queue ID
	Attempt    int    // 1 for the first
	Envelope   *Envelope
	Recipients []Recipient // of this attempt; all have the same transport and destination
	NextHop    string      // of the Route, filled in: never ""
	Message    *Message

	// Report tells the result of Recipients[i] before Deliver returns, so that a
	// crash repeats as little as possible. It is optional for the agent, may be
	// nil, and is called from the goroutine of Deliver only. A reported result
	// must be returned again and be the same.
	Report func(i int, r Result)
}

// Outcome is what became of a recipient. The zero value is the one that loses
// nothing.
type Outcome int

const (
	Deferred  Outcome = iota // try again later
	Delivered                // in a mailbox, or otherwise at its end
	Relayed                  // taken over by another server
	Expanded                 // replaced by the addresses of a list or alias
	Bounced                  // never; the sender is told
)

// String returns the outcome as DSNs and Postfix's log write it: "deferred",
// "delivered", "relayed", "expanded", "bounced".
func (o Outcome) String() string {
	names := [...]string{"deferred", "delivered", "relayed", "expanded", "bounced"}
	if o < 0 || int(o) >= len(names) {
		return "unknown"
	}
	return names[o]
}

// Result is what one attempt meant for one recipient. The zero value is
// Deferred.
type Result struct {
	Outcome Outcome
	// Status is the RFC 3463 code, {5,1,1}. {0,0,0} means the outcome's
	// general one: 2.0.0, 4.0.0 or 5.0.0.
	Status smtp.EnhancedCode
	// Remote is the server that answered, "mx.example.org[192.0.2.1]:25"; ""
	// means that the result is ours.
	Remote string
	// Reply is what Remote answered. nil means that it answered nothing.
	Reply *smtp.SMTPError
	// Diagnostic is a text for logs and DSNs. Where there is a Reply it says what
	// that does not, "in reply to RCPT TO command"; "" means Reply's text.
	Diagnostic string
	// Site says that the failure was the destination's (connection refused,
	// 421, greeting) and not this message's: it counts against the destination,
	// and a later success there wakes the recipient.
	Site bool
	// DSN says, with Relayed, that Remote took over the duty to send delivery
	// status notifications (RFC 3461), so that we send none.
	DSN bool
}

// AsReply finds the SMTP reply in err's chain.
func AsReply(err error) (*smtp.SMTPError, bool) {
	var reply *smtp.SMTPError
	if errors.As(err, &reply) && reply != nil {
		return reply, true
	}
	return nil, false
}

// ResultOf makes a result of an error: nil is Delivered, a 5xx reply is
// Bounced with its code and text, and everything else is Deferred.
func ResultOf(err error) Result {
	if err == nil {
		return Result{Outcome: Delivered, Status: smtp.EnhancedCode{2, 0, 0}}
	}
	r := Result{Outcome: Deferred, Status: smtp.EnhancedCode{4, 3, 0}, Diagnostic: err.Error()}
	reply, ok := AsReply(err)
	if !ok {
		return r
	}
	r.Diagnostic = reply.Message
	r.Status = reply.EnhancedCode
	if r.Status[0] <= 0 {
		r.Status = smtp.EnhancedCode{reply.Code / 100, 0, 0}
	}
	if reply.Code/100 == 5 {
		r.Outcome = Bounced
	}
	return r
}

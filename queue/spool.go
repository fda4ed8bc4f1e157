package queue

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/mtakit/mtakit"
)

// Spool keeps messages and what is recorded of them. It knows nothing of
// schedules and destinations: that is the Manager's.
//
// All methods may be called from any number of goroutines at once, with one
// rule: no two Commits at the same time may change the same message, and a
// message is not removed while somebody reads what Open returned.
//
// spooltest.Run checks an implementation against this contract.
type Spool interface {
	// Begin starts a message. size is its expected length in bytes, 0 when it
	// is not known. Without room the error is a *smtp.SMTPError, 452 4.3.1. The
	// Draft's own Commit is Commit with it as the only accept.
	Begin(ctx context.Context, size int64) (mtakit.Draft, error)

	// Commit accepts messages and records changes in one atomic step. When it
	// returns nil, all of it survives a crash of the machine, with one
	// exception: changes that carry nothing but Attempts, Next and Results
	// survive a crash of the process, and need not survive more. When it
	// returns an error, none of accept is in the spool, now or after a restart;
	// the drafts are discarded. Of the changes, a restart may still find any
	// that concern existing messages only when accept is empty.
	//
	// The IDs returned are those of accept, in its order. Commit does not keep
	// the envelopes, and does not return early when ctx ends unless nothing was
	// done. A change of a message that is not there is ErrNotFound.
	Commit(ctx context.Context, accept []Accept, changes []Change) (ids []string, err error)

	// Entries yields every message, in any order. A message that cannot be read
	// is moved out of the way (corrupt/) and yielded as a *CorruptError; the
	// iteration goes on. Any other error ends it.
	Entries(ctx context.Context) iter.Seq2[Entry, error]

	// Open returns everything that is known of a message, or ErrNotFound, or a
	// *CorruptError when it is damaged; then it has been moved out of the way.
	// The message's body may be opened until the message is removed.
	Open(ctx context.Context, id string) (*Stored, error)

	// Close waits for what is under way and gives the storage free.
	Close() error
}

var (
	// ErrNotFound is wrapped when a spool has no message with this ID.
	ErrNotFound = errors.New("queue: no such message")
	// ErrLocked is wrapped when a spool is opened that somebody else has open.
	ErrLocked = errors.New("queue: spool is in use")
	// ErrVersion is wrapped when a spool was written in a format that is not known.
	ErrVersion = errors.New("queue: unknown format version")
)

// CorruptError says that a message is damaged and where it has been put.
type CorruptError struct {
	ID     string // queue ID as far as it is known
	Path   string // where the remains are; "" when nothing could be kept
	Reason string // what is wrong with it
}

// Error returns all of it in one line.
func (e *CorruptError) Error() string {
	s := "queue: message " + e.ID + " is corrupt: " + e.Reason
	if e.Path != "" {
		s += ", kept in " + e.Path
	}
	return s
}

// Accept is a message to be accepted by Commit.
type Accept struct {
	Draft    mtakit.Draft // made by Begin of the same spool
	Envelope *mtakit.Envelope
	Message  *mtakit.Message // what Draft.Message returned, its Header perhaps changed; nil means what was written
	Attempts int             // attempts started with the acceptance: 1 for what is active at once, 0 for what waits
	Next     time.Time       // of the next attempt, if this one is not heard of again; zero means at once
	Key      string          // the submitter's idempotency key, given back in Entry; "" means none
}

// Change is what is to be recorded of one message. Zero fields change nothing.
type Change struct {
	ID       string
	Attempts int       // attempts started so far; 0 means as before
	Next     time.Time // of the next attempt; zero means as before
	Results  []Mark    // last results of recipients that stay pending, for listings; State is ignored
	Marks    []Mark    // recipients that are done with
	Warned   bool      // the delay warning has been sent
	Panics   int       // how often an agent fell over it so far; 0 means as before
	Hold     string    // reason to put it on hold; "" means as before
	Release  bool      // take it off hold: it is in incoming then
	Defer    bool      // the run over it has ended and something is left: it waits in deferred
	Site     string    // with Defer: the destination that all of it waits for, "smtp example.net" (transport and key); "" means that it waits for more than that
	Expire   bool      // give up what is pending at the next attempt
	Requeue  bool      // accept it anew, through the filters, at the next attempt
	Remove   bool      // forget it
}

// State is how far a recipient is.
type State byte

// A recipient goes from Pending to Done, or to Failed and then Notified. What
// is Done or Notified is finished.
const (
	Pending  State = iota // to be delivered
	Done                  // delivered, relayed, expanded, or nobody wants to know of its failure
	Failed                // bounced, and the sender is still to be told
	Notified              // bounced, and the sender has been told
)

// Mark records a recipient's state with the result that led to it.
type Mark struct {
	Recipient int // index into Envelope.Recipients
	State     State
	Result    mtakit.Result
}

// Entry is a message as a listing sees it.
type Entry struct {
	ID       string
	Queue    string // "incoming", "active", "deferred", "hold"
	Sender   string
	Size     int64 // of the message, bytes
	Pending  int   // recipients that are not finished
	Arrival  time.Time
	Next     time.Time // zero means at once
	Attempts int       // started
	Priority int
	Warned   bool
	Panics   int
	Hold     string   // reason; "" means that it is not held
	Site     string   // as Change.Site recorded it
	Expire   bool     // as Change.Expire
	Requeue  bool     // as Change.Requeue
	Key      string   // as Accept.Key
	Domains  []string // of the pending recipients, in lower case, each once
}

// Domains returns the domains of the recipients that are not finished, in lower
// case, each once. It is what a spool puts into Entry.Domains.
func Domains(recipients []mtakit.Recipient, marks []Mark) []string {
	var domains []string
	last := ""
	for i := range marks {
		if s := marks[i].State; s != Pending && s != Failed {
			continue
		}
		d := domain(recipients[i].Address)
		if d == last && len(domains) > 0 {
			continue
		}
		last = d
		if !slices.Contains(domains, d) {
			domains = append(domains, d)
		}
	}
	return domains
}

// Stored is a message with all that was recorded of it.
type Stored struct {
	Entry
	Envelope *mtakit.Envelope // the caller may change it
	Message  *mtakit.Message
	Marks    []Mark // one for each of Envelope.Recipients, in their order
}

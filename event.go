package mtakit

import (
	"context"
	"time"
)

// Event is something that happened to a message or a session: the one stream
// that metrics, audit trails and dashboards are made of.
type Event struct {
	Time      time.Time
	Kind      EventKind
	Session   string  // Client.ID; "" when no session was involved
	ID        string  // queue ID; "" when there is none yet
	Sender    string  // reverse-path of the message
	Recipient string  // the one recipient that this is about; "" means the whole message
	Size      int64   // bytes of the message; 0 means unknown
	Route     Route   // with attempts and results
	Result    *Result // with attempts' results; nil otherwise
	Err       error   // the cause, with faults; nil otherwise
	Reason    string  // in words; "" when Kind says it all
	Attrs     map[string]string
}

// EventKind names what happened.
type EventKind string

// What happens to sessions (first block) and to messages (second block).
const (
	EventConnected    EventKind = "connected"
	EventDisconnected EventKind = "disconnected"
	EventRejected     EventKind = "rejected" // a command was refused by a restriction or filter
	EventDiscarded    EventKind = "discarded"

	EventReceived  EventKind = "received" // on disk and acknowledged
	EventQueued    EventKind = "queued"
	EventActive    EventKind = "active"
	EventAttempt   EventKind = "attempt" // an agent is about to be asked
	EventDelivered EventKind = "delivered"
	EventDeferred  EventKind = "deferred"
	EventBounced   EventKind = "bounced"
	EventExpired   EventKind = "expired"
	EventHeld      EventKind = "held"
	EventReleased  EventKind = "released"
	EventRemoved   EventKind = "removed"
	EventCorrupt   EventKind = "corrupt"
	EventPanic     EventKind = "panic"
)

// Observer is told of events. Observe is called from many goroutines and in
// the path of the mail: it must not block, and it must not keep e.Attrs.
type Observer interface {
	Observe(ctx context.Context, e Event)
}

// ObserverFunc is a function that is an Observer.
type ObserverFunc func(ctx context.Context, e Event)

// Observe calls f.
func (f ObserverFunc) Observe(ctx context.Context, e Event) { f(ctx, e) }

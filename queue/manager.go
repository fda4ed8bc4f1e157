package queue

import (
	"cmp"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/dsn"
)

// Manager keeps messages moving: it takes them, has them delivered, tries
// again, and tells their senders when it gives up. It is a Queue. Its exported
// fields are not changed once it is in use.
type Manager struct {
	// Spool keeps the messages. It is the caller's, who closes it after
	// Shutdown. Required.
	Spool Spool
	// Router says how recipients are reached. Required.
	Router Router
	// Agents are the transports, by Route.Transport. Mail for one that is not
	// here waits in the deferred queue.
	Agents map[string]DeliveryAgent

	// Hostname is the name in notifications, "mx.example.org"; "" means
	// "localhost".
	Hostname string

	// MinBackoff and MaxBackoff bound the time between two attempts; zero means
	// 300 s and 4000 s.
	MinBackoff, MaxBackoff time.Duration
	// Lifetime is how long a message is tried. Zero means 120 h, and a negative
	// one that each message is tried once.
	Lifetime time.Duration
	// BounceLifetime is the Lifetime of mail from the null sender; zero means
	// Lifetime.
	BounceLifetime time.Duration
	// WarningAfter is the age at which the sender of a message that waits is
	// told so, once. Zero means never.
	WarningAfter time.Duration
	// WarnSenders says who is told of delays; nil means those who logged in, and
	// the program itself.
	WarnSenders Senders

	// ActiveLimit is how many messages are in memory at a time; the others are in
	// the spool alone. Zero means 20000.
	ActiveLimit int
	// RecipientLimit is how many recipients of them are in work: in line or under
	// delivery. A message with many is worked on in portions, and one with few
	// need not wait for that. Zero means 20000.
	RecipientLimit int
	// Concurrency is how many deliveries run at a time, over all transports; zero
	// means 500.
	Concurrency int
	// Limits hold for every transport, and Transports, where its fields are not
	// zero, for the one named.
	Limits     Limits
	Transports map[string]Limits

	// FlushDomains has the domains whose mail FastFlush can make due, for ETRN, as
	// Postfix's fast_flush_domains: it is asked with the domain, "example.org". nil
	// means none.
	FlushDomains Table

	// Retention is how long a message that was submitted with a key is remembered
	// after its end; zero means 24 h.
	Retention time.Duration

	// BounceSizeLimit is how many bytes of a message are returned to its sender;
	// zero means 50000.
	BounceSizeLimit int64
	// Templates are the subjects and texts of notifications; zero means those of
	// queue/dsn.
	Templates dsn.Templates
	// ThreadedBounces makes notifications replies to the message that they are
	// about, so that they are shown below it; false means that they stand alone.
	ThreadedBounces bool
	// NoticeFilter is asked about notifications before they are accepted, so that
	// aliases are expanded in those too. What it refuses for good goes out as it
	// was: nobody else would tell the sender. nil means that all go as they are.
	NoticeFilter Filter
	// Postmaster is told of Notify, by mail from DoubleBounceSender. "" means
	// nobody.
	Postmaster string
	// Notify is what the Postmaster is told of; zero means notifications that
	// cannot be delivered, and sessions that had trouble with our disk or with us.
	Notify Classes
	// NoticeTo has those who are told of a class in place of the Postmaster, each
	// under its one class; nil means nobody is.
	NoticeTo map[Classes]string
	// DoubleBounceSender is a sender whose mail is never returned; "" means
	// "double-bounce@" and Hostname.
	DoubleBounceSender string

	// Filter is asked about messages that are requeued; nil means that they are
	// accepted as they are.
	Filter Filter

	// Logger is told of each result, and of faults; nil is silent.
	Logger *slog.Logger
	// Observer is told of everything that happens to messages; nil means nobody.
	Observer mtakit.Observer

	once sync.Once
	// deliverCtx ends when deliveries are to give up; what they have reached is
	// recorded all the same, under recordCtx.
	deliverCtx, recordCtx context.Context
	cancel                context.CancelFunc
	start                 time.Time // of the clock that does not jump
	wake                  chan struct{}
	stop                  chan struct{} // closed when no more is to be started
	read                  chan struct{} // closed when everything in the spool is known
	done                  chan struct{} // closed when Serve has returned

	group   sync.WaitGroup // everything that was started and touches the spool
	idle    chan func()    // what a worker that waits is to do
	working atomic.Int64   // recipients in work
	watched atomic.Int64   // watchers

	mu      sync.Mutex // guards what follows, and no I/O is done under it
	phase   phase
	waiting *waiting          // the messages that are not active
	entries map[string]*entry // those that are, or are being made so or changed
	active  int               // messages in the active queue, and places kept for some
	line    line              // what waits for a delivery
	// unsettled are active messages whose results could not be recorded, in the
	// order in which that is tried again.
	unsettled fifo[unsettled]
	flushed   bool // what is found in the spool at the start is due
	settling  int  // deliveries that record results and have left the line
	flush     flushLog
	receipts  receipts
	watchers  map[string]*watcher
	tasks     fifo[func()] // for helpers
	// allowances bound the notices of each class, by its bit.
	allowances [len(classNames)]allowance
	helpers    int
}

// Senders says whether the sender of a message is one of our own.
type Senders interface {
	Ours(e *mtakit.Envelope) bool
}

// SendersFunc is a function that is a Senders.
type SendersFunc func(e *mtakit.Envelope) bool

// Ours calls f.
func (f SendersFunc) Ours(e *mtakit.Envelope) bool { return f(e) }

// Limits bound the deliveries of one transport. The names in brackets are
// Postfix's. There is no transport_retry_time: an agent is a value that is
// always there, and what is wrong with it shows in its results.
type Limits struct {
	// Concurrency is how many deliveries run at a time (maxproc in master.cf);
	// zero means 100.
	Concurrency int
	// Destination is how many of them go to one destination
	// (destination_concurrency_limit); zero means 20.
	Destination int
	// Initial is the same at first, before success raises it
	// (initial_destination_concurrency); zero means 5.
	Initial int
	// Recipients is how many one delivery has (destination_recipient_limit).
	// With 1 each recipient address is a destination of its own, and what these
	// limits say of destinations is said of it. Zero means 50.
	Recipients int

	// RateDelay is the time between the end of a delivery to a destination and
	// the start of the next, which go one at a time then
	// (destination_rate_delay). Zero means none, and less than zero none
	// whatever Manager.Limits says.
	RateDelay time.Duration
	// TransportDelay is the time between the starts of any two deliveries
	// (transport_rate_delay). Zero means none, and less than zero none whatever
	// Manager.Limits says.
	TransportDelay time.Duration

	// Positive and Negative are by how much a success raises, and a failure of
	// the site lowers, how many deliveries a destination may have at a time
	// (destination_concurrency_positive_feedback and _negative_feedback); zero
	// means one each.
	Positive, Negative Feedback
	// FailedCohorts is after how many times as many failures in sequence as it
	// may have deliveries a destination is dead
	// (destination_concurrency_failed_cohort_limit). Zero means 1, and less than
	// zero never.
	FailedCohorts int
}

func (l Limits) or(d Limits) Limits {
	return Limits{
		Concurrency:    cmp.Or(l.Concurrency, d.Concurrency),
		Destination:    cmp.Or(l.Destination, d.Destination),
		Initial:        cmp.Or(l.Initial, d.Initial),
		Recipients:     cmp.Or(l.Recipients, d.Recipients),
		RateDelay:      cmp.Or(l.RateDelay, d.RateDelay),
		TransportDelay: cmp.Or(l.TransportDelay, d.TransportDelay),
		Positive:       cmp.Or(l.Positive, d.Positive),
		Negative:       cmp.Or(l.Negative, d.Negative),
		FailedCohorts:  cmp.Or(l.FailedCohorts, d.FailedCohorts),
	}
}

// limits returns what holds for a transport.
func (m *Manager) limits(transport string) Limits {
	l := m.Transports[transport].or(m.Limits).or(Limits{Concurrency: 100, Destination: 20, Initial: 5, Recipients: 50, FailedCohorts: 1})
	if l.RateDelay > 0 {
		l.Destination = 1
	}
	l.Concurrency, l.Destination, l.Recipients = max(l.Concurrency, 1), max(l.Destination, 1), max(l.Recipients, 1)
	l.Initial = max(min(l.Initial, l.Destination), 1)
	return l
}

// setup makes what the zero value lacks.
func (m *Manager) setup() {
	m.once.Do(func() {
		m.deliverCtx, m.cancel = context.WithCancel(context.Background())
		m.recordCtx = context.WithoutCancel(m.deliverCtx)
		m.start = time.Now()
		m.wake = make(chan struct{}, 1)
		m.stop = make(chan struct{})
		m.read = make(chan struct{})
		m.receipts = newReceipts()
		m.watchers = make(map[string]*watcher)
		m.done = make(chan struct{})
		m.idle = make(chan func())
		m.waiting = newWaiting()
		m.entries = make(map[string]*entry)
		m.line = line{limit: cmp.Or(m.Concurrency, 500), transports: make(map[string]*transport), now: m.now, kick: m.kick}
	})
}

func (m *Manager) activeLimit() int { return cmp.Or(m.ActiveLimit, 20000) }

func (m *Manager) recipientLimit() int { return cmp.Or(m.RecipientLimit, 20000) }

func (m *Manager) hostname() string { return cmp.Or(m.Hostname, "localhost") }

func (m *Manager) doubleBounceSender() string {
	return cmp.Or(m.DoubleBounceSender, "double-bounce@"+m.hostname())
}

// isDoubleBounce reports whether nobody is ever told of what becomes of a message.
func (m *Manager) isDoubleBounce(e *mtakit.Envelope) bool {
	return strings.EqualFold(e.Sender, m.doubleBounceSender())
}

// now returns the time since the start, by a clock that does not jump.
func (m *Manager) now() time.Duration { return time.Since(m.start) }

// in returns the time, by now, at which wait has passed.
func (m *Manager) in(wait time.Duration) time.Duration {
	now := m.now()
	return now + min(max(wait, 0), never-now)
}

func (m *Manager) log() *slog.Logger {
	if m.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return m.Logger
}

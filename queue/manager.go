package queue

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/mtakit/mtakit"
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
	// Concurrency is how many deliveries run at a time, over all transports; zero
	// means 500.
	Concurrency int
	// Limits hold for every transport, and Transports, where its fields are not
	// zero, for the one named.
	Limits     Limits
	Transports map[string]Limits

	// BounceSizeLimit is how many bytes of a message are returned to its sender;
	// zero means 50000.
	BounceSizeLimit int64
	// Postmaster is told of notifications that cannot be delivered, by mail from
	// DoubleBounceSender. "" means nobody.
	Postmaster string
	// DoubleBounceSender is a sender whose mail is never returned; "" means
	// "double-bounce@" and Hostname.
	DoubleBounceSender string

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
	done                  chan struct{} // closed when Serve has returned

	group sync.WaitGroup // everything that was started and touches the spool
	idle  chan func()    // what a worker that waits is to do

	mu      sync.Mutex // guards what follows, and no I/O is done under it
	phase   phase
	entries map[string]*entry // every message that is known, but those on hold
	waiting waitingHeap       // the entries that are not active
	active  int               // messages in the active queue, and places kept for some
	line    line              // what waits for a delivery
	// unsettled are active messages whose results could not be recorded.
	unsettled waitingHeap
	settling  int          // deliveries that record results and have left the line
	tasks     fifo[func()] // for helpers
	helpers   int
}

// Senders says whether the sender of a message is one of our own.
type Senders interface {
	Ours(e *mtakit.Envelope) bool
}

// SendersFunc is a function that is a Senders.
type SendersFunc func(e *mtakit.Envelope) bool

// Ours calls f.
func (f SendersFunc) Ours(e *mtakit.Envelope) bool { return f(e) }

// Limits bound the deliveries of one transport.
type Limits struct {
	Concurrency int // deliveries at a time; zero means 100
	Destination int // deliveries to one destination at a time; zero means 20
	Initial     int // the same at first, before success raises it; zero means 5
	Recipients  int // of one delivery; zero means 50
}

func (l Limits) or(d Limits) Limits {
	return Limits{
		Concurrency: cmp.Or(l.Concurrency, d.Concurrency),
		Destination: cmp.Or(l.Destination, d.Destination),
		Initial:     cmp.Or(l.Initial, d.Initial),
		Recipients:  cmp.Or(l.Recipients, d.Recipients),
	}
}

// limits returns what holds for a transport.
func (m *Manager) limits(transport string) Limits {
	l := m.Transports[transport].or(m.Limits).or(Limits{Concurrency: 100, Destination: 20, Initial: 5, Recipients: 50})
	l.Initial = min(l.Initial, l.Destination)
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
		m.done = make(chan struct{})
		m.idle = make(chan func())
		m.entries = make(map[string]*entry)
		m.line = line{limit: cmp.Or(m.Concurrency, 500), transports: make(map[string]*transport)}
	})
}

func (m *Manager) activeLimit() int { return cmp.Or(m.ActiveLimit, 20000) }

func (m *Manager) hostname() string { return cmp.Or(m.Hostname, "localhost") }

func (m *Manager) doubleBounceSender() string {
	return cmp.Or(m.DoubleBounceSender, "double-bounce@"+m.hostname())
}

// now returns the time since the start, by a clock that does not jump.
func (m *Manager) now() time.Duration { return time.Since(m.start) }

func (m *Manager) log() *slog.Logger {
	if m.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return m.Logger
}

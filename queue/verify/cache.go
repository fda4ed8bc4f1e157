package verify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Prober finds out whether mail for an address would be taken: Delivered means
// yes, Bounced no, Deferred that it cannot be known now. An error means that
// nothing was found out, and is not remembered. It is called from any number of
// goroutines at once. *queue.Manager is one.
type Prober interface {
	Verify(ctx context.Context, address string) (mtakit.Result, error)
}

// ProberFunc is a function that is a Prober.
type ProberFunc func(ctx context.Context, address string) (mtakit.Result, error)

// Verify calls f.
func (f ProberFunc) Verify(ctx context.Context, address string) (mtakit.Result, error) {
	return f(ctx, address)
}

// Cache is a Prober that remembers. Its fields are not changed once it is in
// use. The names and times are those of postconf(5), address_verify_...
type Cache struct {
	// Prober finds out what is not known. Required.
	Prober Prober
	// Store keeps the answers; nil means a Memory of this Cache's own.
	Store Store

	// PositiveExpire is how long an address is good without a further answer, and
	// PositiveRefresh after what time one is looked for; zero means 31 and 7 days.
	PositiveExpire, PositiveRefresh time.Duration
	// NegativeExpire and NegativeRefresh are the same for an address that is not
	// good; zero means 3 days and 3 hours.
	NegativeExpire, NegativeRefresh time.Duration

	// Wait is how long Verify waits for a probe: what poll_count less one times
	// poll_delay are in Postfix. Zero means 6 s, and a negative time not at all.
	Wait time.Duration
	// Concurrency is how many probes there are at a time; zero means 50.
	Concurrency int

	// Logger is told of faults; nil is silent.
	Logger *slog.Logger

	once   sync.Once
	ctx    context.Context
	cancel context.CancelFunc
	store  Store
	probes sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	flights map[string]*flight
}

// ErrClosed is returned after Close for an address that is not in the cache.
var ErrClosed = errors.New("verify: cache is closed")

// probeTime bounds a probe, and is how long after a refresh that failed the next
// one may be: Postfix's PROBE_TTL.
const probeTime = 1000 * time.Second

// textLimit is how many bytes are kept of what a server said, as in Postfix's
// replies.
const textLimit = 250

// flight is a probe under way.
type flight struct {
	done   chan struct{} // closed when result and err are there
	result mtakit.Result
	err    error
}

// record is what the store has of an address.
type record struct {
	Outcome mtakit.Outcome
	Status  smtp.EnhancedCode
	Text    string    `json:",omitempty"`
	Updated time.Time // when this was found out
	Probed  time.Time // of the last probe that did not change it
	Expires time.Time
}

func (r *record) good() bool { return r.Outcome != mtakit.Deferred && r.Outcome != mtakit.Bounced }

func (r *record) result() mtakit.Result {
	return mtakit.Result{Outcome: r.Outcome, Status: r.Status, Diagnostic: r.Text}
}

func (c *Cache) setup() {
	c.once.Do(func() {
		c.ctx, c.cancel = context.WithCancel(context.Background())
		c.flights = make(map[string]*flight)
		if c.store = c.Store; c.store == nil {
			c.store = &Memory{}
		}
	})
}

// Verify says whether mail for an address would be taken. The result is Deferred,
// with the text "Address verification in progress", when that is not known yet.
// An error means that the store or the Prober failed, or that ctx ended.
func (c *Cache) Verify(ctx context.Context, address string) (mtakit.Result, error) {
	c.setup()
	key := fold(address)
	now := time.Now()
	r, err := c.get(ctx, key, now)
	if err != nil {
		return mtakit.Result{}, fmt.Errorf("verify: %w", err)
	}
	if r != nil {
		if c.stale(r, now) {
			_, _ = c.start(key, address) // when there is no room, later
		}
		return r.result(), nil
	}
	f, err := c.start(key, address)
	if f == nil {
		return inProgress(), err
	}
	return c.wait(ctx, f)
}

// inProgress is the result of an address that nothing is known of yet.
func inProgress() mtakit.Result {
	return mtakit.Result{Status: smtp.EnhancedCode{4, 2, 0}, Diagnostic: "Address verification in progress"}
}

// wait waits for a probe, as long as a client should.
func (c *Cache) wait(ctx context.Context, f *flight) (mtakit.Result, error) {
	patience := cmp.Or(c.Wait, 6*time.Second)
	timer := time.NewTimer(max(patience, 0))
	defer timer.Stop()
	select {
	case <-f.done:
		return f.result, f.err
	case <-ctx.Done():
		return mtakit.Result{}, ctx.Err()
	case <-timer.C:
		return inProgress(), nil
	}
}

// stale reports whether a new answer should be looked for.
func (c *Cache) stale(r *record, now time.Time) bool {
	refresh := cmp.Or(c.NegativeRefresh, 3*time.Hour)
	if r.good() {
		refresh = cmp.Or(c.PositiveRefresh, 7*24*time.Hour)
	}
	return now.Sub(r.Updated) >= refresh && now.Sub(r.Probed) >= probeTime
}

// start returns the probe for an address, a new one if there is none. It is nil
// when there is no room for one.
func (c *Cache) start(key, address string) (*flight, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[key]; f != nil {
		return f, nil
	}
	if c.closed {
		return nil, ErrClosed
	}
	if len(c.flights) >= cmp.Or(c.Concurrency, 50) {
		return nil, nil
	}
	f := &flight{done: make(chan struct{})}
	c.flights[key] = f
	c.probes.Go(func() { c.fly(f, key, address) })
	return f, nil
}

// fly makes the probe and remembers what comes of it.
func (c *Cache) fly(f *flight, key, address string) {
	ctx, cancel := context.WithTimeout(c.ctx, probeTime)
	defer cancel()
	f.result, f.err = c.probe(ctx, address)
	if f.err == nil {
		f.err = c.put(ctx, key, &f.result)
	}
	if f.err != nil {
		f.err = fmt.Errorf("verify: %w", f.err)
		c.log().Error("verifying", "address", address, "error", f.err)
	}
	c.mu.Lock()
	delete(c.flights, key)
	c.mu.Unlock()
	close(f.done)
}

func (c *Cache) probe(ctx context.Context, address string) (r mtakit.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.log().Error("panic in a prober", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return c.Prober.Verify(ctx, address)
}

// put remembers a result. One that is not good does not take the place of a good
// one before that expires.
func (c *Cache) put(ctx context.Context, key string, result *mtakit.Result) error {
	now := time.Now()
	r := &record{Outcome: result.Outcome, Status: result.Status, Text: text(result), Updated: now}
	result.Diagnostic, result.Reply = r.Text, nil
	r.Expires = now.Add(cmp.Or(c.NegativeExpire, 3*24*time.Hour))
	if r.good() {
		r.Expires = now.Add(cmp.Or(c.PositiveExpire, 31*24*time.Hour))
	} else if old, err := c.get(ctx, key, now); err != nil {
		return err
	} else if old != nil && old.good() {
		old.Probed = now
		r = old
	}
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return c.store.Put(ctx, key, string(value), r.Expires)
}

// get returns nil for what is not there, has expired, or cannot be read.
func (c *Cache) get(ctx context.Context, key string, now time.Time) (*record, error) {
	value, ok, err := c.store.Get(ctx, key)
	if err != nil || !ok {
		return nil, err
	}
	r := &record{}
	if err := json.Unmarshal([]byte(value), r); err != nil {
		c.log().Warn("unreadable record", "address", key, "error", err)
		return nil, nil
	}
	if !now.Before(r.Expires) {
		return nil, nil
	}
	return r, nil
}

// Forget has the next Verify of an address find out anew.
func (c *Cache) Forget(ctx context.Context, address string) error {
	c.setup()
	return c.store.Delete(ctx, fold(address))
}

// Entry is what is known of an address.
type Entry struct {
	Address          string // its domain in lower case
	Result           mtakit.Result
	Updated, Expires time.Time
}

// Entries yields all that is known, in any order.
func (c *Cache) Entries(ctx context.Context) iter.Seq2[Entry, error] {
	c.setup()
	return func(yield func(Entry, error) bool) {
		more := true
		err := c.store.Scan(ctx, func(key, value string) bool {
			var r record
			if json.Unmarshal([]byte(value), &r) == nil && time.Now().Before(r.Expires) {
				more = yield(Entry{Address: key, Result: r.result(), Updated: r.Updated, Expires: r.Expires}, nil)
			}
			return more
		})
		if err != nil && more {
			yield(Entry{}, fmt.Errorf("verify: %w", err))
		}
	}
}

// Close gives up the probes that are under way and waits for their end. What is
// in the cache is still told.
func (c *Cache) Close() error {
	c.setup()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.probes.Wait()
	return nil
}

func (c *Cache) log() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

// fold makes one key of an address: domains have no case (RFC 5321, section 2.4).
func fold(address string) string {
	at := strings.LastIndexByte(address, '@')
	return address[:at+1] + strings.ToLower(address[at+1:])
}

// text is what a result says, in Postfix's words.
func text(r *mtakit.Result) string {
	s := r.Diagnostic
	if r.Reply != nil {
		reply := strings.ReplaceAll(r.Reply.Message, "\n", " ")
		if e := r.Reply.EnhancedCode; e[0] > 0 {
			reply = fmt.Sprintf("%d.%d.%d %s", e[0], e[1], e[2], reply)
		}
		reply = fmt.Sprintf("%d %s", r.Reply.Code, reply)
		if r.Remote != "" {
			reply = "host " + r.Remote + " said: " + reply
		}
		if s != "" && s != r.Reply.Message {
			reply += " (" + s + ")"
		}
		s = reply
	}
	return strings.ToValidUTF8(s[:min(len(s), textLimit)], "")
}

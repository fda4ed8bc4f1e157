package queue

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/internal/wire"
)

// Submission is what Submit is told beside the envelope and the message. The
// zero value is a message like any other.
type Submission struct {
	// Key makes the submission idempotent: a second one with the same key sends
	// nothing and returns the first one's ID, also when both come at once, after a
	// crash, and after the message has been delivered, for Manager.Retention. It
	// has at most MaxKey bytes of printable ASCII without spaces. "" means that
	// each submission is a message of its own.
	Key string
	// Filter is asked about the message before it is accepted, and may complete
	// its header: see Filter. nil means that it is accepted as it is.
	Filter Filter
	// Results is told what becomes of each recipient, for as long as this process
	// runs; nil means nobody. After a restart ask Manager.Result, or listen to
	// Manager.Observer.
	Results Results
}

// Results is told of the recipients of one message.
//
// Result is called once for each recipient, as soon as what has become of it is
// recorded: s.Kind is EventDelivered (s.Result.Outcome says whether it was
// relayed or expanded), EventBounced, EventExpired or EventRemoved. It is called
// from goroutines of the Manager and in the path of the mail: it must not block.
type Results interface {
	Result(ctx context.Context, s RecipientStatus)
}

// ResultsFunc is a function that is a Results.
type ResultsFunc func(ctx context.Context, s RecipientStatus)

// Result calls f.
func (f ResultsFunc) Result(ctx context.Context, s RecipientStatus) { f(ctx, s) }

// What a submission may have. The attributes of a message are held in memory
// while it is active, and are part of each event.
const (
	MaxKey       = 255     // bytes of a key
	MaxAttrs     = 64      // attributes of a message
	MaxAttrBytes = 4 << 10 // names and values of all of them together
)

// ErrKeyReused is wrapped when a key comes with another sender, other recipients
// or another message than the first time. The ID that is returned beside it is
// the first one's.
//
// Whoever uses one key for two messages would otherwise lose the second without
// a word. A program that renders its message anew for each try (another Date,
// another boundary) may take the ID and be content.
var ErrKeyReused = errors.New("queue: key was used for another message")

// Submit accepts a message of this program's own and returns its queue ID, for
// which Result, Cancel and Remove may be asked. When it returns a nil error, the
// message is in the spool and outlives process and machine.
//
// r has the message, with lines that end in LF or CRLF; it is read to its end.
// env.NotBefore is when it is to be sent, env.Attrs travel with it (at most
// MaxAttrs, of MaxAttrBytes together) and are seen by the Router, the agents and
// the events. env is copied; filters change the copy.
//
// An error that wraps ErrSubmission is for good: the key or the envelope is
// wrong, or the filter refuses, with the reply in the error's chain. An error
// that wraps ErrKeyReused comes with the ID of the other message. After any other error the message
// may be submitted again; with a key that is safe even when it is not known
// whether the first time succeeded. An ID of "" without an error means that the
// filter wants the message to be thrown away.
//
// A submission with a key, or with Results, waits until Serve has read what the
// spool has from before.
func (m *Manager) Submit(ctx context.Context, env *mtakit.Envelope, r io.Reader, s Submission) (id string, err error) {
	m.setup()
	env = env.Clone()
	if err := s.check(env); err != nil {
		return "", err
	}
	sub := &submitting{Submission: s, env: env, in: newSubmission(r, 0), digest: digestOf(env)}
	if s.Key == "" && s.Results == nil {
		return m.submit(ctx, sub)
	}
	if err := m.spoolRead(ctx); err != nil {
		return "", fmt.Errorf("queue: submitting: %w", err)
	}
	if s.Key == "" {
		return m.submit(ctx, sub)
	}
	return m.submitOnce(ctx, sub)
}

// submitting is a submission under way.
type submitting struct {
	Submission
	env    *mtakit.Envelope
	in     *submission
	digest hash.Hash // of the envelope as it was given, and then of the message
}

// check says what is wrong with a submission, and completes env.
func (s *Submission) check(env *mtakit.Envelope) error {
	if !isKey(s.Key) {
		return fmt.Errorf("%w: a key has at most %d bytes of printable ASCII without spaces", ErrSubmission, MaxKey)
	}
	if env == nil {
		return fmt.Errorf("%w: no envelope", ErrSubmission)
	}
	if err := complete(env, true); err != nil {
		return err
	}
	if !wire.IsAddress(env.Sender) {
		return fmt.Errorf("%w: bad sender %.80q", ErrSubmission, env.Sender)
	}
	for i := range env.Recipients {
		if address := env.Recipients[i].Address; !wire.IsAddress(address) {
			return fmt.Errorf("%w: bad recipient %.80q", ErrSubmission, address)
		}
	}
	return checkAttrs(env.Attrs)
}

func checkAttrs(attrs map[string]string) error {
	size := 0
	for name, value := range attrs {
		size += len(name) + len(value)
	}
	if len(attrs) > MaxAttrs || size > MaxAttrBytes {
		return fmt.Errorf("%w: %d attributes of %d bytes; there may be %d of %d together",
			ErrSubmission, len(attrs), size, MaxAttrs, MaxAttrBytes)
	}
	return nil
}

func isKey(key string) bool {
	for i := range len(key) {
		if key[i] <= ' ' || key[i] >= 0x7f {
			return false
		}
	}
	return len(key) <= MaxKey
}

// digestOf begins the digest that tells two uses of a key apart. When the
// message is to be sent is not in it: a program that is asked again says "in an
// hour" again.
func digestOf(env *mtakit.Envelope) hash.Hash {
	h := sha256.New()
	put := func(s string) {
		h.Write(binary.AppendUvarint(nil, uint64(len(s))))
		io.WriteString(h, s)
	}
	put(env.Sender)
	for i := range env.Recipients {
		put(env.Recipients[i].Address)
	}
	put("")
	return h
}

// content returns the end of the digest: 64 bits are enough against mistakes.
func (s *submitting) content() uint64 { return binary.BigEndian.Uint64(s.digest.Sum(nil)) }

// storedKey is what the spool keeps: the key and the digest of what it was used
// for.
func storedKey(key string, content uint64) string { return fmt.Sprintf("%s %016x", key, content) }

// splitKey takes storedKey apart; content is 0 when it is not there.
func splitKey(stored string) (key string, content uint64) {
	key, digest, _ := strings.Cut(stored, " ")
	content, err := strconv.ParseUint(digest, 16, 64)
	if err != nil {
		content = 0
	}
	return key, content
}

// submitOnce submits, unless that has been done before with the same key.
func (m *Manager) submitOnce(ctx context.Context, s *submitting) (string, error) {
	key := keyOf(s.Key)
	for {
		first, other := m.receipts.claim(m, key)
		switch {
		case first != nil:
			return first.id, s.compare(first)
		case other == nil:
			defer m.receipts.release(m, key)
			return m.submit(ctx, s)
		}
		select {
		case <-other:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

// compare reads the message and says whether it is the first one.
func (s *submitting) compare(first *receipt) error {
	if err := s.in.message(s.digest); err != nil {
		return fmt.Errorf("queue: submitting: %w", err)
	}
	if first.content != 0 && first.content != s.content() {
		return fmt.Errorf("%w: %s", ErrKeyReused, first.id)
	}
	return nil
}

// submit writes the message into the spool.
func (m *Manager) submit(ctx context.Context, s *submitting) (id string, err error) {
	d, err := m.Spool.Begin(ctx, 0)
	if err != nil {
		return "", err
	}
	defer func() {
		if id == "" {
			_ = d.Discard()
		}
	}()
	if err := s.in.message(io.MultiWriter(d, s.digest)); err != nil {
		return "", fmt.Errorf("queue: submitting: %w", err)
	}
	msg, err := d.Message(ctx)
	if err != nil {
		return "", err
	}
	if keep, err := filtered(ctx, s.Filter, m.log(), s.env, msg); err != nil || !keep {
		return "", err
	}
	if err := checkAttrs(s.env.Attrs); err != nil { // the filter may have added some
		return "", err
	}
	if s.env.Arrival.IsZero() {
		s.env.Arrival = time.Now()
	}
	a := m.accept(d, s.env, msg)
	if s.Key != "" {
		a.Key = storedKey(s.Key, s.content())
	}
	size := msg.Size()
	if id, err = m.commitOne(ctx, a, s.Results); err == nil {
		m.observe(mtakit.Event{Kind: mtakit.EventReceived, ID: id, Sender: s.env.Sender, Size: size, Attrs: s.env.Attrs})
	}
	return id, err
}

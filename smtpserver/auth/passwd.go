package auth

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// Table has the stored secret of each user: lookup.LookupTable is one. ok is
// false when there is no such user. An error means that the table could not
// answer.
type Table interface {
	Lookup(ctx context.Context, key string) (value string, ok bool, err error)
}

// TableFunc is a function that is a Table.
type TableFunc func(ctx context.Context, key string) (string, bool, error)

// Lookup calls f.
func (f TableFunc) Lookup(ctx context.Context, key string) (string, bool, error) { return f(ctx, key) }

// Passwd is a Verifier over a table of stored secrets (see the package's
// Schemes). It must not be copied after its first use; its fields must not be
// changed any more then.
type Passwd struct {
	// Table has "user@example.org" or "user" as the client gives it, and
	// "{SCHEME}secret" as value. It is required.
	Table Table
	// MaxRounds is the largest number of rounds of a SHA-crypt hash: one that
	// wants more is an error; 0 means 1,000,000, which is about a second.
	MaxRounds int
	// MaxCost is the largest cost of a bcrypt hash, the binary logarithm of its
	// rounds; 0 means 14, which is about a second.
	MaxCost int
	// Parallel is how many secrets are checked at a time; 0 means as many as
	// there are processors, less one.
	Parallel int

	once  sync.Once
	slots chan struct{}
	last  atomic.Pointer[secret] // of a user that there is: the measure for those that there are not
}

// Verify checks a password. It waits for its turn until ctx ends.
func (p *Passwd) Verify(ctx context.Context, user, password string) (bool, error) {
	stored, known, err := p.Table.Lookup(ctx, user)
	if err != nil {
		return false, fmt.Errorf("look up user: %w", err)
	}
	s := p.stranger()
	if known {
		if s, err = parseSecret(stored, p.limits()); err != nil {
			return false, fmt.Errorf("stored secret: %w", err)
		}
		p.last.Store(&s)
	}
	if err := p.enter(ctx); err != nil {
		return false, err
	}
	defer func() { <-p.slots }()
	match, err := s.match([]byte(password))
	if !known {
		return false, nil
	}
	return match, err
}

// limits returns how much work a secret may ask for.
func (p *Passwd) limits() limits {
	l := limits{rounds: p.MaxRounds, cost: p.MaxCost}
	if l.rounds == 0 {
		l.rounds = 1_000_000
	}
	if l.cost == 0 {
		l.cost = 14
	}
	return l
}

// enter waits until one of the checks at work has ended.
func (p *Passwd) enter(ctx context.Context) error {
	p.once.Do(func() {
		n := p.Parallel
		if n <= 0 {
			n = max(1, runtime.GOMAXPROCS(0)-1)
		}
		p.slots = make(chan struct{}, n)
	})
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait to check a password: %w", ctx.Err())
	}
	if err := ctx.Err(); err != nil { // the client may have gone while it waited
		<-p.slots
		return fmt.Errorf("check a password: %w", err)
	}
	return nil
}

// stranger is the secret that unknown users are checked with, in vain.
func (p *Passwd) stranger() secret {
	if s := p.last.Load(); s != nil {
		return *s
	}
	return secret{kind: shaCrypt512, salt: []byte("saltsaltsaltsalt"), rounds: 5000, sum: make([]byte, 86)}
}

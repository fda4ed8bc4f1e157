package filespool

import (
	"errors"
	"sync"
	"sync/atomic"
)

// rounds are syncs that several callers share: one of them does it for those
// who came before it began, the next ones wait for the next.
type rounds struct {
	mu       sync.Mutex
	waiting  *round // those who wait for the next sync
	busy     sync.Mutex
	failures atomic.Int64
}

type round struct {
	n    int // who share it
	done chan struct{}
	err  error
}

var errLost = errors.New("another sync failed meanwhile and may have lost this")

// epoch is asked before something is changed and given to join afterwards. A
// sync that fails in between may have lost the change although a later one
// succeeds.
func (r *rounds) epoch() int64 { return r.failures.Load() }

// join waits for a sync that begins now or later. Who comes first for it does
// it, with the number of those who share it.
func (r *rounds) join(epoch int64, do func(n int) error) error {
	r.mu.Lock()
	mine := r.waiting
	if mine != nil {
		mine.n++
		r.mu.Unlock()
		<-mine.done
	} else {
		mine = &round{n: 1, done: make(chan struct{})}
		r.waiting = mine
		r.mu.Unlock()
		r.lead(mine, do)
	}
	if mine.err == nil && r.failures.Load() != epoch {
		return errLost
	}
	return mine.err
}

// lead does the sync of a round when the one before it has ended.
func (r *rounds) lead(mine *round, do func(n int) error) {
	r.busy.Lock()
	defer r.busy.Unlock()
	r.mu.Lock()
	r.waiting = nil
	n := mine.n
	r.mu.Unlock()
	if mine.err = do(n); mine.err != nil {
		r.failures.Add(1)
	}
	close(mine.done)
}

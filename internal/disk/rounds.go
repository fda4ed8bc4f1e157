package disk

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Rounds are syncs that several callers share: one of them does it for those
// who came before it began, the next ones wait for the next.
type Rounds struct {
	// Gather is how long a sync waits for more to share it, when several shared the
	// one before. 0 only lets those run who are ready.
	Gather time.Duration

	mu       sync.Mutex
	waiting  *round // those who wait for the next sync
	busy     sync.Mutex
	last     int // how many shared the last one; guarded by busy
	failures atomic.Int64
}

type round struct {
	n    int // who share it
	done chan struct{}
	err  error
}

// ErrLost is the result of a sync after which nobody knows what is on disk.
var ErrLost = errors.New("another sync failed meanwhile and may have lost this")

// Epoch is asked before something is changed and given to Join afterwards. A
// sync that fails in between may have lost the change although a later one
// succeeds.
func (r *Rounds) Epoch() int64 { return r.failures.Load() }

// Join waits for a sync that begins now or later. Who comes first for it does
// it, with the number of those who share it.
func (r *Rounds) Join(epoch int64, do func(n int) error) error {
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
		return ErrLost
	}
	return mine.err
}

// lead does the sync of a round when the one before it has ended.
func (r *Rounds) lead(mine *round, do func(n int) error) {
	r.busy.Lock()
	defer r.busy.Unlock()
	// Those whom the last sync has just let go have their next one soon: let
	// them run, or every other sync is for the quickest of them alone.
	if r.Gather > 0 && r.last > 1 {
		time.Sleep(r.Gather)
	} else {
		runtime.Gosched()
	}
	r.mu.Lock()
	r.waiting = nil
	n := mine.n
	r.last = n
	r.mu.Unlock()
	if mine.err = do(n); mine.err != nil {
		r.failures.Add(1)
	}
	close(mine.done)
}

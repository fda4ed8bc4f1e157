package filespool

import (
	"errors"
	"path"
	"sync"
	"sync/atomic"

	"github.com/mtakit/mtakit/internal/crashfs"
)

// directory is one folder of the spool. All who wait for its names to become
// durable share a sync: one of them does it for those who came before it began,
// the next ones wait for the next.
type directory struct {
	fs   crashfs.FS
	name string // "active"
	path string

	mu       sync.Mutex
	waiting  *round // those who wait for the next sync
	busy     sync.Mutex
	failures atomic.Int64
	// taken counts the names that were taken away, gone those of them that cannot
	// come back after a crash. Whoever has to be sure syncs until they are equal.
	taken, gone atomic.Int64
}

type round struct {
	done chan struct{}
	err  error
}

var errLost = errors.New("another sync of the directory failed meanwhile")

// epoch is asked before a name is changed and given to sync afterwards. A sync
// that fails in between may have lost the name although a later one succeeds.
func (d *directory) epoch() int64 { return d.failures.Load() }

// sync makes the names durable that were changed since epoch was asked.
func (d *directory) sync(epoch int64) error {
	d.mu.Lock()
	r := d.waiting
	if r != nil {
		d.mu.Unlock()
		<-r.done
	} else {
		r = &round{done: make(chan struct{})}
		d.waiting = r
		d.mu.Unlock()
		d.lead(r)
	}
	if r.err == nil && d.failures.Load() != epoch {
		return errLost
	}
	return r.err
}

// lead does the sync of a round when the one before it has ended.
func (d *directory) lead(r *round) {
	d.busy.Lock()
	defer d.busy.Unlock()
	d.mu.Lock()
	d.waiting = nil
	d.mu.Unlock()
	taken := d.taken.Load()
	if r.err = d.fs.SyncDir(d.path); r.err == nil {
		d.gone.Store(taken)
	} else {
		d.failures.Add(1)
	}
	close(r.done)
}

// dirty tells whether a name that was taken away may come back.
func (d *directory) dirty() bool { return d.taken.Load() != d.gone.Load() }

func (d *directory) file(id string) string { return path.Join(d.path, id) }

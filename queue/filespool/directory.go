package filespool

import (
	"sync/atomic"

	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/internal/disk"
)

// directory is one folder of the spool. All who wait for its names to become
// durable share a sync.
type directory struct {
	disk.Rounds
	fs   crashfs.FS
	name string // "active"
	path string

	// taken counts the names that were taken away, gone those of them that cannot
	// come back after a crash. Whoever has to be sure syncs until they are equal.
	taken, gone atomic.Int64
}

// sync makes the names durable that were changed since epoch was asked.
func (d *directory) sync(epoch int64) error {
	return d.Join(epoch, func(int) error {
		taken := d.taken.Load()
		err := d.fs.SyncDir(d.path)
		if err == nil {
			d.gone.Store(taken)
		}
		return err
	})
}

// dirty tells whether a name that was taken away may come back.
func (d *directory) dirty() bool { return d.taken.Load() != d.gone.Load() }

func (d *directory) file(id string) string { return d.path + "/" + id }

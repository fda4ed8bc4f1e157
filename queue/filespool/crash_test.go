package filespool_test

import (
	"testing"

	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/filespool"
	"github.com/mtakit/mtakit/queue/spooltest"
)

// crowded is a spool whose journal is emptied all the time.
func crowded(fs crashfs.FS) filespool.Options {
	return filespool.Options{FS: fs, MemoryPerDraft: 512, Segment: 4 << 10, Journal: 8 << 10}
}

func TestCrash(t *testing.T) {
	t.Parallel()
	spooltest.RunCrash(t, func(fs crashfs.FS) (queue.Spool, error) {
		return opened(filespool.OpenInline("q", crowded(fs)))
	})
}

// TestCrashOfJournal has everything in the journal.
func TestCrashOfJournal(t *testing.T) {
	t.Parallel()
	spooltest.RunCrash(t, func(fs crashfs.FS) (queue.Spool, error) {
		return opened(filespool.OpenInline("q", filespool.Options{FS: fs, Segment: 64 << 10}))
	})
}

// TestCrashInBackground empties the journal while others go on, and syncs all
// files at once.
func TestCrashInBackground(t *testing.T) {
	t.Parallel()
	spooltest.RunCrash(t, func(fs crashfs.FS) (queue.Spool, error) {
		o := crowded(fs)
		o.SyncFS = true
		return opened(filespool.Open("q", o))
	})
}

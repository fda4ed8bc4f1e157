package filespool_test

import (
	"testing"

	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/filespool"
	"github.com/mtakit/mtakit/queue/spooltest"
)

func TestCrash(t *testing.T) {
	t.Parallel()
	spooltest.RunCrash(t, func(fs crashfs.FS) (queue.Spool, error) {
		return opened(filespool.Open("q", filespool.Options{FS: fs, MemoryPerDraft: 512}))
	})
}

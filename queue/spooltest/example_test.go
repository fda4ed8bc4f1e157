package spooltest_test

import (
	"testing"

	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/memspool"
	"github.com/mtakit/mtakit/queue/spooltest"
)

// Who writes a spool has a test like this one beside it.
func ExampleRun() {
	_ = func(t *testing.T) {
		spooltest.Run(t, func(*testing.T) spooltest.Storage {
			return spooltest.Storage{
				Open:    func() (queue.Spool, error) { return new(memspool.Spool), nil },
				Forgets: true, // nothing is left for the next Open
			}
		})
	}
}

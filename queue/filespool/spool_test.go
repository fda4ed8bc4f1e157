package filespool_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/filespool"
	"github.com/mtakit/mtakit/queue/spooltest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("FILESPOOL_LOAD"); dir != "" {
		load(dir) // killed by TestKill
		return
	}
	goleak.VerifyTestMain(m)
}

func TestSpool(t *testing.T) {
	t.Parallel()
	spooltest.Run(t, func(t *testing.T) spooltest.Storage {
		dir := t.TempDir()
		return spooltest.Storage{Open: func() (queue.Spool, error) { return opened(filespool.Open(dir, filespool.Options{MinFree: -1})) }}
	})
}

func TestSpoolInMemory(t *testing.T) {
	t.Parallel()
	spooltest.Run(t, func(*testing.T) spooltest.Storage {
		disk := crashfs.New()
		return spooltest.Storage{Open: func() (queue.Spool, error) {
			return opened(filespool.Open("q", filespool.Options{FS: disk, MemoryPerDraft: 100, Memory: 8 << 10}))
		}}
	})
}

// opened keeps a nil *Spool from becoming a queue.Spool that is not nil.
func opened(s *filespool.Spool, err error) (queue.Spool, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Example keeps a message over a restart.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "queue")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	s, err := filespool.Open(dir, filespool.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	d, err := s.Begin(ctx, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprint(d, "Subject: hello\r\n\r\nHi Bob\r\n")
	env := &mtakit.Envelope{Sender: "alice@example.org", Recipients: []mtakit.Recipient{{Address: "bob@example.org"}}}
	id, err := d.Commit(ctx, env, nil)
	fmt.Println(err, s.Close())

	s, err = filespool.Open(dir, filespool.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	stored, err := s.Open(ctx, id)
	if err != nil {
		fmt.Println(err)
		return
	}
	subject, _ := stored.Message.Header.Get("Subject")
	fmt.Println(stored.Queue, subject, stored.Envelope.Recipients[0].Address)
	// Output:
	// <nil> <nil>
	// incoming hello bob@example.org
}

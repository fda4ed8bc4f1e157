package filespool

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

func openShared(t *testing.T, disk *crashfs.Disk) *Spool {
	t.Helper()
	s, err := Open("q", Options{FS: disk, SyncFS: true, Segment: 4 << 10, Journal: 8 << 10})
	require.NoError(t, err)
	return s
}

// acceptOne accepts a message that tells its number.
func acceptOne(s *Spool, n int) (id string, err error) {
	text := fmt.Sprintf("Subject: %d\r\n\r\nbody %d\r\n", n, n)
	d, err := s.Begin(context.Background(), 0)
	if err != nil {
		return "", err
	}
	if _, err := d.Write([]byte(text)); err != nil {
		return "", errors.Join(err, d.Discard())
	}
	env := &mtakit.Envelope{Recipients: []mtakit.Recipient{{Address: "a@example.org"}}}
	ids, err := s.Commit(context.Background(), []queue.Accept{{Draft: d, Envelope: env, Attempts: 1}}, nil)
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

func present(t *testing.T, s *Spool) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for e, err := range s.Entries(t.Context()) {
		require.NoError(t, err)
		found[e.ID] = true
	}
	return found
}

// TestCrashWhileShared crashes at some operation of many sessions at once and
// looks for everything acknowledged.
func TestCrashWhileShared(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		disk := crashfs.New()
		s := openShared(t, disk)
		disk.Inject(1+rng.IntN(200), crashfs.Fault{Err: crashfs.ErrCrash})
		var mu sync.Mutex
		var acked []string
		var group sync.WaitGroup
		for session := range 8 {
			group.Go(func() {
				for n := range 6 {
					id, err := acceptOne(s, session*100+n)
					if err != nil {
						continue
					}
					mu.Lock()
					acked = append(acked, id)
					mu.Unlock()
				}
			})
		}
		group.Wait()
		after := openShared(t, disk.Restart(rng))
		found := present(t, after)
		for _, id := range acked {
			assert.True(t, found[id], "seed %d: %s was acknowledged", seed, id)
			_, err := after.Open(t.Context(), id)
			assert.NoError(t, err)
		}
		require.NoError(t, after.Close())
	}
}

func TestSyncFSOnDisk(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir(), Options{SyncFS: true, MinFree: -1})
	require.NoError(t, err)
	if s.whole == nil {
		t.Skip("needs Linux 5.8 and ext4 below " + os.TempDir())
	}
	var group sync.WaitGroup
	for i := range 5 {
		group.Go(func() {
			_, err := acceptOne(s, i)
			assert.NoError(t, err)
		})
	}
	group.Wait()
	settle(t, s)
	assert.Len(t, present(t, s), 5)
	require.NoError(t, s.Close())
}

package filespool

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

// watched calls functions at operations, when they are set.
type watched struct {
	crashfs.FS
	syncing func(dir string)
	opening func(name string, flag int) error
}

func (w *watched) SyncDir(dir string) error {
	if w.syncing != nil {
		w.syncing(dir)
	}
	return w.FS.SyncDir(dir)
}

func (w *watched) Open(name string, flag int) (crashfs.File, error) {
	if w.opening != nil {
		if err := w.opening(name, flag); err != nil {
			return nil, err
		}
	}
	return w.FS.Open(name, flag)
}

func listed(t testing.TB, s *Spool) (ids []string) {
	for e, err := range s.Entries(t.Context()) {
		require.NoError(t, err)
		ids = append(ids, e.ID)
	}
	return ids
}

// TestListedWhenAccepted lists while a message has its name already and its
// Commit has not returned: whoever delivered it now would do it twice if the
// commit failed.
func TestListedWhenAccepted(t *testing.T) {
	t.Parallel()
	disk := &watched{FS: crashfs.New()}
	s, err := Open("q", Options{FS: disk})
	require.NoError(t, err)
	old := put(t, s, small, 1)
	syncs := 0
	disk.syncing = func(string) {
		syncs++
		require.Equal(t, []string{old}, listed(t, s))
	}
	added := put(t, s, small, 1)
	require.Equal(t, 1, syncs)
	require.ElementsMatch(t, []string{old, added}, listed(t, s))

	d, err := s.Begin(t.Context(), 0)
	require.NoError(t, err)
	_, err = d.Write([]byte(small))
	require.NoError(t, err)
	disk.syncing = func(string) { require.Len(t, listed(t, s), 2) }
	_, err = s.Commit(t.Context(), []queue.Accept{{Draft: d, Envelope: testEnvelope()}},
		[]queue.Change{{ID: old, Marks: []queue.Mark{{State: queue.Notified}}}})
	require.NoError(t, err)
	require.Len(t, listed(t, s), 3)
}

// TestSameID accepts a message under the ID of another one, as after a clock
// that was set back: it is refused, and the first one stays as it is.
func TestSameID(t *testing.T) {
	t.Parallel()
	s, err := Open("q", Options{FS: crashfs.New()})
	require.NoError(t, err)
	first, other := put(t, s, small, 1), put(t, s, small, 1)
	for _, changes := range [][]queue.Change{nil, {{ID: other, Warned: true}}} {
		d, err := s.Begin(t.Context(), 0)
		require.NoError(t, err)
		_, err = d.Write([]byte("Subject: second\r\n\r\n"))
		require.NoError(t, err)
		d.(*draft).id = first
		_, err = s.Commit(t.Context(), []queue.Accept{{Draft: d, Envelope: testEnvelope(), Attempts: 1}}, changes)
		require.ErrorIs(t, err, fs.ErrExist)
		st, err := s.Open(t.Context(), first)
		require.NoError(t, err)
		require.EqualValues(t, len(small), st.Size)
		require.False(t, st.Warned)
		names, err := s.FS.List("q/tmp")
		require.NoError(t, err)
		require.Empty(t, names)
	}
}

// TestAfterRollBack takes a step back and crashes later, with records of which
// an earlier one is lost: nobody was told that they are there, so that the
// message is not damaged.
func TestAfterRollBack(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		base := crashfs.New()
		disk := &watched{FS: base}
		s, err := Open("q", Options{FS: disk})
		require.NoError(t, err)
		id := put(t, s, small, 1)
		d, err := s.Begin(t.Context(), 0)
		require.NoError(t, err)
		disk.syncing = func(dir string) {
			if dir == "q/incoming" {
				disk.syncing = nil
				base.Inject(1, crashfs.Fault{Err: syscall.EIO})
			}
		}
		_, err = s.Commit(t.Context(), []queue.Accept{{Draft: d, Envelope: testEnvelope()}},
			[]queue.Change{{ID: id, Marks: []queue.Mark{{State: queue.Notified}}}})
		require.ErrorIs(t, err, syscall.EIO)
		must(t, s, queue.Change{ID: id, Attempts: 2})
		must(t, s, queue.Change{ID: id, Attempts: 3})
		s, err = Open("q", Options{FS: base.Restart(rand.New(rand.NewPCG(seed, 1)))})
		require.NoError(t, err)
		require.Equal(t, []string{id}, listed(t, s), seed)
	}
}

// TestTooManyFiles lists while the process has no descriptors left: what it
// could not look at is not damaged, and the caller knows that it was not all.
func TestTooManyFiles(t *testing.T) {
	t.Parallel()
	disk := &watched{FS: crashfs.New()}
	s, err := Open("q", Options{FS: disk})
	require.NoError(t, err)
	first, second := put(t, s, small, 1), put(t, s, small, 1)
	disk.opening = func(name string, flag int) error {
		if path.Base(name) == first && flag == os.O_RDONLY {
			return &fs.PathError{Op: "open", Path: name, Err: syscall.EMFILE}
		}
		return nil
	}
	var found []string
	var failed error
	for e, err := range s.Entries(t.Context()) {
		if err != nil {
			failed = err
			continue
		}
		found = append(found, e.ID)
	}
	require.Equal(t, []string{second}, found)
	require.ErrorIs(t, failed, syscall.EMFILE)
	var corrupt *queue.CorruptError
	require.NotErrorAs(t, failed, &corrupt)
	disk.opening = nil
	require.Len(t, listed(t, s), 2)
}

// TestListedWhileSyncsFail has readers and writers of the same messages on a disk
// whose syncs fail now and then.
func TestListedWhileSyncsFail(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	s, err := Open("q", Options{FS: disk})
	require.NoError(t, err)
	var writers, readers sync.WaitGroup
	var over atomic.Bool
	for w, id := range []string{put(t, s, small, 1), put(t, s, small, 1), put(t, s, small, 0), put(t, s, small, 0)} {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 2))
			state := queue.Pending
			for range 150 {
				if rng.IntN(4) == 0 {
					disk.Inject(1+rng.IntN(3), crashfs.Fault{Err: syscall.EIO})
				}
				_, err := s.Commit(t.Context(), nil, []queue.Change{{ID: id, Marks: []queue.Mark{{State: queue.Done}}, Defer: rng.IntN(3) == 0}})
				if err == nil {
					state = queue.Done
				}
				st, err := s.Open(t.Context(), id)
				if err == nil && state == queue.Done && st.Marks[0].State != queue.Done {
					t.Errorf("the mark of %s is gone", id)
				}
			}
		})
	}
	readers.Go(func() {
		for !over.Load() {
			for range s.Entries(t.Context()) {
			}
		}
	})
	writers.Wait()
	over.Store(true)
	readers.Wait()
	for n := range 4 { // what is left of the faults
		disk.Inject(n+1, crashfs.Fault{})
	}
	require.Len(t, listed(t, s), 4)
}

// TestListedOnce has messages with a second name in each other folder, as
// failures of the disk may leave them.
func TestListedOnce(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	s, err := Open("q", Options{FS: disk})
	require.NoError(t, err)
	var ids []string
	for _, from := range s.queues() {
		for _, to := range s.queues() {
			id := put(t, s, small, 0)
			require.NoError(t, disk.Link(s.incoming.file(id), s.tmp.file(id)))
			require.NoError(t, disk.Remove(s.incoming.file(id)))
			require.NoError(t, disk.Link(s.tmp.file(id), from.file(id)))
			if to != from {
				require.NoError(t, disk.Link(s.tmp.file(id), to.file(id)))
			}
			ids = append(ids, id)
		}
	}
	require.ElementsMatch(t, ids, listed(t, s))
	s, err = Open("q", Options{FS: disk.Exit()})
	require.NoError(t, err)
	require.ElementsMatch(t, ids, listed(t, s))
}

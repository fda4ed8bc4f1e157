package filespool

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

// watched calls functions at operations, when they are set.
type watched struct {
	crashfs.FS
	opening  func(name string, flag int) error
	removing func(name string)
}

func (w *watched) Remove(name string) error {
	if w.removing != nil {
		w.removing(name)
	}
	return w.FS.Remove(name)
}

func (w *watched) Open(name string, flag int) (crashfs.File, error) {
	if w.opening != nil {
		if err := w.opening(name, flag); err != nil {
			return nil, err
		}
	}
	return w.FS.Open(name, flag)
}

func (w *watched) ReadStart(name string, b []byte) (int, bool, error) {
	if w.opening != nil {
		if err := w.opening(name, os.O_RDONLY); err != nil {
			return 0, false, err
		}
	}
	return w.FS.ReadStart(name, b)
}

func listed(t testing.TB, s *Spool) (ids []string) {
	for e, err := range s.Entries(t.Context()) {
		require.NoError(t, err)
		ids = append(ids, e.ID)
	}
	return ids
}

func opened(t testing.TB, fs crashfs.FS, o Options) *Spool {
	o.FS = fs
	s, err := Open("q", o)
	require.NoError(t, err)
	return s
}

var done = []queue.Mark{{State: queue.Done}}

// tiny has a journal that is emptied all the time.
var tiny = Options{Segment: 4 << 10, Journal: 8 << 10, inline: true}

// TestFailedSync fails the sync that several wait for, while the kernel keeps or
// drops what they wrote: all of them are refused, none is there, and the next
// message goes into another segment.
func TestFailedSync(t *testing.T) {
	t.Parallel()
	for life := range 3 {
		disk := crashfs.New()
		s := opened(t, disk, Options{})
		old := put(t, s, small, 1)
		must(t, s, queue.Change{ID: old, Attempts: 5})
		s.journal.writing.Lock()
		var group sync.WaitGroup
		var refused atomic.Int64
		for range 6 {
			group.Go(func() {
				_, err := acceptOne(s, 1)
				if reply, ok := mtakit.AsReply(err); ok && reply.Code == 451 {
					refused.Add(1)
				}
			})
		}
		require.Eventually(t, func() bool {
			s.journal.mu.Lock()
			defer s.journal.mu.Unlock()
			// One waits with a batch, the others with the next.
			return len(s.journal.pending.steps) >= 1
		}, 1e10, 1e6)
		disk.Inject(2, crashfs.Fault{Err: syscall.EIO}) // a write, and its sync
		s.journal.writing.Unlock()
		group.Wait()
		require.Positive(t, refused.Load())
		there := 1 + 6 - int(refused.Load())
		require.Len(t, listed(t, s), there)
		require.EqualValues(t, 2, s.index.newest().seq, "the segment was given up")
		added := put(t, s, small, 1)
		switch life {
		case 0:
			disk = disk.Restart(nil)
		case 1:
			disk = disk.Exit()
		case 2:
			disk = disk.Restart(rand.New(rand.NewPCG(1, 2)))
		}
		s = opened(t, disk, Options{})
		require.Len(t, listed(t, s), there+1)
		st, err := s.Open(t.Context(), old)
		require.NoError(t, err)
		require.Equal(t, 5, st.Attempts, "what was written and not synced was written again")
		_, err = s.Open(t.Context(), added)
		require.NoError(t, err)
	}
}

// TestShortWrite cuts a write off in the middle: nothing of it counts.
func TestShortWrite(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	s := opened(t, disk, Options{})
	put(t, s, small, 1)
	disk.Inject(1, crashfs.Fault{Err: syscall.ENOSPC, Short: true})
	_, err := acceptOne(s, 1)
	reply, ok := mtakit.AsReply(err)
	require.True(t, ok && reply.Code == 452, "%v", err)
	put(t, s, small, 1)
	require.Len(t, listed(t, opened(t, disk.Exit(), Options{})), 2)
}

// TestGivenUpSegmentComesBack puts a segment back that was given up, as a crash
// may: what was delivered since does not come back with it.
func TestGivenUpSegmentComesBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(dir, Options{MinFree: -1, Segment: 4 << 10, Journal: 8 << 10, inline: true})
	require.NoError(t, err)
	delivered := put(t, s, small, 1)
	old := filepath.Join(dir, "journal", segmentName(1))
	copied, err := os.ReadFile(old)
	require.NoError(t, err)
	must(t, s, queue.Change{ID: delivered, Remove: true})
	var kept []string
	for range 30 {
		kept = append(kept, put(t, s, small+strings.Repeat("x", 500), 1))
	}
	require.NoFileExists(t, old)
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(old, copied, 0o600))
	s, err = Open(dir, Options{MinFree: -1})
	require.NoError(t, err)
	defer s.Close()
	require.ElementsMatch(t, kept, listed(t, s))
	require.FileExists(t, filepath.Join(dir, "corrupt", "journal."+segmentName(1)), "it is kept for whoever wants to look")
}

// TestMarksOutliveTheirMessage keeps a message in an old segment and marks it in
// younger ones, until all of that has become a file and again a mark.
func TestMarksOutliveTheirMessage(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	s := opened(t, disk, tiny)
	id := put(t, s, small, 1)
	for n := range 40 {
		c := queue.Change{ID: id, Attempts: n + 2, Defer: n%3 == 0}
		if n == 7 {
			c.Marks = done
		}
		must(t, s, c)
		must(t, s, queue.Change{ID: put(t, s, small+strings.Repeat("y", 700), 1), Remove: true})
		if n%5 == 4 {
			s = opened(t, disk.Restart(rand.New(rand.NewPCG(uint64(n), 1))), tiny)
			disk = s.FS.(*crashfs.Disk)
		}
		if n < 7 {
			continue
		}
		require.Equal(t, []string{id}, listed(t, s), n)
		st, err := s.Open(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, queue.Done, st.Marks[0].State, n)
	}
}

// TestHostileBodies sends messages whose bodies are whole segments and records
// of this spool and of others. They stay text, also when the file is used again.
func TestHostileBodies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(dir, Options{MinFree: -1})
	require.NoError(t, err)
	victim := put(t, s, small, 1)
	must(t, s, queue.Change{ID: victim, Attempts: 2})
	segment, err := os.ReadFile(filepath.Join(dir, "journal", segmentName(1)))
	require.NoError(t, err)
	end := bytes.LastIndexFunc(segment, func(r rune) bool { return r != 0 }) + 1
	var st step
	st.change(&queue.Change{ID: victim, Remove: true}, 2)
	other := &segment2
	b := newBatch()
	b.add(&st)
	b.stamp(other)
	bodies := map[string]bool{}
	for _, hostile := range [][]byte{segment[:end], segment[segmentHead:end], b.buf, bytes.Repeat(b.buf, 50)} {
		id := put(t, s, small+string(hostile), 1)
		bodies[id] = true
	}
	require.NoError(t, s.Close())

	// The acknowledged end is cut off and the rest damaged, so that the search for
	// the next record runs over all of that.
	s, err = Open(dir, Options{MinFree: -1})
	require.NoError(t, err)
	found := listed(t, s)
	require.Len(t, found, 5)
	require.Contains(t, found, victim)
	require.NoError(t, s.Close())
}

// segment2 is a segment of somebody who guesses.
var segment2 = segment{seq: 1, nonce: [16]byte{1, 2, 3}, end: segmentHead}

// TestStaleRecords uses the file of a segment again: what stood in it is not
// found where the new records end.
func TestStaleRecords(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	s := opened(t, disk, tiny)
	for n := range 60 {
		id := put(t, s, small+strings.Repeat("z", n*7), 1)
		must(t, s, queue.Change{ID: id, Remove: true})
		if n%7 == 0 {
			s = opened(t, disk.Exit(), tiny)
			disk = s.FS.(*crashfs.Disk)
			require.Empty(t, listed(t, s), n)
		}
	}
	require.NotEmpty(t, s.journal.spares.files)
}

// TestDamagedJournal flips each byte of a journal: what is hit is lost, kept in
// corrupt/ and told, and everything else is there.
func TestDamagedJournal(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	s := opened(t, disk, Options{Segment: 4 << 10})
	var ids []string
	for n := range 4 {
		ids = append(ids, put(t, s, fmt.Sprintf("Subject: %d\r\n\r\n", n), 1))
	}
	end := s.journal.current.end
	name := "q/journal/" + segmentName(1)
	good := contentsOf(t, disk, name)[:end]
	for at := range int(end) {
		after := disk.Restart(nil)
		f, err := after.Open(name, os.O_RDWR)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{good[at] ^ 0x40}, int64(at))
		require.NoError(t, err)
		s := opened(t, after, Options{Segment: 4 << 10})
		there, lost := map[string]bool{}, 0
		for e, err := range s.Entries(t.Context()) {
			var corrupt *queue.CorruptError
			if errors.As(err, &corrupt) {
				lost++
				require.NotEmpty(t, corrupt.Path)
				require.NotEmpty(t, contentsOf(t, after, corrupt.Path))
				continue
			}
			require.NoError(t, err)
			there[e.ID] = true
			st, err := s.Open(t.Context(), e.ID)
			require.NoError(t, err)
			require.EqualValues(t, 14, st.Size)
		}
		switch {
		case at < segmentHead:
			require.True(t, lost == 1 && len(there) == 0 || len(there) == 4, "byte %d of the head", at)
		case there[ids[3]]:
			require.Equal(t, 4, len(there)+lost, "byte %d", at)
		default:
			// The last record cannot be told from one that was never acknowledged.
			require.Equal(t, 3, len(there), "byte %d", at)
		}
		require.NoError(t, s.Close())
	}
}

// TestDamagedWhileMoved empties a journal with a damaged message in it: that one
// goes to corrupt/, and all others get their files.
func TestDamagedWhileMoved(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	s := opened(t, disk, Options{Segment: 4 << 10})
	var ids []string
	for range 5 {
		ids = append(ids, put(t, s, small, 1))
	}
	bad, _, _ := s.index.get(ids[2])
	at := bad.at + int64(bad.size) - 3 // in the trailer
	_, err := bad.seg.file.WriteAt([]byte{0xff, 0xfe}, at)
	require.NoError(t, err)
	settle(t, s)
	left := listed(t, s)
	require.Len(t, left, 4)
	require.NotContains(t, left, ids[2])
	require.NotEmpty(t, contentsOf(t, disk, s.corrupt.file(ids[2])))
	s = opened(t, disk.Exit(), Options{})
	require.NotEmpty(t, s.takeFound(), "the damage is still in the segment")
	require.ElementsMatch(t, left, listed(t, s))
}

// TestTornJournal cuts a journal at every length: what was whole is there.
func TestTornJournal(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	s := opened(t, disk, Options{Segment: 4 << 10})
	var ends []int64
	for range 3 {
		put(t, s, small, 1)
		ends = append(ends, s.journal.current.end)
	}
	name := "q/journal/" + segmentName(1)
	good := contentsOf(t, disk, name)
	for n := int64(segmentHead); n < ends[2]; n++ {
		after := disk.Restart(nil)
		f, err := after.Open(name, os.O_RDWR)
		require.NoError(t, err)
		_, err = f.WriteAt(make([]byte, int64(len(good))-n), n)
		require.NoError(t, err)
		want := 0
		for _, end := range ends {
			if end <= n {
				want++
			}
		}
		s := opened(t, after, Options{Segment: 4 << 10})
		require.Len(t, listed(t, s), want, "%d bytes", n)
		put(t, s, small, 1)
		require.NoError(t, s.Close())
		again := opened(t, after.Exit(), Options{Segment: 4 << 10})
		require.Len(t, listed(t, again), want+1, "%d bytes, and one more behind it in another segment", n)
		require.NoError(t, again.Close())
	}
}

func contentsOf(t testing.TB, disk crashfs.FS, name string) []byte {
	f, err := disk.Open(name, os.O_RDONLY)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	b, err := readAt(f, 0, size)
	require.NoError(t, err)
	return b
}

// TestReplayedTwice applies what the journal tells of a message to a file that
// tells it already, as after a move that was cut off, in every order of changes.
func TestReplayedTwice(t *testing.T) {
	t.Parallel()
	changes := []queue.Change{
		{Attempts: 2, Next: time.Unix(1_800_000_000, 0)}, {Hold: "h"}, {Release: true}, {Defer: true, Site: "s"},
		{Marks: done}, {Results: []queue.Mark{{Recipient: 1, Result: mtakit.Result{Diagnostic: "d"}}}}, {Panics: 1, Warned: true},
		{Marks: []queue.Mark{{Recipient: 1, State: queue.Failed}}}, {Release: true, Defer: true}, {Hold: "i", Defer: true},
	}
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 9))
		var all []*recorded
		for range 1 + rng.IntN(8) {
			var e encoder
			e.change(&changes[rng.IntN(len(changes))])
			all = append(all, &recorded{b: e.b})
		}
		state := func(rows ...[]*recorded) state {
			s := state{marks: newMarks(2)}
			for _, r := range rows {
				require.NoError(t, s.applyAll(r))
			}
			return s
		}
		suffix := all[rng.IntN(len(all)):]
		require.Equal(t, state(all), state(all, suffix), "seed %d", seed)
	}
}

// TestLongRecord has a step that is longer than a segment.
func TestLongRecord(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	s := opened(t, disk, Options{Segment: 4 << 10})
	d, err := s.Begin(t.Context(), 0)
	require.NoError(t, err)
	_, err = d.Write([]byte(small))
	require.NoError(t, err)
	env := &mtakit.Envelope{}
	var marks []queue.Mark
	for i := range 3000 {
		env.Recipients = append(env.Recipients, mtakit.Recipient{Address: fmt.Sprintf("%d@example.org", i)})
		marks = append(marks, queue.Mark{Recipient: i, State: queue.Failed, Result: mtakit.Result{Diagnostic: "no"}})
	}
	id, err := d.Commit(t.Context(), env, nil)
	require.NoError(t, err)
	must(t, s, queue.Change{ID: id, Marks: marks})
	s = opened(t, disk.Restart(nil), Options{Segment: 4 << 10})
	st, err := s.Open(t.Context(), id)
	require.NoError(t, err)
	require.Len(t, st.Marks, 3000)
	require.Equal(t, queue.Failed, st.Marks[2999].State)
}

// TestSameID accepts a message under the ID of another one, as after a clock
// that was set back: it is refused, and the first one stays as it is.
func TestSameID(t *testing.T) {
	t.Parallel()
	s := opened(t, crashfs.New(), Options{})
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
	}
}

// TestTooManyFiles lists while the process has no descriptors left: what it
// could not look at is not damaged, and the caller knows that it was not all.
func TestTooManyFiles(t *testing.T) {
	t.Parallel()
	disk := &watched{FS: crashfs.New()}
	s := opened(t, disk, Options{})
	first, second := put(t, s, small, 1), put(t, s, small, 1)
	settle(t, s)
	for _, errno := range []error{syscall.EMFILE, syscall.EACCES} { // or it is somebody else's file
		disk.opening = func(name string, flag int) error {
			if base := filepath.Base(name); (base == first || base == "index") && flag == os.O_RDONLY {
				return &fs.PathError{Op: "open", Path: name, Err: errno}
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
		require.ErrorIs(t, failed, errno)
		var corrupt *queue.CorruptError
		require.NotErrorAs(t, failed, &corrupt)
	}
	disk.opening = nil
	require.Len(t, listed(t, s), 2)
}

// TestListedWhileSyncsFail has readers and writers of the same messages on a disk
// that fails now and then, with a journal that is emptied all the time.
func TestListedWhileSyncsFail(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	o := tiny
	o.inline = false
	s := opened(t, disk, o)
	var writers, readers sync.WaitGroup
	var over atomic.Bool
	var mail []string
	for w := range 4 {
		mail = append(mail, put(t, s, small, w%2))
	}
	for w, id := range mail {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 2))
			state := queue.Pending
			for range 150 {
				if rng.IntN(4) == 0 {
					disk.Inject(1+rng.IntN(3), crashfs.Fault{Err: syscall.EIO})
				}
				_, err := s.Commit(t.Context(), nil, []queue.Change{{ID: id, Marks: done, Defer: rng.IntN(3) == 0}})
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
	require.ElementsMatch(t, mail, listed(t, s))
	require.NoError(t, s.Close())
	require.ElementsMatch(t, mail, listed(t, opened(t, disk.Exit(), Options{})))
}

// TestJournalIsFull lets new mail wait while the journal is emptied, and refuses
// it when that cannot be done. What is recorded of old mail goes on.
func TestJournalIsFull(t *testing.T) {
	t.Parallel()
	base := crashfs.New()
	disk := &watched{FS: base}
	var broken atomic.Bool
	disk.opening = func(name string, flag int) error {
		if broken.Load() && flag&os.O_CREATE != 0 && strings.Contains(name, "/tmp/") {
			return &fs.PathError{Op: "open", Path: name, Err: syscall.ENOSPC}
		}
		return nil
	}
	o := tiny
	o.inline = false
	s := opened(t, disk, o)
	broken.Store(true)
	var ids []string
	var refused error
	for refused == nil && len(ids) < 1000 {
		var id string
		if id, refused = acceptOne(s, len(ids)); refused == nil {
			ids = append(ids, id)
		}
	}
	reply, ok := mtakit.AsReply(refused)
	require.True(t, ok && reply.Code == 452, "%v", refused)
	must(t, s, queue.Change{ID: ids[0], Marks: done})
	must(t, s, queue.Change{ID: ids[1], Remove: true})
	broken.Store(false)
	require.Eventually(t, func() bool {
		_, err := acceptOne(s, 0)
		return err == nil
	}, 2e10, 1e8, "a cleaner that failed tries again")
	require.Len(t, listed(t, s), len(ids))
	require.NoError(t, s.Close())
}

// FuzzRecord reads records of the journal whose checksums are right.
func FuzzRecord(f *testing.F) {
	var st step
	st.message("3ABCDEF0", sealedImage([]byte(small), nil), 1)
	st.change(&queue.Change{ID: "3ABCDEF1", Marks: done}, 1)
	st.change(&queue.Change{ID: "3ABCDEF2", Remove: true}, 1)
	st.moved("3ABCDEF3", nil, place{1, 2})
	b := newBatch()
	b.add(&st)
	f.Add(b.buf[frameSize:])
	f.Add([]byte{partGone, 3, 9, 'x', 'y'})
	f.Fuzz(func(t *testing.T, record []byte) {
		disk := crashfs.New()
		s := opened(t, disk, Options{Segment: 4 << 10})
		id := put(t, s, small, 1)
		seg := s.journal.current
		raw := make([]byte, frameSize, frameSize+len(record))
		seg.putFrame(raw, frame{offset: seg.end, synced: seg.end, length: uint32(len(record)), sum: crc(record)})
		require.NoError(t, writeAll(seg.file, append(raw, record...), seg.end))
		s = opened(t, disk.Exit(), Options{})
		for e, err := range s.Entries(t.Context()) {
			if err == nil {
				_, err = s.Open(t.Context(), e.ID)
			}
			var corrupt *queue.CorruptError
			if err != nil && !errors.As(err, &corrupt) {
				require.ErrorIs(t, err, queue.ErrNotFound)
			}
		}
		_, err := s.Open(t.Context(), id)
		var corrupt *queue.CorruptError
		if err != nil && !errors.As(err, &corrupt) {
			require.ErrorIs(t, err, queue.ErrNotFound)
		}
		put(t, s, small, 1)
		require.NoError(t, s.Close())
	})
}

package filespool

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

// spoil damages a message in the journal.
func spoil(t testing.TB, s *Spool, id string) {
	m, _, _ := s.index.get(id)
	_, err := m.seg.file.WriteAt([]byte{0xff, 0xfe}, m.at+int64(m.size)-3)
	require.NoError(t, err)
}

// TestDamagedAndFull empties a journal with a damaged message in it that cannot be
// kept in corrupt/, and one whose record makes no sense: the cleaner gives up
// after the others have their files, and goes on when there is room.
func TestDamagedAndFull(t *testing.T) {
	t.Parallel()
	disk := &watched{FS: crashfs.New()}
	s := opened(t, disk, Options{inline: true})
	first, bad, worse, last := put(t, s, small, 1), put(t, s, small, 1), put(t, s, small, 1), put(t, s, small, 1)
	spoil(t, s, bad)
	var st step
	st.change(&queue.Change{ID: worse, Marks: []queue.Mark{{Recipient: 7}}}, 2)
	require.NoError(t, s.journal.commit(&st))
	disk.opening = func(name string, flag int) error {
		if flag&os.O_CREATE != 0 && strings.Contains(name, "/corrupt/") {
			return &fs.PathError{Op: "open", Path: name, Err: syscall.ENOSPC}
		}
		return nil
	}
	require.Error(t, empty(s))
	require.ElementsMatch(t, []string{bad, worse}, s.index.ids())
	require.Error(t, empty(s))
	disk.opening = nil
	require.NoError(t, empty(s))
	require.Empty(t, s.index.ids())
	require.ElementsMatch(t, []string{first, last}, listed(t, s))
}

// TestJournalCutShort takes records away that the next segment knows.
func TestJournalCutShort(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	s := opened(t, disk, Options{Segment: 4 << 10})
	kept, lost := put(t, s, small, 1), put(t, s, small, 1)
	m, _, _ := s.index.get(lost)
	disk = disk.Exit()
	s = opened(t, disk, Options{Segment: 4 << 10})
	next := put(t, s, small, 1)
	disk = disk.Exit()
	f, err := disk.Open("q/journal/"+segmentName(1), os.O_RDWR)
	require.NoError(t, err)
	frames := m.at - int64(frameSize+2+1+len(lost)) // where the record of the second begins, or a byte behind
	require.NoError(t, f.Truncate(frames-1))
	s = opened(t, disk, Options{})
	require.Len(t, s.takeFound(), 1)
	require.ElementsMatch(t, []string{kept, next}, listed(t, s))
}

// TestLongInMemory keeps messages in the journal that are too long for Open to
// read them into memory from files.
func TestLongInMemory(t *testing.T) {
	t.Parallel()
	s := opened(t, crashfs.New(), Options{MemoryPerDraft: 1 << 20, inline: true})
	content := small + strings.Repeat("0123456789abcde\n", inMemory/16)
	id := put(t, s, content, 1)
	for range 2 {
		st, err := s.Open(t.Context(), id)
		require.NoError(t, err)
		var b strings.Builder
		_, err = st.Message.WriteTo(&b)
		require.NoError(t, err)
		require.Equal(t, content, b.String())
		require.NoError(t, s.Check(t.Context(), id))
		require.NoError(t, empty(s))
	}
}

// TestSegmentUsedAgain looks with a spool opened read-only at a journal whose
// segment has become another one meanwhile, with other messages of the same
// length at the same places.
func TestSegmentUsedAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{MinFree: -1, Segment: 4 << 10, Journal: 8 << 10, inline: true}
	s, err := Open(dir, o)
	require.NoError(t, err)
	defer s.Close()
	subjects := map[string]string{}
	add := func(n int) string {
		subject := fmt.Sprintf("%04d", n)
		id := put(t, s, "Subject: "+subject+"\r\n\r\n"+strings.Repeat("x", 500), 1)
		subjects[id] = subject
		return id
	}
	for n := range 30 {
		add(n)
	}
	look, err := Open(dir, Options{ReadOnly: true})
	require.NoError(t, err)
	defer look.Close()
	known := look.index.ids()
	require.NotEmpty(t, known)
	marked := known[0]
	must(t, s, queue.Change{ID: marked, Marks: done})
	for n := range 60 {
		add(100 + n)
	}
	for _, id := range known {
		st, err := look.Open(t.Context(), id)
		require.NoError(t, err, id)
		subject, _ := st.Message.Header.Get("Subject")
		require.Equal(t, subjects[id], subject)
		if id == marked {
			require.Equal(t, queue.Done, st.Marks[0].State)
		}
	}
}

// TestNameTakenDuringSync takes a name away while somebody else's sync of the
// folder is under way: that one does not count.
func TestNameTakenDuringSync(t *testing.T) {
	t.Parallel()
	disk := &watched{FS: crashfs.New()}
	s := opened(t, disk, Options{inline: true})
	id := put(t, s, small, 1)
	require.NoError(t, empty(s))
	disk.removing = func(string) { require.NoError(t, s.active.sync(s.active.Epoch())) }
	s.drop(s.active, id)
	require.True(t, s.active.dirty())
}

// TestWaitsAgain has new mail wait for a cleaner that works again, though it failed
// before.
func TestWaitsAgain(t *testing.T) {
	t.Parallel()
	base := crashfs.New()
	disk := &watched{FS: base}
	var broken atomic.Bool
	goOn := make(chan struct{})
	disk.opening = func(name string, flag int) error {
		if flag&os.O_CREATE == 0 || !strings.Contains(name, "/tmp/") {
			return nil
		}
		if broken.Load() {
			return &fs.PathError{Op: "open", Path: name, Err: syscall.ENOSPC}
		}
		<-goOn
		return nil
	}
	o := tiny
	o.inline = false
	s := opened(t, disk, o)
	broken.Store(true)
	for n := 0; ; n++ {
		if _, err := acceptOne(s, n); err != nil {
			break
		}
	}
	require.Eventually(t, func() bool {
		s.cleaner.mu.Lock()
		defer s.cleaner.mu.Unlock()
		return !s.cleaner.running
	}, 1e10, 1e6)
	broken.Store(false)
	s.cleaner.mu.Lock()
	s.cleaner.failed = time.Now().Add(-2 * rest)
	s.cleaner.mu.Unlock()
	result := make(chan error)
	go func() {
		_, err := acceptOne(s, 0)
		result <- err
	}()
	close(goOn)
	require.NoError(t, <-result)
	require.NoError(t, s.Close())
}

// TestLooseAfterFailedSync has a change that need not be synced as all that the
// journal knows of a message, a failed sync, and a power cut while the message's
// file is written to: a torn end there is no damage.
func TestLooseAfterFailedSync(t *testing.T) {
	t.Parallel()
	for n := 3; n < 30; n++ {
		for seed := range uint64(20) {
			disk := crashfs.New()
			s := opened(t, disk, Options{Segment: 16 << 10, inline: true})
			id := put(t, s, small, 1)
			require.NoError(t, empty(s))
			must(t, s, queue.Change{ID: id, Attempts: 9})
			disk.Inject(2, crashfs.Fault{Err: syscall.EIO}) // a write, and its sync
			disk.Inject(n, crashfs.Fault{Err: crashfs.ErrCrash})
			_, err := acceptOne(s, 1)
			require.Error(t, err)
			s = opened(t, disk.Restart(rand.New(rand.NewPCG(seed, 9))), Options{})
			require.Contains(t, listed(t, s), id, "crash before operation %d, seed %d", n, seed)
		}
	}
}

// counting counts the files that are open.
type counting struct {
	crashfs.FS
	open *atomic.Int64
}

type counted struct {
	crashfs.File
	open *atomic.Int64
}

func (c counting) Open(name string, flag int) (crashfs.File, error) {
	f, err := c.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	c.open.Add(1)
	return counted{f, c.open}, nil
}

func (c counted) Close() error {
	c.open.Add(-1)
	return c.File.Close()
}

// TestOpenFiles counts what stays open: one file a segment, the catalog, and
// nothing after Close or an Open that fails. However often the spool is opened, its segments
// stay few, though the oldest is still needed.
func TestOpenFiles(t *testing.T) {
	t.Parallel()
	disk := crashfs.New()
	var open atomic.Int64
	o := Options{Segment: 4 << 10, inline: true}
	for n := range mostSegments + 30 {
		s := opened(t, counting{disk, &open}, o)
		for range 10 {
			if n < 10 {
				put(t, s, small, 1)
			}
		}
		must(t, s, queue.Change{ID: put(t, s, small, 1), Remove: true})
		beside := 0
		if s.catalog.file != nil {
			beside = 1
		}
		require.LessOrEqual(t, int(open.Load()), mostSegments+1+beside)
		require.EqualValues(t, len(s.index.segments)+beside, open.Load())
		require.NoError(t, s.Close())
		require.Zero(t, open.Load())
	}
	for n := 1; ; n++ {
		disk.Inject(n, crashfs.Fault{Err: syscall.EIO})
		s, err := Open("q", Options{FS: counting{disk, &open}})
		if err == nil {
			require.NoError(t, s.Close())
			break
		}
		require.Zero(t, open.Load(), n)
	}
	broken := &watched{FS: counting{disk, &open}}
	broken.opening = func(name string, _ int) error {
		if filepath.Base(name) != "version" && name > "q/journal/"+segmentName(5) {
			return syscall.EMFILE
		}
		return nil
	}
	_, err := Open("q", Options{FS: broken, ReadOnly: true})
	require.Error(t, err)
	require.Zero(t, open.Load())
}

// TestSameDraft accepts a draft twice in one step.
func TestSameDraft(t *testing.T) {
	t.Parallel()
	s := opened(t, crashfs.New(), Options{})
	d, err := s.Begin(t.Context(), 0)
	require.NoError(t, err)
	a := queue.Accept{Draft: d, Envelope: testEnvelope()}
	_, err = s.Commit(t.Context(), []queue.Accept{a, a}, nil)
	require.True(t, errors.Is(err, errGone), "%v", err)
	require.Empty(t, listed(t, s))
}

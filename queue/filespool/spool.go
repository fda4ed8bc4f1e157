package filespool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"sync"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

// Options of a spool. The zero value is ready to use.
type Options struct {
	// MemoryPerDraft is how many bytes of a message are kept in memory while it
	// is received; the rest goes to a file. 0 means 256 KiB.
	MemoryPerDraft int
	// Memory is how many bytes all messages that are being received may take
	// together; 0 means 64 MiB.
	Memory int64
	// MinFree is how many bytes the file system must have free for Begin to
	// take a message, beside one and a half times its declared size. 0 means
	// 15,360,000, one and a half times Postfix's message_size_limit; negative
	// means that Begin asks nothing.
	MinFree int64
	// ReadOnly opens the spool for looking only, also while another process
	// works on it: nothing is locked, repaired or moved. Begin and Commit fail
	// with ErrReadOnly. false opens it for work.
	ReadOnly bool
	// Journal is how many bytes the journal may take before the mail in it gets
	// files of its own; at twice as much new mail waits for that. 0 means 128 MiB.
	Journal int64
	// Segment is how large the files of the journal become; 0 means 16 MiB.
	Segment int64
	// SyncFS makes messages that get files of their own at the same time durable
	// by one syncfs(2) of the file system, in place of an fsync(2) each. It writes
	// whatever other programs have left unwritten there too, so it is for a file
	// system that the mail has for itself, see OwnFileSystem. It is used on Linux
	// 5.8 or later, which reports errors to syncfs, with ext4, where it was tested;
	// elsewhere files are synced one by one all the same. false syncs file by file.
	SyncFS bool
	// Logger is told of repairs, damage and files that do not belong here; nil
	// means silence.
	Logger *slog.Logger
	// FS is the file system; nil means the operating system's.
	FS crashfs.FS

	// inline has the journal emptied by who commits, for tests that count.
	inline bool
	// hash replaces that of lists, for tests in which it is a bad one.
	hash func(id string) uint64
}

func (o Options) withDefaults() Options {
	if o.MemoryPerDraft == 0 {
		o.MemoryPerDraft = 256 << 10
	}
	if o.Memory == 0 {
		o.Memory = 64 << 20
	}
	if o.MinFree == 0 {
		o.MinFree = 15_360_000
	}
	if o.Journal == 0 {
		o.Journal = 128 << 20
	}
	if o.Segment == 0 {
		o.Segment = 16 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.FS == nil {
		o.FS = osDisk{}
	}
	if o.hash == nil {
		o.hash = newHash()
	}
	return o
}

var (
	// ErrReadOnly is wrapped by what a spool opened with Options.ReadOnly cannot do.
	ErrReadOnly = errors.New("filespool: opened read-only")
	// ErrClosed is wrapped by what is asked of a spool after Close.
	ErrClosed = errors.New("filespool: closed")
)

// Spool is a queue.Spool on files.
type Spool struct {
	Options
	dir  string
	lock io.Closer // nil when read-only

	// The folders that hold messages, and those beside them.
	incoming, active, deferred, hold *directory
	tmp, corrupt                     *directory

	journal journal
	index   index
	cleaner cleaner
	catalog catalog
	quiet   quiet
	whole   crashfs.Whole // syncs all files at once; nil: file by file

	ids    *ids
	room   room
	memory memory
	// buffers are those of drafts that are done.
	buffers sync.Pool
	// moving is held for reading while messages go from the journal to files, and
	// for writing by who must see all of them at rest.
	moving sync.RWMutex
	// found is what Open has found to be damaged.
	found struct {
		mu     sync.Mutex
		damage []*queue.CorruptError
	}

	mu     sync.Mutex
	closed bool
	busy   sync.WaitGroup
}

var _ queue.Spool = (*Spool)(nil)

// Open opens the spool in the folder dir, whose parent must exist, and makes
// what is missing. What a crash has left unfinished is undone or swept. It
// fails with queue.ErrLocked when somebody else has the spool open, and with
// queue.ErrVersion, touching nothing, when its format is unknown.
func Open(dir string, options Options) (*Spool, error) {
	s := &Spool{Options: options.withDefaults(), dir: dir, ids: newIDs()}
	for d, name := range map[**directory]string{
		&s.incoming: "incoming", &s.active: "active", &s.deferred: "deferred", &s.hold: "hold",
		&s.tmp: "tmp", &s.corrupt: "corrupt", &s.journal.dir: "journal",
	} {
		*d = &directory{fs: s.FS, name: name, path: path.Join(dir, name)}
	}
	s.memory.left.Store(s.Memory)
	s.index.init()
	s.journal.spool, s.journal.pending = s, newBatch()
	s.journal.size = min(firstSegment, s.Segment)
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("filespool: open %s: %w", dir, err), s.release())
	}
	return s, nil
}

// folders are those that hold messages.
func (s *Spool) folders() [4]*directory {
	return [...]*directory{s.incoming, s.active, s.deferred, s.hold}
}

// enter is called before each use; done after it. Close waits for all of them.
func (s *Spool) enter() (done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	s.busy.Add(1)
	return s.busy.Done, nil
}

// enterToWrite is enter for what changes something.
func (s *Spool) enterToWrite() (done func(), err error) {
	if s.ReadOnly {
		return nil, ErrReadOnly
	}
	return s.enter()
}

func (s *Spool) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Close waits for what is under way and unlocks the spool. Drafts that are open
// can only be discarded after it.
func (s *Spool) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	s.busy.Wait()
	if closed {
		return nil
	}
	return s.release()
}

// release closes what Open has opened.
func (s *Spool) release() (err error) {
	for _, seg := range s.index.segments {
		err = errors.Join(err, seg.giveUp())
	}
	if s.catalog.file != nil {
		err = errors.Join(err, s.catalog.file.Close())
	}
	if s.whole != nil {
		err = errors.Join(err, s.whole.Close())
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// Begin starts a message of about size bytes; 0 means that nobody knows. Without
// room for it the error is a *smtp.SMTPError, 452 4.3.1.
func (s *Spool) Begin(_ context.Context, size int64) (mtakit.Draft, error) {
	done, err := s.enterToWrite()
	if err != nil {
		return nil, err
	}
	defer done()
	if err := s.checkRoom(size); err != nil {
		return nil, err
	}
	return s.newDraft(size), nil
}

// remove takes a name away if it is there.
func (s *Spool) remove(name string) error {
	if err := s.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// tidy removes what nobody will miss; a failure only leaves something for the
// next Open to sweep.
func (s *Spool) tidy(name string) {
	if err := s.remove(name); err != nil {
		s.Logger.Warn("cannot remove", "file", name, "error", err)
	}
}

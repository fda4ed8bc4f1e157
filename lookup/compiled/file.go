package compiled

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtakit/mtakit/lookup"
)

var (
	// ErrFormat is wrapped when a file is not of the format it is opened as, or
	// is damaged.
	ErrFormat = errors.New("bad format")
	// ErrUnsettled is wrapped when a file is being written.
	ErrUnsettled = lookup.ErrUnsettled
)

// Version is the contents of a file as they were when it was opened.
type Version interface {
	// Get returns the value under exactly these bytes. It may be called from any number of goroutines at once. An error means that
	// the file is damaged.
	Get(key string) (value string, ok bool, err error)
}

// Sequence is a Version that can be listed, too.
type Sequence interface {
	Version
	// All yields the keys and values as they stand in the file, in its order. An
	// error, which is the last that is yielded, means that the file is damaged.
	All() iter.Seq2[lookup.Entry, error]
}

// Format makes a Version of a file, which it must not close and may not use
// after it has returned; size is in bytes. What the Version holds beside memory
// is given back when nobody refers to it any more. The error wraps ErrFormat,
// ErrUnsettled, or is that of the file.
type Format func(file *os.File, size int64) (Version, error)

// File is a table in a compiled file. It must not be copied.
type File struct {
	path   string
	format Format
	opts   lookup.Options

	current atomic.Pointer[opened]
	start   time.Time
	due     atomic.Int64 // when to look at the file, nanoseconds since start

	mu   sync.Mutex  // of opening, and of what follows
	seen fs.FileInfo // at the last look
	err  error       // of the last look
}

type opened struct {
	version Version
	info    fs.FileInfo
	loaded  time.Time
	settled bool // the file was not being written when it was opened
}

// Open opens a table. Of the options, Logger and Check count.
func Open(path string, format Format, o lookup.Options) (*File, error) {
	f := &File{path: path, format: format, opts: o, start: time.Now()}
	if err := f.Reload(context.Background()); err != nil {
		return nil, err
	}
	return f, nil
}

// Path returns the path as it was given to Open.
func (f *File) Path() string { return f.path }

// Lookup returns the value under key, in any case. An error says that the file is
// damaged at this place.
func (f *File) Lookup(_ context.Context, key string) (value string, ok bool, err error) {
	if key == "" || strings.IndexByte(key, 0) >= 0 {
		return "", false, nil
	}
	f.look()
	v := f.current.Load().version
	key = lookup.Fold(key)
	value, ok, err = v.Get(key + "\x00")
	if err == nil && !ok {
		value, ok, err = v.Get(key)
	}
	if err != nil {
		return "", false, fmt.Errorf("table %s: %w", f.path, err)
	}
	value, _, _ = strings.Cut(value, "\x00")
	return value, ok, nil
}

// All yields the keys with their values, in the order of the file: both without
// the NUL that some programs end them with, and keys in the case in which they
// stand there. It ends with an error where the file is damaged; the error is
// errors.ErrUnsupported when its format cannot be listed.
func (f *File) All() iter.Seq2[lookup.Entry, error] {
	return func(yield func(lookup.Entry, error) bool) {
		s, ok := f.current.Load().version.(Sequence)
		if !ok {
			yield(lookup.Entry{}, fmt.Errorf("table %s: list: %w", f.path, errors.ErrUnsupported))
			return
		}
		n := 0
		for e, err := range s.All() {
			if err != nil {
				yield(lookup.Entry{}, fmt.Errorf("table %s: %w", f.path, err))
				return
			}
			n++
			e.Key = strings.TrimSuffix(e.Key, "\x00")
			e.Value, _, _ = strings.Cut(e.Value, "\x00")
			e.Line = n
			if !yield(e, nil) {
				return
			}
		}
	}
}

// look checks the file when that is due.
func (f *File) look() {
	every := f.opts.Check
	switch {
	case every < 0:
		return
	case every == 0:
		every = time.Second
	}
	now := int64(time.Since(f.start))
	if now < f.due.Load() || !f.mu.TryLock() {
		return
	}
	defer f.mu.Unlock()
	f.due.Store(now + int64(every))
	f.check()
}

// rest is how long a file must not have been written to pass for finished.
const rest = 2 * time.Second

func (f *File) check() {
	info, err := os.Stat(f.path)
	if err != nil {
		f.seen = nil
		f.note(fmt.Errorf("table %w", err))
		return
	}
	settled := time.Since(info.ModTime()) >= rest || same(info, f.seen)
	f.seen = info
	c := f.current.Load()
	switch {
	case c.settled && same(info, c.info):
		f.note(nil)
	case settled:
		f.note(f.open())
	}
}

// same reports whether nothing was written between two looks.
func same(a, b fs.FileInfo) bool {
	return a != nil && b != nil && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && os.SameFile(a, b)
}

// Reload opens the file now, as at SIGHUP. When that cannot be done, what was in
// force stays in force.
func (f *File) Reload(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.open()
	for try := 0; errors.Is(err, ErrUnsettled) && try < 4; try++ {
		select {
		case <-ctx.Done():
			err = fmt.Errorf("table %s: %w", f.path, ctx.Err())
		case <-time.After(50 * time.Millisecond):
			err = f.open()
		}
	}
	f.note(err)
	return err
}

// open puts the present version in force.
func (f *File) open() error {
	// What is no file, a pipe perhaps, must not be opened: that could wait.
	if info, err := os.Stat(f.path); err != nil {
		return fmt.Errorf("table %w", err)
	} else if !info.Mode().IsRegular() {
		return fmt.Errorf("table %s: not a regular file", f.path)
	}
	file, err := os.Open(f.path)
	if err != nil {
		return fmt.Errorf("table %w", err)
	}
	defer file.Close()
	before, err := file.Stat()
	if err != nil {
		return fmt.Errorf("table %s: %w", f.path, err)
	}
	v, err := f.format(file, before.Size())
	if err != nil {
		return fmt.Errorf("table %s: %w", f.path, err)
	}
	after, err := file.Stat()
	if err != nil {
		return fmt.Errorf("table %s: %w", f.path, err)
	}
	if !same(before, after) {
		return fmt.Errorf("table %s: %w", f.path, ErrUnsettled)
	}
	first := f.current.Load() == nil
	f.current.Store(&opened{v, after, time.Now(), time.Since(after.ModTime()) >= rest})
	f.log(first, after.Size())
	return nil
}

func (f *File) logger() *slog.Logger {
	if f.opts.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return f.opts.Logger
}

func (f *File) log(first bool, size int64) {
	level := slog.LevelInfo
	if first {
		level = slog.LevelDebug
	}
	f.logger().Log(context.Background(), level, "table opened", "file", f.path, "bytes", size)
}

// note keeps the result of a look, and logs a failure once, not every second.
func (f *File) note(err error) {
	before := f.err
	f.err = err
	switch {
	case f.current.Load() == nil: // Open returns it
	case err != nil && (before == nil || before.Error() != err.Error()):
		f.logger().Error("table cannot be read, its last version stays in force", "file", f.path, "error", err)
	case err == nil && before != nil:
		f.logger().Info("table can be read again", "file", f.path)
	}
}

// Status tells how the file is. The number of entries is 0: nobody has counted
// them.
func (f *File) Status() lookup.Status {
	f.mu.Lock()
	err := f.err
	f.mu.Unlock()
	return lookup.Status{Path: f.path, Loaded: f.current.Load().loaded, Err: err}
}

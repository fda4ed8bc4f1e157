package lookup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ErrUnsettled is wrapped by Reload when a file was being written all the time.
var ErrUnsettled = errors.New("file changes while it is read")

// File is a table in a text file that is read again when the file changes.
//
// A change is seen by the lookups themselves: about once a second one of them
// looks at the file, and when it finds a new version that has not changed since
// the look before, reads it. So a file that is just being written is left
// alone, and lookups go on with what they have, which is replaced as a whole.
// What must never be read half-written, however slowly it is written, is
// written under another name and renamed.
type File struct {
	path  string
	parse parser
	opts  Options

	current atomic.Pointer[contents]
	start   time.Time
	due     atomic.Int64 // when the file is to be looked at, nanoseconds since start

	mu   sync.Mutex // of reading, and of what follows
	seen stamp      // at the last look
	err  error      // of the last look
}

// parser makes a table of a text and says what is wrong with its lines.
type parser func(file, text string, o Options) (LookupTable, []error)

// contents is one version of the file. It never changes.
type contents struct {
	table    LookupTable
	text     string
	stamp    stamp
	loaded   time.Time
	problems []error
}

// stamp tells versions of a file apart.
type stamp struct {
	modified time.Time
	size     int64
	info     fs.FileInfo // for os.SameFile
}

func stampOf(info fs.FileInfo) stamp {
	return stamp{modified: info.ModTime(), size: info.Size(), info: info}
}

func (s stamp) equal(o stamp) bool {
	return s.info != nil && o.info != nil && s.size == o.size &&
		s.modified.Equal(o.modified) && os.SameFile(s.info, o.info)
}

// fresh reports whether the file may change once more without getting another
// stamp, since clocks of file systems tick slowly. A time in the future is not
// fresh: it would be for years.
func (s stamp) fresh() bool {
	age := time.Since(s.modified)
	return -2*time.Second < age && age < 2*time.Second
}

// OpenHash opens a table in the format of postmap(1), which is that of Postfix's
// texthash: "key value". Keys are found in any case.
func OpenHash(path string, o Options) (*File, error) {
	return open(path, o, func(file, text string, o Options) (LookupTable, []error) {
		return ParseHash(file, text, o)
	})
}

// OpenAliases opens a table in the format of aliases(5): "name: value". Names
// are found in any case.
func OpenAliases(path string, o Options) (*File, error) {
	return open(path, o, func(file, text string, o Options) (LookupTable, []error) {
		return ParseAliases(file, text, o)
	})
}

// OpenRegexp opens a table in the format of regexp_table(5).
func OpenRegexp(path string, o Options) (*File, error) {
	return open(path, o, func(file, text string, _ Options) (LookupTable, []error) {
		return ParseRegexp(file, text)
	})
}

// OpenCIDR opens a table in the format of cidr_table(5).
func OpenCIDR(path string, o Options) (*File, error) {
	return open(path, o, func(file, text string, o Options) (LookupTable, []error) {
		return ParseCIDR(file, text, o)
	})
}

// OpenNetworks opens a list of networks as ParseNetworks reads it.
func OpenNetworks(path string, o Options) (*File, error) {
	return open(path, o, func(file, text string, o Options) (LookupTable, []error) {
		return ParseNetworks(file, text, o)
	})
}

func open(path string, o Options, parse parser) (*File, error) {
	f := &File{path: path, parse: parse, opts: o, start: time.Now()}
	if err := f.Reload(context.Background()); err != nil {
		return nil, err
	}
	return f, nil
}

// Path returns the path as it was given to Open.
func (f *File) Path() string { return f.path }

// Lookup asks the version of the file that is in force. It fails for no reason
// of the file's: when that cannot be read, the last version holds.
func (f *File) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	if key == "" {
		return "", false, nil
	}
	if every := f.opts.interval(); every > 0 {
		if now := int64(time.Since(f.start)); now >= f.due.Load() {
			f.check(now, every)
		}
	}
	return f.current.Load().table.Lookup(ctx, key)
}

// FullKeyOnly reports whether the file holds patterns.
func (f *File) FullKeyOnly() bool { return FullKeyOnly(f.current.Load().table) }

// Status is what can be told of a File.
type Status struct {
	Path     string
	Loaded   time.Time // when the version in force was read
	Entries  int       // keys or rules in it
	Problems []error   // what was wrong with its lines, as *LineError, at most the first hundred
	Err      error     // why a newer version could not be read; nil when there is none
}

// Status tells how the file is.
func (f *File) Status() Status {
	f.mu.Lock()
	err := f.err
	f.mu.Unlock()
	c := f.current.Load()
	s := Status{Path: f.path, Loaded: c.loaded, Problems: c.problems, Err: err}
	if l, ok := c.table.(interface{ Len() int }); ok {
		s.Entries = l.Len()
	}
	return s
}

// Text returns the file's text as it is in force, for those who look for more
// in it than keys: Entries(f.Path(), f.Text()) gives them with their lines, in
// their order.
func (f *File) Text() string { return f.current.Load().text }

// Reload reads the file now, as at SIGHUP. When it cannot be read, or changes
// all the time, that is the error and what was in force stays in force.
func (f *File) Reload(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.load(ctx)
	f.note(err)
	return err
}

// check is asked by one lookup at a time to look at the file.
func (f *File) check(now int64, every time.Duration) {
	if !f.mu.TryLock() {
		return
	}
	defer f.mu.Unlock()
	f.due.Store(now + int64(every))
	info, err := os.Stat(f.path)
	if err != nil {
		f.seen = stamp{}
		f.note(fmt.Errorf("table %w", err))
		return
	}
	look := stampOf(info)
	settled := look.equal(f.seen)
	f.seen = look
	switch {
	case look.equal(f.current.Load().stamp):
		f.note(nil)
	case settled:
		f.note(f.read())
	}
}

// load reads the file, again if it changes meanwhile.
func (f *File) load(ctx context.Context) error {
	for try := 0; ; try++ {
		err := f.read()
		if !errors.Is(err, ErrUnsettled) || try == 4 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("table %s: %w", f.path, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// read puts the file's present version in force.
func (f *File) read() error {
	text, stamp, err := readText(f.path)
	if err != nil {
		return err
	}
	if stamp.fresh() {
		stamp.info = nil // equals nothing: to be looked at again
	}
	old := f.current.Load()
	if old != nil && old.text == text {
		c := *old
		c.stamp = stamp
		f.current.Store(&c)
		return nil
	}
	c := &contents{text: text, stamp: stamp, loaded: time.Now()}
	c.table, c.problems = f.parse(f.path, text, f.opts)
	f.current.Store(c)
	f.log(c, old == nil)
	return nil
}

// note keeps the result of a look, and logs a failure once, not every second.
func (f *File) note(err error) {
	before := f.err
	f.err = err
	switch {
	case f.current.Load() == nil: // Open returns it
	case err != nil && (before == nil || before.Error() != err.Error()):
		f.opts.logger().Error("table cannot be read, its last version stays in force", "file", f.path, "error", err)
	case err == nil && before != nil:
		f.opts.logger().Info("table can be read again", "file", f.path)
	}
}

func (f *File) log(c *contents, first bool) {
	l := f.opts.logger()
	for _, p := range c.problems {
		if e, ok := errors.AsType[*LineError](p); ok {
			l.Warn("table line", "file", e.File, "line", e.Line, "reason", e.Reason)
			continue
		}
		l.Warn("table line", "file", f.path, "reason", p.Error())
	}
	level := slog.LevelInfo
	if first {
		level = slog.LevelDebug
	}
	l.Log(context.Background(), level, "table loaded", "file", f.path, "bytes", len(c.text), "problems", len(c.problems))
}

// readText reads a whole regular file of which no part changed meanwhile.
func readText(path string) (string, stamp, error) {
	file, before, err := openRegular(path)
	if err != nil {
		return "", stamp{}, err
	}
	defer file.Close()
	var text strings.Builder
	text.Grow(int(before.size))
	if _, err := io.CopyN(&text, file, before.size); err != nil {
		if errors.Is(err, io.EOF) {
			err = ErrUnsettled // cut short
		}
		return "", stamp{}, fmt.Errorf("table %s: %w", path, err)
	}
	info, err := file.Stat()
	if err != nil {
		return "", stamp{}, fmt.Errorf("table %s: %w", path, err)
	}
	if after := stampOf(info); !after.equal(before) {
		return "", stamp{}, fmt.Errorf("table %s: %w", path, ErrUnsettled)
	}
	return text.String(), before, nil
}

// openRegular opens what is a file and no pipe or device, which would not end.
func openRegular(path string) (*os.File, stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, stamp{}, fmt.Errorf("table %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, stamp{}, fmt.Errorf("table %s: not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, stamp{}, fmt.Errorf("table %w", err)
	}
	if info, err = file.Stat(); err != nil {
		file.Close()
		return nil, stamp{}, fmt.Errorf("table %s: %w", path, err)
	}
	return file, stampOf(info), nil
}

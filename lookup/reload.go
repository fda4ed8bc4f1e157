package lookup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// ErrUnsettled is wrapped by Reload when a file was being written all the time.
var ErrUnsettled = errors.New("file changes while it is read")

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
	settled := look.finished() || look.equal(f.seen)
	f.seen = look
	switch {
	case look.equal(f.current.Load().stamp):
		f.note(nil)
	case settled:
		f.note(f.read())
	default: // no later than when it has rested
		f.due.Store(now + int64(min(every, rest-time.Since(look.modified))))
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
	if f.opts.Inspect != nil {
		c.problems = append(c.problems, f.opts.Inspect(f.path, text)...)
	}
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
	logProblems(l, f.path, c.problems)
	level := slog.LevelInfo
	if first {
		level = slog.LevelDebug
	}
	l.Log(context.Background(), level, "table loaded", "file", f.path, "bytes", len(c.text), "problems", len(c.problems))
}

func logProblems(l *slog.Logger, file string, problems []error) {
	for _, p := range problems {
		if e, ok := errors.AsType[*LineError](p); ok {
			l.Warn("bad line in table", "file", e.File, "line", e.Line, "reason", e.Reason)
			continue
		}
		l.Warn("bad line in table", "file", file, "reason", p.Error())
	}
}

// Files are tables that are read again together.
type Files []*File

// Reload reads all the files now, as at SIGHUP, also when some of them fail.
func (l Files) Reload(ctx context.Context) error {
	var errs []error
	for _, f := range l {
		errs = append(errs, f.Reload(ctx))
	}
	return errors.Join(errs...)
}

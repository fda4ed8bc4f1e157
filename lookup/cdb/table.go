package cdb

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mtakit/mtakit/lookup"
)

// ErrDamaged is wrapped when a file is no constant database, or leads out of
// itself.
var ErrDamaged = errors.New("cdb: damaged file")

// Table is an open file. Look-ups see one version of it or the next.
type Table struct {
	path    string
	logger  *slog.Logger
	every   time.Duration // 0: it is only looked at by Reload
	start   time.Time
	due     atomic.Int64 // when the file is looked at, nanoseconds since start
	current atomic.Pointer[mapping]

	mu     sync.Mutex // of opening it again
	err    error      // of the last look
	closed bool
}

// mapping is one version of the file in memory. It is given back to the system
// when nobody has it any more.
type mapping struct {
	b      []byte
	info   fs.FileInfo
	opened time.Time
	last   int // where the last byte is that is not 0
}

// Open opens a file. Of the options Check and Logger count: how often the file is
// looked at for a new version, and who is told of it.
func Open(path string, o lookup.Options) (*Table, error) {
	t := &Table{path: path, logger: o.Logger, every: o.Check, start: time.Now()}
	if t.logger == nil {
		t.logger = slog.New(slog.DiscardHandler)
	}
	if t.every == 0 {
		t.every = time.Second
	}
	if err := t.Reload(context.Background()); err != nil {
		return nil, err
	}
	return t, nil
}

// Reload opens the file anew. When that fails, the version that was in use stays.
func (t *Table) Reload(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return fmt.Errorf("cdb: %s: %w", t.path, fs.ErrClosed)
	}
	return t.load()
}

// load is Reload. Under mu.
func (t *Table) load() error {
	m, err := openFile(t.path)
	if err == nil {
		err = m.guard(m.checkHead)
	}
	if err != nil {
		err = fmt.Errorf("table %s: %w", t.path, err)
	} else {
		m.opened = time.Now()
		t.current.Store(m)
	}
	t.note(err)
	return err
}

// openFile maps what is a file. A pipe must not even be opened: that could wait.
func openFile(path string) (*mapping, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: not a regular file", ErrDamaged)
	}
	return mapFile(path)
}

// checkHead checks that the hash tables are in the file, so that what is no
// database is not put in the place of one that is.
func (m *mapping) checkHead() error {
	if len(m.b) < headSize {
		return fmt.Errorf("%w: %d bytes", ErrDamaged, len(m.b))
	}
	for i := range uint64(256) {
		table, cells, err := m.pair(8 * i)
		if err != nil {
			return err
		}
		if table < headSize || uint64(table)+8*uint64(cells) > uint64(len(m.b)) {
			return fmt.Errorf("%w: hash table at %d with %d cells", ErrDamaged, table, cells)
		}
	}
	for m.last = len(m.b) - 1; m.b[m.last] == 0 && m.last > 0; {
		m.last--
	}
	return nil
}

// whole reports whether the file still has its end: the system reads zeros, which say
// that a key is not there, between the end of a file that was cut short and that of its
// page. As the hash tables are last in a file, what is found is never cut.
func (m *mapping) whole() error {
	if m.b[m.last] == 0 {
		return fmt.Errorf("%w: it was cut short while it was in use", ErrDamaged)
	}
	return nil
}

// note logs the first of several failures that are the same.
func (t *Table) note(err error) {
	before := t.err
	t.err = err
	switch {
	case t.current.Load() == nil: // Open returns it
	case err != nil && (before == nil || before.Error() != err.Error()):
		t.logger.Error("table cannot be read, its last version stays in force", "file", t.path, "error", err)
	case err == nil && before != nil:
		t.logger.Info("table can be read again", "file", t.path)
	}
}

// look opens the file anew when it is time to look and it has changed.
func (t *Table) look() {
	now := int64(time.Since(t.start))
	if t.every < 0 || now < t.due.Load() || !t.mu.TryLock() {
		return
	}
	defer t.mu.Unlock()
	t.due.Store(now + int64(t.every))
	m := t.current.Load()
	info, err := os.Stat(t.path)
	switch {
	case t.closed:
	case err != nil:
		t.note(fmt.Errorf("table %w", err))
	case !os.SameFile(info, m.info) || info.Size() != m.info.Size() || !info.ModTime().Equal(m.info.ModTime()):
		if t.load() == nil {
			t.logger.Info("table loaded", "file", t.path, "bytes", info.Size())
		}
	default:
		t.note(nil)
	}
}

// Close gives the file back. Look-ups fail afterwards.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.current.Store(nil)
	return nil
}

// Status tells how the file is. The number of entries is 0: nobody has counted
// them.
func (t *Table) Status() lookup.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := lookup.Status{Path: t.path, Err: t.err}
	if m := t.current.Load(); m != nil {
		s.Loaded = m.opened
	}
	return s
}

// Path returns the path as it was given to Open.
func (t *Table) Path() string { return t.path }

// Lookup returns the value under key, in any case.
func (t *Table) Lookup(_ context.Context, key string) (value string, ok bool, err error) {
	if key == "" {
		return "", false, nil
	}
	t.look()
	m := t.current.Load()
	if m == nil {
		return "", false, fmt.Errorf("cdb: %s: %w", t.path, fs.ErrClosed)
	}
	key = lookup.Fold(key)
	err = m.guard(func() (err error) {
		if value, ok, err = m.find(key); ok || err != nil {
			return err
		}
		if value, ok, err = m.find(key + "\x00"); ok || err != nil {
			value = trimNUL(value)
			return err
		}
		return m.whole()
	})
	if err != nil {
		return "", false, fmt.Errorf("table %s: %w", t.path, err)
	}
	return value, ok, nil
}

func trimNUL(s string) string {
	if n := len(s); n > 0 && s[n-1] == 0 {
		return s[:n-1]
	}
	return s
}

// All yields the keys with their values as they stand in the file, in its order.
// What is damaged ends it with an error.
func (t *Table) All() iter.Seq2[lookup.Entry, error] {
	return func(yield func(lookup.Entry, error) bool) {
		m := t.current.Load()
		if m == nil {
			yield(lookup.Entry{}, fmt.Errorf("cdb: %s: %w", t.path, fs.ErrClosed))
			return
		}
		at := uint32(headSize)
		for n := 1; ; n++ {
			var e lookup.Entry
			more := false
			err := m.guard(func() (err error) {
				if e, at, more, err = m.record(at); err == nil && !more {
					err = m.whole()
				}
				return err
			})
			if err != nil {
				yield(lookup.Entry{}, fmt.Errorf("table %s: %w", t.path, err))
				return
			}
			e.Line = n
			if !more || !yield(e, nil) {
				return
			}
		}
	}
}

// guard makes an error of the signal that the system sends when a file was cut
// short under a mapping.
func (m *mapping) guard(read func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch fault := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			err = fmt.Errorf("%w: it was cut short while it was in use", ErrDamaged)
		default:
			panic(fault)
		}
	}()
	err = read()
	runtime.KeepAlive(m) // the bytes are gone when it is
	return err
}

// number returns the number at a position.
func (m *mapping) number(at uint64) (uint32, error) {
	if at+4 > uint64(len(m.b)) {
		return 0, fmt.Errorf("%w: position %d of %d", ErrDamaged, at, len(m.b))
	}
	return binary.LittleEndian.Uint32(m.b[at:]), nil
}

func (m *mapping) pair(at uint64) (first, second uint32, err error) {
	if first, err = m.number(at); err != nil {
		return 0, 0, err
	}
	second, err = m.number(at + 4)
	return first, second, err
}

func (m *mapping) find(key string) (value string, ok bool, err error) {
	h := hash(key)
	table, cells, err := m.pair(uint64(h%256) * 8)
	if err != nil || cells == 0 {
		return "", false, err
	}
	if uint64(table)+uint64(cells)*8 > uint64(len(m.b)) {
		return "", false, fmt.Errorf("%w: hash table at %d with %d cells", ErrDamaged, table, cells)
	}
	i := (h >> 8) % cells
	for range cells {
		sum, position, err := m.pair(uint64(table) + uint64(i)*8)
		if err != nil || position == 0 {
			return "", false, err
		}
		if sum == h {
			if value, ok, err = m.at(position, key); ok || err != nil {
				return value, ok, err
			}
		}
		if i++; i == cells {
			i = 0
		}
	}
	return "", false, nil
}

// at returns the value of the record at a position if its key is this one.
func (m *mapping) at(position uint32, key string) (value string, ok bool, err error) {
	k, v, err := m.pair(uint64(position))
	if err != nil || uint64(k) != uint64(len(key)) {
		return "", false, err
	}
	begin := uint64(position) + 8
	end := begin + uint64(k) + uint64(v)
	if end > uint64(len(m.b)) {
		return "", false, fmt.Errorf("%w: record at %d", ErrDamaged, position)
	}
	if !bytes.Equal(m.b[begin:begin+uint64(k)], []byte(key)) {
		return "", false, nil
	}
	return string(m.b[begin+uint64(k) : end]), true, nil
}

// record returns the record at a position and where the next one begins.
func (m *mapping) record(at uint32) (e lookup.Entry, next uint32, more bool, err error) {
	end, err := m.number(0) // the first hash table follows the last record
	if err != nil || at >= end {
		return e, at, false, err
	}
	k, v, err := m.pair(uint64(at))
	begin := uint64(at) + 8
	if err == nil && begin+uint64(k)+uint64(v) > min(uint64(end), uint64(len(m.b))) {
		err = fmt.Errorf("%w: record at %d", ErrDamaged, at)
	}
	if err != nil {
		return e, at, false, err
	}
	middle := begin + uint64(k)
	e.Key, e.Value = string(m.b[begin:middle]), string(m.b[middle:middle+uint64(v)])
	if len(e.Key) > 1 && e.Key[len(e.Key)-1] == 0 {
		e.Key, e.Value = trimNUL(e.Key), trimNUL(e.Value)
	}
	return e, uint32(middle) + v, true, nil
}

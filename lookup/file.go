package lookup

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// File is a table in a text file that is read again when the file changes.
//
// A change is seen by the lookups themselves: about once a second one of them
// looks at the file, and reads a new version if that was written at least two
// seconds ago or has not changed since the look before. So a file that is just
// being written is left alone, and lookups go on with what they have, which is
// replaced as a whole.
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
	return open(path, o, func(file, text string, o Options) (LookupTable, []error) {
		return ParseRegexp(file, text, o)
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
	f.look()
	return f.current.Load().table.Lookup(ctx, key)
}

// look checks the file when that is due.
func (f *File) look() {
	every := f.opts.interval()
	if every <= 0 {
		return
	}
	if now := int64(time.Since(f.start)); now >= f.due.Load() {
		f.check(now, every)
	}
}

// Empty reports whether there is nothing in the file to be found, so that who
// would ask for each line of a message can spare it. It looks for a new version
// as Lookup does.
func (f *File) Empty() bool {
	f.look()
	l, ok := f.current.Load().table.(interface{ Len() int })
	return ok && l.Len() == 0
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

package crashfs

import "io"

// FS is a file system as a spool uses it. Names are paths with slashes. Errors
// are, or wrap, fs.ErrNotExist, fs.ErrExist and the system's error numbers.
type FS interface {
	// Open opens a file with the os.O_ flags; a new one can be read by its
	// owner only.
	Open(name string, flag int) (File, error)
	// ReadStart reads the beginning of a file into b, and is whole when that is
	// all of it.
	ReadStart(name string, b []byte) (n int, whole bool, err error)
	// Stamp tells which version of a file this is.
	Stamp(name string) (Stamp, error)
	// Mkdir makes a directory; its parent exists.
	Mkdir(name string) error
	// Link gives a file a second name.
	Link(name, second string) error
	// Move gives a file another name, and fails with fs.ErrExist when there is
	// a file of that name already.
	Move(name, other string) error
	// Replace is Move that puts the file in the place of an existing one.
	Replace(name, other string) error
	// Remove takes a name away.
	Remove(name string) error
	// List calls each for the names in a directory, in any order. each does
	// nothing with the file system.
	List(dir string, each func(name string)) error
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
	// Free returns how many bytes and files still fit. A file system that
	// cannot run out of files says math.MaxUint64.
	Free(dir string) (bytes, files uint64, err error)
	// Lock creates and locks a file until it is closed or the process ends. It
	// fails with fs.ErrExist when somebody has it locked, in this process or
	// another one.
	Lock(name string) (io.Closer, error)
}

// Stamp is equal for two looks at a file when it was not written to between them,
// or was written to in the same tick of the file system's clock and is as long
// as before.
type Stamp struct {
	Inode    uint64
	Size     int64 // bytes
	Modified int64 // nanoseconds since 1970, or anything that changes with each write
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	// Sync makes the file's bytes durable, not its names.
	Sync() error
	// SyncData is Sync for a file whose length was synced before: what lies
	// behind that length may be lost.
	SyncData() error
}

// WholeFS is an FS that can sync all its files at once.
type WholeFS interface {
	FS
	// OpenWhole returns what does it for the file system of dir, or nil when that
	// cannot be relied on there. What was written before OpenWhole is not
	// vouched for.
	OpenWhole(dir string) (Whole, error)
}

// Whole is a file system at work. It is closed after use.
type Whole interface {
	// SyncAll makes everything durable that was written to files before. After
	// an error any of it may be lost; then another SyncAll that was waiting for it
	// fails too, and the next Sync of a file that was open.
	SyncAll() error
	io.Closer
}

package disk

import (
	"errors"
	"io"
	"io/fs"
)

// Tree is a directory with all that lies below it. Paths are relative to it,
// "a/b", and none leads out of it, neither by ".." nor by a symbolic link: that
// is ErrEscape. All methods may be called from many goroutines.
type Tree interface {
	// Open opens a directory. The last element of its path is not followed when
	// it is a symbolic link; "a/." is for who wants that.
	Open(dir string) (Folder, error)
	// Mkdir makes a directory, with no more than the permissions that umask leaves.
	// Its parent exists.
	Mkdir(dir string, perm fs.FileMode) error
	// MkdirOwned makes a directory for its owner only, and gives it to him. Nothing
	// is given away that was there before.
	MkdirOwned(dir string, uid, gid int) error
	io.Closer
}

// Folder is an open directory of a Tree: the same one, whatever happens to its
// name meanwhile. Names have no slash, and no symbolic link is followed.
type Folder interface {
	// Create makes a file of a new name, for writing, for its owner only.
	Create(name string) (File, error)
	// Move renames a file into a folder of the same Tree.
	Move(name string, to Folder, other string) error
	// Remove takes a file's name away.
	Remove(name string) error
	// Sync makes the names in the folder durable.
	Sync() error
	// Owner returns the user whom the folder belongs to, and -1 where nobody can
	// tell.
	Owner() (uid int, err error)
	// ID tells directories apart, as long as they are open.
	ID() (ID, error)
	// Whole returns the file system that the folder lies on, for what is written
	// from now on, or nil where syncfs(2) cannot be relied on: see OpenWhole.
	Whole() (Syncer, error)
	io.Closer
}

// File is a new file. Sync makes its bytes durable, not its name.
type File interface {
	io.Writer
	// Chown gives the file to a user and a group.
	Chown(uid, gid int) error
	Sync() error
	io.Closer
}

// Syncer makes everything durable that was written to a file system before.
// After an error any of it may be lost. Whole is one.
type Syncer interface {
	SyncAll() error
	io.Closer
}

// ID is a file system and a directory on it.
type ID struct{ Device, Inode uint64 }

// ErrEscape is wrapped when a path leads out of its Tree.
var ErrEscape = errors.New("path escapes from its directory")

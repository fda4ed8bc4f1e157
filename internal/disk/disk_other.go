//go:build !linux

package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// Open is os.OpenFile.
func Open(name string, flag int, perm fs.FileMode) (*os.File, error) {
	return os.OpenFile(name, flag, perm)
}

// ReadStart reads the beginning of a file into b, and is whole when that is all
// of it.
func ReadStart(name string, b []byte) (n int, whole bool, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	n, err = io.ReadFull(f, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return n, true, nil
	}
	return n, false, err
}

// Stat returns a file's length in bytes, and when it was written to, in nanoseconds
// since 1970. The inode is 0, since package os does not tell it.
func Stat(name string) (inode uint64, size, modified int64, err error) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, 0, 0, err
	}
	return 0, info.Size(), info.ModTime().UnixNano(), nil
}

// Move renames a file and fails with fs.ErrExist when there is one of that name
// already.
func Move(name, other string) error { return linkMove(name, other) }

// OpenWhole returns nil: syncfs(2) is Linux's.
func OpenWhole(string) (*Whole, error) { return nil, nil }

// SyncAll is never called, for want of a Whole.
func (w *Whole) SyncAll() error { return w.f.Sync() }

// SyncData makes the bytes of a file durable.
func SyncData(f *os.File) error { return f.Sync() }

// OwnFileSystem is only answered on Linux, where OpenWhole can be used.
func OwnFileSystem(string) bool { return false }

package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Open is os.OpenFile without the five system calls with which that finds out
// that files cannot be polled.
func Open(name string, flag int, perm fs.FileMode) (*os.File, error) {
	for {
		fd, err := unix.Open(name, flag|unix.O_CLOEXEC, uint32(perm.Perm()))
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), name), nil
		case !errors.Is(err, unix.EINTR):
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
	}
}

// ReadStart reads the beginning of a file into b, and is whole when that is all
// of it. It is three system calls, for who reads a million small files.
func ReadStart(name string, b []byte) (n int, whole bool, err error) {
	fd := -1
	err = again(0, func() (err error) {
		fd, err = unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return 0, false, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	err = again(0, func() (err error) {
		n, err = unix.Pread(fd, b, 0)
		return err
	})
	if err != nil {
		return 0, false, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return n, n < len(b), nil
}

// Stat is os.Stat for who asks for a million files: their inode, their length in
// bytes, and when they were written to, in nanoseconds since 1970.
func Stat(name string) (inode uint64, size, modified int64, err error) {
	var st unix.Stat_t
	if err := again(0, func() error { return unix.Stat(name, &st) }); err != nil {
		return 0, 0, 0, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return st.Ino, st.Size, st.Mtim.Nano(), nil
}

// Move renames a file and fails with fs.ErrExist when there is one of that name
// already.
func Move(name, other string) error {
	err := unix.Renameat2(unix.AT_FDCWD, name, unix.AT_FDCWD, other, unix.RENAME_NOREPLACE)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS): // NFS and others
		return linkMove(name, other)
	}
	return &fs.PathError{Op: "rename", Path: other, Err: err}
}

// OpenWhole returns nil where syncfs(2) cannot be relied on. It tells of errors
// since Linux 5.8, by way of a descriptor that was opened before they happened,
// and only ext4 has been through power cuts with it.
func OpenWhole(dir string) (*Whole, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	return newWhole(f)
}

// newWhole takes over the descriptor of a directory.
func newWhole(f *os.File) (*Whole, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return nil, errors.Join(&fs.PathError{Op: "statfs", Path: f.Name(), Err: err}, f.Close())
	}
	if !kernelAtLeast(5, 8) || st.Type != unix.EXT4_SUPER_MAGIC {
		return nil, f.Close()
	}
	return &Whole{f}, nil
}

// SyncAll makes everything durable that was written to the file system before.
// After an error any of it may be lost.
func (w *Whole) SyncAll() error {
	if err := unix.Syncfs(int(w.f.Fd())); err != nil {
		return &fs.PathError{Op: "syncfs", Path: w.f.Name(), Err: err}
	}
	return nil
}

// SyncData makes the bytes of a file durable whose size has not changed.
func SyncData(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR):
			return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}

func kernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var a, b int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

// OwnFileSystem reports whether the existing directory dir lies on another file
// system than the root directory: then it is likely that mail has it for itself.
func OwnFileSystem(dir string) bool {
	var own, root unix.Stat_t
	return unix.Stat(dir, &own) == nil && unix.Stat("/", &root) == nil && own.Dev != root.Dev
}

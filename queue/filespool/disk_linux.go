package filespool

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"github.com/mtakit/mtakit/internal/crashfs"
)

// openFile is os.OpenFile without the five system calls with which that finds
// out that files cannot be polled.
func openFile(name string, flag int) (*os.File, error) {
	for {
		fd, err := unix.Open(name, flag|unix.O_CLOEXEC, 0o600)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), name), nil
		case !errors.Is(err, unix.EINTR):
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
	}
}

func (disk) Move(name, other string) error {
	err := unix.Renameat2(unix.AT_FDCWD, name, unix.AT_FDCWD, other, unix.RENAME_NOREPLACE)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS): // NFS and others
		return linkMove(name, other)
	}
	return &fs.PathError{Op: "rename", Path: other, Err: err}
}

// OpenWhole uses syncfs where it tells of errors: since Linux 5.8, by way of a
// descriptor that was opened before they happened. Only ext4 has been through
// power cuts with it.
func (disk) OpenWhole(dir string) (crashfs.Whole, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return nil, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if !kernelAtLeast(5, 8) || st.Type != unix.EXT4_SUPER_MAGIC {
		return nil, nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	return wholeDisk{f}, nil
}

type wholeDisk struct{ *os.File }

func (d wholeDisk) SyncAll() error {
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return &fs.PathError{Op: "syncfs", Path: d.Name(), Err: err}
	}
	return nil
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

func (disk) Free(dir string) (bytes, files uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	files = st.Ffree
	if st.Files == 0 { // btrfs makes them as it needs them
		files = math.MaxUint64
	}
	return st.Bavail * uint64(st.Bsize), files, nil
}

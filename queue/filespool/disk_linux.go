package filespool

import (
	"errors"
	"io/fs"
	"math"
	"os"

	"golang.org/x/sys/unix"
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

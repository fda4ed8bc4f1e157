package filespool

import (
	"io/fs"
	"math"

	"golang.org/x/sys/unix"
)

func (osDisk) Free(dir string) (bytes, files uint64, err error) {
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

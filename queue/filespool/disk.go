package filespool

import (
	"errors"
	"io"
	"os"

	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/internal/disk"
)

// osDisk is the operating system's file system.
type osDisk struct{}

type diskFile struct{ *os.File }

func (f diskFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f diskFile) SyncData() error { return disk.SyncData(f.File) }

func (osDisk) Open(name string, flag int) (crashfs.File, error) {
	f, err := disk.Open(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (osDisk) ReadStart(name string, b []byte) (n int, whole bool, err error) {
	return disk.ReadStart(name, b)
}

func (osDisk) Stamp(name string) (crashfs.Stamp, error) {
	inode, size, modified, err := disk.Stat(name)
	return crashfs.Stamp{Inode: inode, Size: size, Modified: modified}, err
}

func (osDisk) Mkdir(name string) error { return os.Mkdir(name, 0o700) }

func (osDisk) Link(name, second string) error { return os.Link(name, second) }

func (osDisk) Replace(name, other string) error { return os.Rename(name, other) }

func (osDisk) Remove(name string) error { return os.Remove(name) }

func (osDisk) List(dir string, each func(string)) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(4096)
		for _, name := range names {
			each(name)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (osDisk) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func (osDisk) Move(name, other string) error { return disk.Move(name, other) }

// OpenWhole returns nil where that cannot be relied on.
func (osDisk) OpenWhole(dir string) (crashfs.Whole, error) {
	w, err := disk.OpenWhole(dir)
	if w == nil {
		return nil, err
	}
	return w, nil
}

// OwnFileSystem reports whether the existing directory dir lies on another file
// system than the root directory: then it is likely that mail has it for itself.
func OwnFileSystem(dir string) bool { return disk.OwnFileSystem(dir) }

var _ crashfs.WholeFS = osDisk{}

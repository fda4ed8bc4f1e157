package filespool

import (
	"os"

	"github.com/mtakit/mtakit/internal/crashfs"
)

// disk is the operating system's file system.
type disk struct{}

type diskFile struct{ *os.File }

func (f diskFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (disk) Open(name string, flag int) (crashfs.File, error) {
	f, err := openFile(name, flag)
	if err != nil {
		return nil, err
	}
	return diskFile{f}, nil
}

func (disk) Mkdir(name string) error { return os.Mkdir(name, 0o700) }

func (disk) Link(name, second string) error { return os.Link(name, second) }

func (disk) Replace(name, other string) error { return os.Rename(name, other) }

func (disk) Remove(name string) error { return os.Remove(name) }

func (disk) List(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (disk) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// linkMove moves by a second name, where the system has no rename that refuses
// to replace.
func linkMove(name, other string) error {
	if err := os.Link(name, other); err != nil {
		return err
	}
	return os.Remove(name)
}

var _ crashfs.FS = disk{}

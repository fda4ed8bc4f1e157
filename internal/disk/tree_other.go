//go:build !linux

package disk

import (
	"io/fs"
	"os"
	"sync/atomic"
)

type tree struct {
	root    *os.Root
	folders atomic.Uint64
}

// OpenTree returns the Tree of a directory. root stays open as long as the Tree.
func OpenTree(root *os.Root) (Tree, error) { return &tree{root: root}, nil }

func (t *tree) Close() error { return nil }

func (t *tree) Mkdir(dir string, perm fs.FileMode) error { return escape(t.root.Mkdir(dir, perm)) }

func (t *tree) MkdirOwned(dir string, uid, gid int) error {
	if err := t.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return escape(t.root.Lchown(dir, uid, gid))
}

func (t *tree) Open(dir string) (Folder, error) {
	root, err := t.root.OpenRoot(dir)
	if err != nil {
		return nil, escape(err)
	}
	return folder{t.root, root, dir, t.folders.Add(1)}, nil
}

// folder is a directory, and its path in the Tree, without which nothing can be
// moved to another directory.
type folder struct {
	tree, root *os.Root
	dir        string
	n          uint64
}

func (f folder) Create(name string) (File, error) {
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, escape(err)
	}
	return file, nil
}

func (f folder) Move(name string, to Folder, other string) error {
	return escape(f.tree.Rename(f.dir+"/"+name, to.(folder).dir+"/"+other))
}

func (f folder) Remove(name string) error { return f.root.Remove(name) }

func (f folder) Sync() error {
	file, err := f.root.Open(".")
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}

// Owner cannot tell.
func (f folder) Owner() (int, error) { return -1, nil }

// ID takes every opened folder for another one.
func (f folder) ID() (ID, error) { return ID{Inode: f.n}, nil }

func (f folder) Whole() (Syncer, error) { return nil, nil }

func (f folder) Close() error { return f.root.Close() }

package disk

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// tree walks a path in one system call, openat2(2), and by its os.Root where
// there is none (before Linux 5.6, and in some sandboxes).
type tree struct {
	root *os.Root
	base *os.File
}

// OpenTree returns the Tree of a directory. root stays open as long as the Tree.
func OpenTree(root *os.Root) (Tree, error) {
	base, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	return &tree{root, base}, nil
}

func (t *tree) Close() error { return t.base.Close() }

func (t *tree) Mkdir(dir string, perm fs.FileMode) error { return escape(t.root.Mkdir(dir, perm)) }

// MkdirOwned walks to the parent once: whoever owns something on the way could put
// a link there meanwhile. Who may write into the parent can put nothing in the place
// of the new directory but what is his. It gets its name when it is given away, so
// that no crash leaves one that is nobody's.
func (t *tree) MkdirOwned(dir string, uid, gid int) error {
	opened, err := t.Open(path.Dir(dir) + "/.")
	if err != nil {
		return err
	}
	defer opened.Close()
	parent, half, name := opened.(folder), "mkdir-"+rand.Text(), path.Base(dir)
	if err := again(0, func() error { return unix.Mkdirat(parent.fd, half, 0o700) }); err != nil {
		return parent.fail("mkdir", name, err)
	}
	if err = parent.give(half, uid, gid); err == nil {
		err = parent.publish(half, name)
	}
	if err != nil {
		_ = unix.Unlinkat(parent.fd, half, unix.AT_REMOVEDIR)
	}
	return parent.fail("mkdir", name, err)
}

// give gives a directory away.
func (f folder) give(name string, uid, gid int) error {
	var fd int
	err := again(0, func() (err error) {
		fd, err = unix.Openat(f.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return again(0, func() error { return unix.Fchown(fd, uid, gid) })
}

// publish renames a directory and replaces nothing.
func (f folder) publish(half, name string) error {
	err := again(0, func() error { return unix.Renameat2(f.fd, half, f.fd, name, unix.RENAME_NOREPLACE) })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // NFS and others: what is replaced is empty
		err = again(0, func() error { return unix.Renameat(f.fd, half, f.fd, name) })
	}
	if errors.Is(err, unix.ENOTEMPTY) {
		return unix.EEXIST
	}
	return err
}

func (t *tree) Open(dir string) (Folder, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	var fd int
	// EAGAIN is a race with a rename, which a mailbox's owner can keep up.
	err := again(8, func() (err error) {
		fd, err = unix.Openat2(int(t.base.Fd()), dir, &how)
		return err
	})
	switch {
	case err == nil:
		return folder{fd, dir}, nil
	case errors.Is(err, unix.EXDEV):
		err = ErrEscape
	case errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM):
		return t.walk(dir)
	}
	return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
}

// walk is Open without openat2(2).
func (t *tree) walk(dir string) (Folder, error) {
	if info, err := t.root.Lstat(dir); err != nil {
		return nil, escape(err)
	} else if !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: unix.ENOTDIR}
	}
	f, err := t.root.OpenFile(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, escape(err)
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "dup", Path: dir, Err: err}
	}
	return folder{fd, dir}, nil
}

// folder is a descriptor and the path that it had, for errors.
type folder struct {
	fd  int
	dir string
}

func (f folder) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: f.dir + "/" + name, Err: err}
}

func (f folder) Create(name string) (File, error) {
	var fd int
	err := again(0, func() (err error) {
		fd, err = unix.Openat(f.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return nil, f.fail("create", name, err)
	}
	return &file{folder{fd, f.dir}, name}, nil
}

func (f folder) Move(name string, to Folder, other string) error {
	target := to.(folder)
	return target.fail("rename", other, again(0, func() error { return unix.Renameat(f.fd, name, target.fd, other) }))
}

func (f folder) Remove(name string) error {
	return f.fail("remove", name, again(0, func() error { return unix.Unlinkat(f.fd, name, 0) }))
}

func (f folder) Sync() error {
	return f.fail("fsync", ".", again(0, func() error { return unix.Fsync(f.fd) }))
}

func (f folder) Owner() (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return -1, f.fail("stat", ".", err)
	}
	return int(st.Uid), nil
}

func (f folder) ID() (ID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return ID{}, f.fail("stat", ".", err)
	}
	return ID{st.Dev, st.Ino}, nil
}

func (f folder) Whole() (Syncer, error) {
	// A descriptor of its own, which reports what goes wrong from here on.
	fd, err := unix.Openat(f.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, f.fail("open", ".", err)
	}
	w, err := newWhole(os.NewFile(uintptr(fd), f.dir))
	if w == nil {
		return nil, err
	}
	return w, nil
}

func (f folder) Close() error { return f.fail("close", ".", unix.Close(f.fd)) }

// file is a descriptor of a file, with the folder's path.
type file struct {
	folder
	name string
}

func (f *file) Write(p []byte) (n int, err error) {
	for n < len(p) {
		var m int
		err := again(0, func() (err error) {
			m, err = unix.Write(f.fd, p[n:])
			return err
		})
		if err != nil {
			return n, f.fail("write", f.name, err)
		}
		n += m
	}
	return n, nil
}

func (f *file) Chown(uid, gid int) error {
	return f.fail("chown", f.name, again(0, func() error { return unix.Fchown(f.fd, uid, gid) }))
}

func (f *file) Sync() error {
	return f.fail("fsync", f.name, again(0, func() error { return unix.Fsync(f.fd) }))
}

func (f *file) Close() error { return f.fail("close", f.name, unix.Close(f.fd)) }

// again repeats a system call that a signal has interrupted, and up to tries
// times one that wants to be asked again.
func again(tries int, call func() error) error {
	for {
		err := call()
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN) && tries > 0:
			tries--
		default:
			return err
		}
	}
}

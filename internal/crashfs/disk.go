package crashfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// ErrCrashed is what every operation of a crashed file system returns.
var ErrCrashed = errors.New("crashfs: crashed")

// ErrCrash, as the error of a Fault, stops the machine before the operation is done.
var ErrCrash = errors.New("crashfs: crash now")

// Fault is what goes wrong at one operation.
type Fault struct {
	// Err is what the operation returns, or ErrCrash; nil means nothing goes wrong.
	Err error
	// Short lets a write do half of its work first.
	Short bool
}

// Disk is a file system in memory. It may be used from several goroutines.
type Disk struct {
	mu      sync.Mutex
	root    *node
	ops     int
	inodes  uint64 // how many files were made
	faults  map[int]Fault
	crashed bool
	full    bool
	locks   map[string]bool
}

// New returns an empty file system.
func New() *Disk {
	root := newDir()
	return &Disk{root: root, faults: map[int]Fault{}, locks: map[string]bool{}}
}

// Ops returns how many operations were done or tried.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// Inject lets the n-th operation from now on, counted from 1, go wrong.
func (d *Disk) Inject(n int, f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults[d.ops+n] = f
}

// SetFull makes Free say that nothing fits any more, and every write fail with
// ENOSPC.
func (d *Disk) SetFull(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

// Crashed reports whether the file system has stopped.
func (d *Disk) Crashed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.crashed
}

// Restart stops the file system, if it has not crashed yet, and returns what is
// found after it. With rng nil exactly what was synced is there; otherwise rng
// chooses what else is.
func (d *Disk) Restart(rng *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashed = true
	after := New()
	after.inodes = d.inodes
	after.root = survivor{rng, map[*node]*node{}}.node(d.root)
	return after
}

// Exit returns the file system as another process finds it after this one was
// killed: everything written is there, synced or not, and locks are free. The
// old one does nothing any more.
func (d *Disk) Exit() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashed = true
	after := New()
	after.inodes = d.inodes
	after.root = d.root
	return after
}

// step counts an operation and returns what is to go wrong with it.
func (d *Disk) step() (Fault, error) {
	if d.crashed {
		return Fault{}, ErrCrashed
	}
	d.ops++
	f := d.faults[d.ops]
	if errors.Is(f.Err, ErrCrash) {
		d.crashed = true
		return f, ErrCrashed
	}
	return f, f.Err
}

// find returns the directory that holds name, and the last element of name.
func (d *Disk) find(name string) (dir *node, base string, err error) {
	if d.crashed {
		return nil, "", ErrCrashed
	}
	dir = d.root
	elements := strings.Split(strings.Trim(path.Clean("/"+name), "/"), "/")
	for _, e := range elements[:len(elements)-1] {
		next := dir.names[e]
		if next == nil || next.names == nil {
			return nil, "", &fs.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
		}
		dir = next
	}
	return dir, elements[len(elements)-1], nil
}

// lookup returns the directory and the node of a name that must exist.
func (d *Disk) lookup(op, name string) (dir *node, base string, n *node, err error) {
	dir, base, err = d.find(name)
	if err != nil {
		return nil, "", nil, err
	}
	if base == "" {
		return dir, "", dir, nil
	}
	if n = dir.names[base]; n == nil {
		return nil, "", nil, &fs.PathError{Op: op, Path: name, Err: syscall.ENOENT}
	}
	return dir, base, n, nil
}

// Mkdir makes a directory.
func (d *Disk) Mkdir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, base, err := d.find(name)
	if err != nil {
		return err
	}
	if base == "" || dir.names[base] != nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.EEXIST}
	}
	if _, err := d.step(); err != nil {
		return err
	}
	dir.set(base, newDir())
	return nil
}

// Open opens or makes a file.
func (d *Disk) Open(name string, flag int) (File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, base, err := d.find(name)
	if err != nil {
		return nil, err
	}
	n := dir.names[base]
	switch {
	case n != nil && n.names != nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	case n != nil && flag&os.O_EXCL != 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EEXIST}
	case n == nil && flag&os.O_CREATE == 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
	case n == nil:
		if _, err := d.step(); err != nil {
			return nil, err
		}
		d.inodes++
		n = &node{inode: d.inodes}
		dir.set(base, n)
	}
	return &file{disk: d, node: n, name: name, lost: n.lost}, nil
}

// ReadStart reads the beginning of a file.
func (d *Disk) ReadStart(name string, b []byte) (n int, whole bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _, node, err := d.lookup("open", name)
	if err != nil {
		return 0, false, err
	}
	n = copy(b, node.data)
	return n, n < len(b), nil
}

// Stamp tells which version of a file this is.
func (d *Disk) Stamp(name string) (Stamp, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _, n, err := d.lookup("stat", name)
	if err != nil {
		return Stamp{}, err
	}
	return Stamp{Inode: n.inode, Size: int64(len(n.data)), Modified: n.written}, nil
}

// Link gives a file a second name.
func (d *Disk) Link(name, second string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rename("link", name, second, func(_ *node, _ string, to *node, base string, n *node) {
		to.set(base, n)
	})
}

// Move gives a file another name. Between two directories the new name and the
// loss of the old one become durable independently.
func (d *Disk) Move(name, other string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rename("move", name, other, move)
}

func (d *Disk) rename(op, name, other string, do func(from *node, old string, to *node, base string, n *node)) error {
	from, old, n, err := d.lookup(op, name)
	if err != nil {
		return err
	}
	to, base, err := d.find(other)
	if err != nil {
		return err
	}
	if to.names[base] != nil && op != "replace" {
		return &fs.PathError{Op: op, Path: other, Err: syscall.EEXIST}
	}
	if _, err := d.step(); err != nil {
		return err
	}
	do(from, old, to, base, n)
	return nil
}

func move(from *node, old string, to *node, base string, n *node) {
	if from == to {
		from.change(nameOp{{old, nil}, {base, n}})
		return
	}
	to.set(base, n)
	from.set(old, nil)
}

// Replace is Move onto an existing file.
func (d *Disk) Replace(name, other string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rename("replace", name, other, move)
}

// Remove takes a name away.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, base, _, err := d.lookup("remove", name)
	if err != nil {
		return err
	}
	if _, err := d.step(); err != nil {
		return err
	}
	dir.set(base, nil)
	return nil
}

// List calls each for the names in a directory.
func (d *Disk) List(name string, each func(string)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _, n, err := d.lookup("open", name)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(n.names)) { // the same order in each run
		each(name)
	}
	return nil
}

// SyncDir makes the names in a directory durable.
func (d *Disk) SyncDir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _, n, err := d.lookup("open", name)
	if err != nil {
		return err
	}
	_, err = d.step()
	if !d.crashed {
		n.sync(err == nil)
	}
	return err
}

// OpenWhole returns the disk itself.
func (d *Disk) OpenWhole(string) (Whole, error) { return whole{d}, nil }

type whole struct{ *Disk }

func (whole) Close() error { return nil }

// SyncAll makes every file and every name durable. When it fails, what was
// written to files is dropped, and names are as they were. Who has such a file
// open learns of it with the next sync, as on Linux.
func (w whole) SyncAll() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.step()
	if w.crashed {
		return err
	}
	w.root.walk(func(n *node) {
		switch {
		case err == nil:
			n.sync(true)
		case len(n.dirty) > 0:
			n.dirty = nil
			n.lost++
		}
	})
	return err
}

// Free says that there is room, unless SetFull said otherwise.
func (d *Disk) Free(string) (bytes, files uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.crashed {
		return 0, 0, ErrCrashed
	}
	if d.full {
		return 0, 0, nil
	}
	return 1 << 40, 1 << 30, nil
}

// Lock locks a name. The lock itself is no file and leaves nothing behind.
func (d *Disk) Lock(name string) (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.crashed {
		return nil, ErrCrashed
	}
	if d.locks[name] {
		return nil, &fs.PathError{Op: "lock", Path: name, Err: syscall.EEXIST}
	}
	d.locks[name] = true
	return lock{d, name}, nil
}

type lock struct {
	disk *Disk
	name string
}

func (l lock) Close() error {
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	delete(l.disk.locks, l.name)
	return nil
}

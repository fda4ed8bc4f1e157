package crashfs

import (
	"io"
	"slices"
	"syscall"
)

type file struct {
	disk *Disk
	node *node
	name string
	lost int // of the node, as far as it was reported
}

// sync tells what is to be returned by a sync of the file.
func (f *file) sync() error {
	_, err := f.disk.step()
	if err == nil && f.lost != f.node.lost {
		err = syscall.EIO
	}
	f.lost = f.node.lost
	return err
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.crashed {
		return 0, ErrCrashed
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	fault, err := f.disk.step()
	if err == nil && f.disk.full {
		err = syscall.ENOSPC
	}
	switch {
	case err == nil && len(p) > 0:
		f.node.write(write{off, slices.Clone(p)})
	case fault.Short && len(p) > 1:
		half := len(p) / 2
		f.node.write(write{off, slices.Clone(p[:half])})
		return half, err
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *file) Size() (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.crashed {
		return 0, ErrCrashed
	}
	return int64(len(f.node.data)), nil
}

func (f *file) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if _, err := f.disk.step(); err != nil {
		return err
	}
	f.node.write(write{off: size})
	return nil
}

func (f *file) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	err := f.sync()
	if !f.disk.crashed {
		f.node.sync(err == nil)
	}
	return err
}

func (f *file) SyncData() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	err := f.sync()
	if !f.disk.crashed {
		f.node.syncData(err == nil)
	}
	return err
}

func (f *file) Close() error { return nil }

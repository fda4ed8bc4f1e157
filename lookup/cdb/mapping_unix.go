//go:build unix

package cdb

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"syscall"
)

// mapFile maps a file into memory for as long as somebody has the mapping.
func mapFile(path string) (*mapping, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m := new(mapping)
	if m.info, err = f.Stat(); err != nil {
		return nil, err
	}
	size := m.info.Size()
	if size == 0 || size > math.MaxUint32 {
		return nil, fmt.Errorf("%w: %d bytes", ErrDamaged, size)
	}
	if m.b, err = syscall.Mmap(int(f.Fd()), 0, int(size), syscall.PROT_READ, syscall.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	runtime.AddCleanup(m, func(b []byte) { _ = syscall.Munmap(b) }, m.b)
	return m, nil
}

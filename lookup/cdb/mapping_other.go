//go:build !unix

package cdb

import (
	"fmt"
	"os"
)

// mapFile reads a file into memory.
func mapFile(path string) (*mapping, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: not a regular file", ErrDamaged)
	}
	b, err := os.ReadFile(path)
	return &mapping{b: b, info: info}, err
}

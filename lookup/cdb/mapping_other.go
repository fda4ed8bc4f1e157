//go:build !unix

package cdb

import "os"

// mapFile reads a file into memory.
func mapFile(path string) (*mapping, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	return &mapping{b: b, info: info}, err
}

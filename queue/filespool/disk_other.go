//go:build !linux

package filespool

import (
	"math"
	"os"
)

func (disk) Move(name, other string) error { return linkMove(name, other) }

// Free does not know: what does not fit is noticed when it is written.
func (disk) Free(string) (bytes, files uint64, err error) {
	return math.MaxUint64, math.MaxUint64, nil
}

func openFile(name string, flag int) (*os.File, error) { return os.OpenFile(name, flag, 0o600) }

// OwnFileSystem is only answered on Linux, where Options.SyncFS can be used.
func OwnFileSystem(string) bool { return false }

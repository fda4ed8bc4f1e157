//go:build unix

package filespool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// locked unlocks before it closes: a process that is just being started still
// holds a copy of the descriptor, and with it the lock.
type locked struct{ *os.File }

func (f locked) Close() error {
	return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.File.Close())
}

// Lock uses flock(2): it belongs to the open file, so it also excludes a second
// opening in the same process, and it goes with the process.
func (osDisk) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return locked{f}, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fs.ErrExist
	}
	return nil, fmt.Errorf("lock %s: %w", name, err)
}

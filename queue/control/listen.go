package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrInUse is wrapped by Listen's error when somebody serves the socket.
var ErrInUse = errors.New("control: socket is in use")

// Listen makes the socket path with the given mode: 0o666 when the tables are to
// decide who may do what, 0o600 for nobody but its owner. A socket that a crash
// left behind is replaced; one that somebody serves is ErrInUse, and what is not
// a socket is left alone. Two programs that start at the same moment must
// exclude each other by other means, such as the lock of the spool.
func Listen(path string, mode fs.FileMode) (net.Listener, error) {
	l, err := listen(path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err = clear(path); err == nil {
			l, err = listen(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("control: listening on %s: %w", path, err)
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// clear removes a socket at which nobody answers.
func clear(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%w: there is something that is not a socket", fs.ErrExist)
	}
	c, err := dial(path)
	if err == nil {
		_ = c.Close()
		return ErrInUse
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return os.Remove(path)
}

// socket removes its path when it is closed, as long as it is still its own.
type socket struct {
	*net.UnixListener
	path string
	made fs.FileInfo
}

func (s *socket) Close() error {
	if now, err := os.Lstat(s.path); err == nil && os.SameFile(now, s.made) {
		_ = os.Remove(s.path)
	}
	return s.UnixListener.Close()
}

func listen(path string) (net.Listener, error) {
	name, done, err := short(path)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	made, err := os.Lstat(path)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &socket{l, path, made}, nil
}

// dialTime is how long a server's backlog may be full.
const dialTime = 5 * time.Second

func dial(path string) (net.Conn, error) {
	name, done, err := short(path)
	if err != nil {
		return nil, err
	}
	defer done()
	return net.DialTimeout("unix", name, dialTime)
}

// Answers reports whether somebody serves the socket path, or at least keeps
// those who ask from knowing.
func Answers(path string) bool {
	c, err := dial(path)
	if err == nil {
		_ = c.Close()
	}
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED)
}

// nameLimit is how many bytes the kernel takes as a socket's name, unix(7).
const nameLimit = 107

// short returns a name for path that is not too long for a socket: by way of an
// open directory, where it has to be.
func short(path string) (name string, done func(), err error) {
	if len(path) <= nameLimit {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	name = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	return name, func() { _ = dir.Close() }, nil
}

package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Files appends to files in the format of mbox(5). The zero value is ready.
//
// While it writes, a file is locked with fcntl(2) and, where its directory lets us, with
// a file of the same name and ".lock", as all mail programs of Unix agree. What a failed
// delivery has written is cut off again; after a crash of the machine a part of a
// message may be at the end of the file, and the message comes again.
type Files struct {
	// Limit is how large a file may grow, in bytes; 0 means 51,200,000
	// (mailbox_size_limit), less than 0 no limit.
	Limit int64
	// Wait is how long a lock is waited for; 0 means 20 seconds.
	Wait time.Duration
}

var (
	errFull   = errors.New("size limit exceeded")
	errLocked = errors.New("locked by somebody else")
	// errReplaced is not told to anybody: the new file is opened.
	errReplaced = errors.New("another file has this name now")
	errNoFile   = errors.New("mail is only appended to files that are regular, have one name and are no programs")
)

const (
	defaultFileLimit = 51_200_000
	// staleLock is when a lock file is taken for left behind.
	staleLock = 500 * time.Second
	lockPause = 50 * time.Millisecond
)

// append writes a message to the end of a file.
func (s *Files) append(ctx context.Context, l letter, name string, u User) error {
	ctx, cancel := context.WithTimeoutCause(ctx, cmp.Or(s.Wait, 20*time.Second), errLocked)
	defer cancel()
	return as(u, func() error {
		unlock, err := lockFile(ctx, name+".lock")
		if err != nil {
			return err
		}
		defer unlock()
		return s.write(ctx, l, name)
	})
}

// write appends to the file that has the name when it is locked: a mail reader may have
// put another in its place meanwhile.
func (s *Files) write(ctx context.Context, l letter, name string) error {
	for {
		err := s.writeOnce(ctx, l, name)
		if !errors.Is(err, errReplaced) {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func (s *Files) writeOnce(ctx context.Context, l letter, name string) (err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	created := errors.Is(err, os.ErrNotExist)
	if created {
		f, err = os.OpenFile(name, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) || errors.Is(err, syscall.EISDIR) {
		return fmt.Errorf("%w: %w", errNoFile, err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	device, err := suitable(f)
	if err != nil {
		return err
	}
	if device { // /dev/null
		return l.writeTo(f, true)
	}
	if err := lockRange(ctx, f); err != nil {
		return err
	}
	if err := still(name, f); err != nil {
		return err
	}
	if err := s.extend(f, l); err != nil || !created {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// extend appends and syncs, or leaves the file as it was.
func (s *Files) extend(f *os.File, l letter) error {
	old, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	limit := s.Limit
	if limit == 0 {
		limit = defaultFileLimit
	}
	if limit > 0 && old+l.message.Size() > limit {
		return errFull
	}
	err = l.writeTo(f, true)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.Truncate(old))
	}
	return nil
}

// still reports with errReplaced that the name is another file's by now.
func still(name string, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	now, err := os.Lstat(name)
	if errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(info, now) {
		return errReplaced
	}
	return err
}

// suitable refuses what no mail is appended to. device is true for what keeps nothing.
func suitable(f *os.File) (device bool, err error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if info.Mode()&os.ModeCharDevice != 0 {
		return true, nil
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() || info.Mode().Perm()&0o111 != 0 || st.Nlink > 1 {
		return false, errNoFile
	}
	return false, nil
}

// lockFile makes the lock file, and returns what removes it. Where no file can be made,
// as in /var/mail for who is not in its group, the lock of the file itself must do.
func lockFile(ctx context.Context, name string) (unlock func(), err error) {
	for {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		switch {
		case err == nil:
			fmt.Fprintf(f, "%d\n", os.Getpid()) // for people who look: the lock is the name
			f.Close()
			return func() { os.Remove(name) }, nil
		case errors.Is(err, os.ErrPermission), errors.Is(err, syscall.EROFS), errors.Is(err, syscall.ENOSPC), errors.Is(err, os.ErrNotExist):
			return func() {}, nil
		case !errors.Is(err, os.ErrExist):
			return nil, err
		}
		if info, err := os.Lstat(name); err == nil && time.Since(info.ModTime()) > staleLock {
			os.Remove(name)
			continue
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

// pause waits before the next try.
func pause(ctx context.Context) error {
	timer := time.NewTimer(lockPause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// lockRange locks the whole file.
func lockRange(ctx context.Context, f *os.File) error {
	for {
		err := tryLock(f)
		if err == nil || !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EACCES) {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if errors.Is(err, os.ErrPermission) {
		return nil // who may write but not read there cannot sync it either
	}
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

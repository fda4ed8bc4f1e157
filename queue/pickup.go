package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// batch is how many names of the maildrop are read at a time.
	batch = 1000
	// told is how many errors a look returns.
	told = 10
	// patience is the longest time for which a file that could not be taken is
	// left alone.
	patience = time.Minute
	// leftover is the age at which an unfinished file is what a program that was
	// killed has left.
	leftover = 36 * time.Hour
)

// pickup is what is known of an open maildrop.
type pickup struct {
	*Maildrop
	root  *os.Root
	waits map[string]wait // files that could not be taken; never changed, but replaced
}

// wait is how long a file is left alone.
type wait struct {
	until time.Time
	delay time.Duration
}

// attempts is what came of the files of one look.
type attempts struct {
	mu       sync.Mutex
	accepted int
	failed   int
	errs     []error // the first of failed
	waits    map[string]wait
}

func (d *Maildrop) open() (*pickup, error) {
	root, err := os.OpenRoot(d.Dir)
	if err != nil {
		return nil, fmt.Errorf("queue: maildrop: %w", err)
	}
	info, err := root.Stat(".")
	if err == nil && info.Mode().Perm()&0o002 != 0 {
		err = fmt.Errorf("%s can be written by everybody: %w", d.Dir, fs.ErrPermission)
	}
	if err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("queue: maildrop: %w", err)
	}
	return &pickup{Maildrop: d, root: root}, nil
}

// look takes what is there, and is not left alone.
func (p *pickup) look(ctx context.Context) (accepted int, err error) {
	dir, err := p.root.Open(".")
	if err != nil {
		return 0, p.unreadable(err)
	}
	defer dir.Close()
	a := &attempts{waits: make(map[string]wait)}
	for ctx.Err() == nil {
		files, err := dir.ReadDir(batch)
		p.several(ctx, files, a)
		if errors.Is(err, io.EOF) || len(files) == 0 && err == nil {
			break
		}
		if err != nil {
			return a.accepted, p.unreadable(err)
		}
	}
	p.waits = a.waits
	if more := a.failed - len(a.errs); more > 0 {
		a.errs = append(a.errs, fmt.Errorf("%d more", more))
	}
	return a.accepted, errors.Join(a.errs...)
}

func (p *pickup) unreadable(err error) error {
	p.log().Error("reading the maildrop", "dir", p.Dir, "error", err)
	return fmt.Errorf("queue: maildrop: %w", err)
}

// several takes files, some at a time, and waits for all of them.
func (p *pickup) several(ctx context.Context, files []fs.DirEntry, a *attempts) {
	workers := p.Concurrency
	if workers <= 0 {
		workers = 32
	}
	names := make(chan string)
	var group sync.WaitGroup
	for range min(workers, len(files)) {
		group.Go(func() {
			for name := range names {
				p.one(ctx, name, a)
			}
		})
	}
	for _, f := range files {
		if ctx.Err() == nil && !f.IsDir() {
			names <- f.Name()
		}
	}
	close(names)
	group.Wait()
}

// one deals with one name.
func (p *pickup) one(ctx context.Context, name string, a *attempts) {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "tmp") {
		p.sweep(name)
		return
	}
	before, waiting := p.waits[name]
	if waiting && time.Now().Before(before.until) {
		a.wait(name, before)
		return
	}
	err := p.take(ctx, name)
	if errors.Is(err, ErrSubmission) {
		p.log().Warn("not accepted", "file", name, "reason", err)
		err = p.moveAway(name, err)
	} else if err == nil {
		a.accept()
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return
	}
	p.log().Error("picking up", "file", name, "error", err)
	delay := min(max(2*before.delay, time.Second), patience)
	a.fail(name, err, wait{time.Now().Add(delay), delay})
}

func (a *attempts) accept() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.accepted++
}

func (a *attempts) fail(name string, err error, w wait) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waits[name] = w
	if a.failed++; len(a.errs) < told {
		a.errs = append(a.errs, fmt.Errorf("%s: %w", name, err))
	}
}

// wait leaves a file alone in this look.
func (a *attempts) wait(name string, w wait) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waits[name] = w
}

// sweep removes an unfinished file that nobody will finish.
func (p *pickup) sweep(name string) {
	info, err := p.root.Lstat(name)
	if err != nil || !strings.HasPrefix(name, "tmp") || !info.Mode().IsRegular() || time.Since(info.ModTime()) < leftover {
		return
	}
	p.log().Warn("removing an unfinished file", "file", name, "error", p.root.Remove(name))
}

// take accepts one file and removes it.
func (p *pickup) take(ctx context.Context, name string) error {
	f, info, err := p.plainFile(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if limit := p.maxSize(); limit > 0 && info.Size() > limit {
		return fmt.Errorf("%w: more than %d bytes", ErrSubmission, limit)
	}
	id, err := p.submit(ctx, f, info.Size(), origin{owner(info), name})
	if err != nil {
		return err
	}
	// Somebody may have renamed another submission onto this one meanwhile.
	if now, err := p.root.Lstat(name); err == nil && !os.SameFile(info, now) {
		return nil
	}
	if err := p.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: accepted as %s, but it cannot be removed: %w", ErrSubmission, id, err)
	}
	return nil
}

// plainFile opens a plain file that has no other name. Neither a link nor a FIFO
// that appears in its place can fool or block it.
func (p *pickup) plainFile(name string) (*os.File, fs.FileInfo, error) {
	info, err := p.root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%w: not a plain file", ErrSubmission)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Nlink > 1 {
		return nil, nil, fmt.Errorf("%w: a file with several names", ErrSubmission)
	}
	f, err := p.root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	opened, err := f.Stat()
	if err == nil && !os.SameFile(info, opened) {
		err = fs.ErrNotExist
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("%s was replaced: %w", name, err)
	}
	return f, opened, nil
}

// owner is the user whose file it is; -1 means that the system does not tell.
func owner(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return -1
}

// moveAway puts a file that cannot be accepted aside, and says why.
func (p *pickup) moveAway(name string, reason error) error {
	dir := p.Corrupt
	if dir == "" {
		dir = filepath.Join(p.Dir, "corrupt")
	}
	// A name may be as long as the file system allows.
	to := filepath.Join(dir, fmt.Sprintf("%.200s.%d", name, time.Now().UnixNano()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("moving away: %w", err)
	}
	// The name is taken from where the file was found, whatever is there now.
	if err := os.Rename(filepath.Join(p.root.Name(), name), to); err != nil {
		return fmt.Errorf("moving away: %w", err)
	}
	if err := os.WriteFile(to+".reason", []byte(reason.Error()+"\n"), 0o600); err != nil {
		p.log().Error("saying why a file was moved away", "file", to, "error", err)
	}
	return nil
}

package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Maildrop takes mail that local programs leave as files in a directory, also
// while nobody serves it.
//
// A submission is written under a name that begins with "." or "tmp", and then
// renamed to any other name. It is text, with lines ending in LF or CRLF:
//
//	sender: alice@example.org
//	recipient: bob@example.net
//	recipient: carol@example.net
//
//	Subject: hello
//
//	Hi
//
// There is one sender, empty for the null sender, and one recipient at least;
// behind the first empty line comes the message. A file that is no submission,
// that is refused for good, or that is no plain file, is moved to Corrupt, with
// the reason beside it in NAME.reason.
//
// A crash between the acceptance of a message and the removal of its file makes
// the message double. Whoever may write into the directory may send mail as
// anybody: it must not be writable for all.
type Maildrop struct {
	// Dir is the directory. It exists. Required.
	Dir string
	// Queue takes the messages. Required.
	Queue Queue
	// Filter is asked about each message; nil means that all are accepted.
	Filter Filter
	// Corrupt is the directory for what cannot be accepted, on the same file
	// system; "" means "corrupt" in Dir. It is made when it is needed.
	Corrupt string
	// QueueRun is the time between two looks; zero means 1 s.
	QueueRun time.Duration
	// MaxSize is how many bytes a submission may have; zero means 10240000, and a
	// negative one no limit.
	MaxSize int64
	// MaxRecipients is how many recipients it may have; zero means 50000.
	MaxRecipients int
	// Logger is told of what is taken, moved away, or has to wait; nil is silent.
	Logger *slog.Logger
}

// ErrSubmission is wrapped by the reason for which a file is no submission.
var ErrSubmission = errors.New("queue: not a submission")

// Serve looks into the directory until ctx ends, and returns nil then. It
// returns an error when the directory cannot be opened.
func (d *Maildrop) Serve(ctx context.Context) error {
	root, err := os.OpenRoot(d.Dir)
	if err != nil {
		return fmt.Errorf("queue: maildrop: %w", err)
	}
	defer root.Close()
	look := time.NewTicker(cmp.Or(max(d.QueueRun, 0), time.Second))
	defer look.Stop()
	stuck := make(map[string]bool)
	for {
		d.look(ctx, root, stuck)
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// Look takes what is in the directory now, and returns how many messages were
// accepted. What has to wait is in the error.
func (d *Maildrop) Look(ctx context.Context) (accepted int, err error) {
	root, err := os.OpenRoot(d.Dir)
	if err != nil {
		return 0, fmt.Errorf("queue: maildrop: %w", err)
	}
	defer root.Close()
	return d.look(ctx, root, make(map[string]bool))
}

// look passes over files in stuck: those that could not be moved away.
func (d *Maildrop) look(ctx context.Context, root *os.Root, stuck map[string]bool) (accepted int, err error) {
	files, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		d.log().Error("reading the maildrop", "dir", d.Dir, "error", err)
		return 0, fmt.Errorf("queue: maildrop: %w", err)
	}
	var errs []error
	for _, f := range files {
		name := f.Name()
		if ctx.Err() != nil || f.IsDir() || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "tmp") || stuck[name] {
			continue
		}
		id, err := d.take(ctx, root, name)
		switch {
		case err == nil:
			accepted++
			d.log().Info("picked up", "file", name, "id", id)
		case errors.Is(err, ErrSubmission):
			stuck[name] = !d.moveAway(root, name, err)
		case !errors.Is(err, fs.ErrNotExist):
			d.log().Error("picking up", "file", name, "error", err)
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return accepted, errors.Join(errs...)
}

// take accepts one file and removes it. An ID of "" means that it was thrown
// away as the filter wanted.
func (d *Maildrop) take(ctx context.Context, root *os.Root, name string) (string, error) {
	f, info, err := open(root, name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if limit := cmp.Or(d.MaxSize, 10240000); limit > 0 && info.Size() > limit {
		return "", fmt.Errorf("%w: more than %d bytes", ErrSubmission, limit)
	}
	id, err := d.submit(ctx, f, info)
	if err != nil {
		return "", err
	}
	// Somebody may have renamed another submission onto this one meanwhile.
	if now, err := root.Lstat(name); err == nil && !os.SameFile(info, now) {
		return id, nil
	}
	if err := root.Remove(name); err != nil {
		return id, fmt.Errorf("%w: accepted as %s, but it cannot be removed: %w", ErrSubmission, id, err)
	}
	return id, nil
}

// open opens a plain file that has no other name. Neither a link nor a FIFO that
// appears in its place can fool or block it.
func open(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%w: not a plain file", ErrSubmission)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Nlink > 1 {
		return nil, nil, fmt.Errorf("%w: a file with several names", ErrSubmission)
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	opened, err := f.Stat()
	if err != nil || !os.SameFile(info, opened) {
		_ = f.Close()
		return nil, nil, fmt.Errorf("%s was replaced: %w", name, cmp.Or(err, fs.ErrNotExist))
	}
	return f, opened, nil
}

// submit reads a submission and commits it.
func (d *Maildrop) submit(ctx context.Context, f *os.File, info fs.FileInfo) (id string, err error) {
	in := newSubmission(f, cmp.Or(d.MaxRecipients, 50000))
	env, err := in.envelope()
	if err != nil {
		return "", err
	}
	env.Arrival = time.Now()
	out, err := d.Queue.Begin(ctx, info.Size())
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil || id == "" {
			_ = out.Discard()
		}
	}()
	if err := in.message(out); err != nil {
		return "", err
	}
	m, err := out.Message(ctx)
	if err != nil {
		return "", err
	}
	if keep, err := d.filter(ctx, env, m); err != nil || !keep {
		return "", err
	}
	return out.Commit(ctx, env, m)
}

// moveAway puts a file that cannot be accepted aside, and says why. It reports
// whether it could.
func (d *Maildrop) moveAway(root *os.Root, name string, reason error) bool {
	d.log().Warn("not accepted", "file", name, "reason", reason)
	dir := cmp.Or(d.Corrupt, filepath.Join(d.Dir, "corrupt"))
	to := filepath.Join(dir, fmt.Sprintf("%s.%d", name, time.Now().UnixNano()))
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		// The name is taken from where the file was found, whatever is there now.
		err = os.Rename(filepath.Join(root.Name(), name), to)
	}
	if err == nil {
		err = os.WriteFile(to+".reason", []byte(reason.Error()+"\n"), 0o600)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log().Error("moving away", "file", name, "error", err)
		return false
	}
	return true
}

func (d *Maildrop) log() *slog.Logger {
	if d.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return d.Logger
}

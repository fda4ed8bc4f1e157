package control

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mtakit/mtakit/queue"
)

// The queues of files that no manager has: what waits for the server to take it,
// and what was put aside. Their IDs are the names of the files.
const (
	inMaildrop = "maildrop"
	inCorrupt  = "corrupt"
)

// dropBatch is how many names of the maildrop are read at a time.
const dropBatch = 1000

// listDropped yields what waits in the maildrop and is meant. It reports whether
// there is somebody who wants more.
func (l *Local) listDropped(ctx context.Context, q *Query, yield func(Message, error) bool) bool {
	if l.Maildrop == "" {
		return true
	}
	root, err := os.OpenRoot(l.Maildrop)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		return yield(Message{}, err)
	}
	defer root.Close()
	dir, err := root.Open(".")
	if err != nil {
		return yield(Message{}, err)
	}
	defer dir.Close()
	now := time.Now()
	for {
		files, err := dir.ReadDir(dropBatch)
		for _, f := range files {
			if err := ctx.Err(); err != nil {
				return yield(Message{}, err)
			}
			m, ok := dropped(root, f.Name(), q, now)
			if ok && !yield(m, nil) {
				return false
			}
		}
		switch {
		case errors.Is(err, io.EOF), err == nil && len(files) == 0:
			return true
		case err != nil:
			return yield(Message{}, err)
		}
	}
}

// findDropped is one file of the maildrop, if it is meant.
func (l *Local) findDropped(name string, q *Query, now time.Time) (Message, bool) {
	if l.Maildrop == "" || !isFileName(name) {
		return Message{}, false
	}
	root, err := os.OpenRoot(l.Maildrop)
	if err != nil {
		return Message{}, false
	}
	defer root.Close()
	return dropped(root, name, q, now)
}

// dropped is a file of the maildrop as a listing shows it, if it is one and is
// meant. What is no submission, or cannot be read, is shown with the reason.
func dropped(root *os.Root, name string, q *Query, now time.Time) (m Message, ok bool) {
	if unfinished(name) {
		return m, false
	}
	info, err := root.Lstat(name)
	if err != nil || info.IsDir() {
		return m, false
	}
	s := &queue.Stored{Entry: queue.Entry{ID: name, Queue: inMaildrop, Size: info.Size(), Arrival: info.ModTime()}}
	f, err := openDropped(root, name)
	if err == nil {
		defer f.Close()
		err = readDropped(s, f)
	}
	if !q.Match(&s.Entry, now) || !q.MatchRecipients(s) {
		return m, false
	}
	m = brief(&s.Entry)
	if !q.Brief && err == nil {
		m = full(m, s)
	}
	if err != nil {
		m.Reason = err.Error()
	}
	return m, true
}

// unfinished says of a file's name that somebody still writes it.
func unfinished(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "tmp")
}

// isFileName says whether a queue ID can be the name of a file.
func isFileName(id string) bool { return id != "" && id == filepath.Base(id) && filepath.IsLocal(id) }

var errNotPlain = fmt.Errorf("%w: not a plain file", queue.ErrSubmission)

// openDropped opens a plain file. A FIFO that appears in its place does not block
// it.
func openDropped(root *os.Root, name string) (*os.File, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotPlain
	}
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if opened, err := f.Stat(); err != nil || !os.SameFile(info, opened) {
		_ = f.Close()
		return nil, cmp.Or(err, errNotPlain)
	}
	return f, nil
}

// readDropped reads the envelope of a submission.
func readDropped(s *queue.Stored, f io.Reader) error {
	env, _, err := queue.ReadSubmission(f, 0)
	if err != nil {
		return err
	}
	s.Envelope, s.Marks = env, make([]queue.Mark, len(env.Recipients))
	for i := range s.Marks {
		s.Marks[i].Recipient = i
	}
	s.Sender, s.Next, s.Pending = env.Sender, env.NotBefore, len(env.Recipients)
	s.Domains = queue.Domains(env.Recipients, s.Marks)
	s.Size = cmp.Or(env.Options.Size, s.Size)
	return nil
}

// showDropped is Show for a file of the maildrop. Its text is as it stands there.
func (l *Local) showDropped(id string) (d Details, text io.ReadCloser, err error) {
	if l.Maildrop == "" || !isFileName(id) || unfinished(id) {
		return d, nil, queue.ErrNotFound
	}
	root, err := os.OpenRoot(l.Maildrop)
	if err != nil {
		return d, nil, err
	}
	defer root.Close()
	if info, err := root.Lstat(id); err == nil && info.IsDir() {
		return d, nil, queue.ErrNotFound
	}
	f, err := openDropped(root, id)
	if err != nil {
		return d, nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return d, nil, err
	}
	size := info.Size()
	s := &queue.Stored{Entry: queue.Entry{ID: id, Queue: inMaildrop, Size: size, Arrival: info.ModTime()}}
	if err := readDropped(s, io.NewSectionReader(f, 0, size)); err != nil {
		return d, nil, err
	}
	begin, err := endOfEnvelope(io.NewSectionReader(f, 0, size))
	if err != nil {
		return d, nil, err
	}
	return details(s, size-begin), struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, begin, size-begin), f}, nil
}

// endOfEnvelope returns where the message begins in a submission: behind the
// first empty line.
func endOfEnvelope(r io.Reader) (n int64, err error) {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		n += int64(len(line))
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return n, nil
		}
	}
}

// listCorrupt yields what was put aside and is meant.
func (l *Local) listCorrupt(ctx context.Context, q *Query, yield func(Message, error) bool) {
	all, err := l.Damaged(ctx)
	if err != nil {
		yield(Message{}, err)
		return
	}
	now := time.Now()
	for _, r := range all {
		e := queue.Entry{ID: r.Name, Queue: inCorrupt, Size: r.Size, Arrival: r.Time}
		if !q.Match(&e, now) || !q.MatchRecipients(&queue.Stored{}) {
			continue
		}
		m := brief(&e)
		m.Reason = r.Reason
		if !yield(m, nil) {
			return
		}
	}
}

// elsewhere is the error for a message that no manager has: ErrUnsupported when it
// lies in the maildrop or was put aside, and notFound otherwise.
func (l *Local) elsewhere(id string, notFound error) error {
	switch {
	case !isFileName(id):
	case l.Maildrop != "" && !unfinished(id) && isFile(filepath.Join(l.Maildrop, id)):
		return fmt.Errorf("%w: %s waits in the maildrop until the server takes it", ErrUnsupported, id)
	case l.Corrupt != "" && isFile(filepath.Join(l.Corrupt, id)):
		return fmt.Errorf("%w: %s was put aside: its file and the reason are in %s", ErrUnsupported, id, l.Corrupt)
	}
	return notFound
}

func isFile(name string) bool {
	info, err := os.Lstat(name)
	return err == nil && !info.IsDir()
}

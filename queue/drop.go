package queue

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/internal/wire"
)

// Drop leaves a message in dir, the directory of a Maildrop, and returns the name
// of its file, as safe on disk as the file system makes it. The message's lines
// end in LF or CRLF. When it fails, or ctx ends before the message has been read
// to its end, nothing is left.
//
// Of the envelope it carries the sender with BODY, SMTPUTF8, RET and ENVID, the
// recipients with NOTIFY and ORCPT, NotBefore and Attrs; anything else that it
// asks for is an error that wraps ErrSubmission, as is a bad address.
//
// The file belongs to the user who runs the program, and that is how the Maildrop
// knows him. It can be read by all who get into the directory, since the server
// may be another user: Drop refuses a directory that others than its owner and
// its group can search or write.
func Drop(ctx context.Context, dir string, env *mtakit.Envelope, message io.Reader) (name string, err error) {
	if err := secluded(dir); err != nil {
		return "", err
	}
	name = rand.Text()
	tmp := filepath.Join(dir, "tmp."+name)
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("queue: drop: %w", err)
	}
	defer f.Close()
	err = WriteSubmission(f, env, -1, &interruptible{ctx, message})
	if err == nil {
		err = cmp.Or(f.Chmod(0o444), f.Sync(), ctx.Err())
	}
	if err == nil {
		err = os.Rename(tmp, filepath.Join(dir, name))
	}
	if err != nil {
		return "", fmt.Errorf("queue: drop: %w", errors.Join(err, os.Remove(tmp)))
	}
	return name, settle(f, dir, name)
}

// secluded returns nil when only the owner and the group of dir get into it.
func secluded(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("queue: drop: %w", err)
	case !info.IsDir():
		return fmt.Errorf("queue: drop: %s is no directory", dir)
	case info.Mode().Perm()&0o003 != 0:
		return fmt.Errorf("queue: drop: %s is open to everybody: %w", dir, fs.ErrPermission)
	}
	return nil
}

// settle makes the name of a dropped file durable. Who may only write in the
// directory cannot sync it: then the file is synced once more, with which the
// journal of a file system has its new name too.
func settle(f *os.File, dir, name string) error {
	sync := f.Sync
	if d, err := os.Open(dir); err == nil {
		defer d.Close()
		sync = d.Sync
	}
	err := sync()
	if err == nil || errors.Is(os.Remove(filepath.Join(dir, name)), fs.ErrNotExist) {
		return nil // in the second case it has been taken already
	}
	return fmt.Errorf("queue: drop: %w", err)
}

// interruptible is a reader that ends with ctx.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i *interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}

// WriteSubmission writes a message in the format of Maildrop, for somebody who
// will leave it there: see Drop for what it carries. length is the length of the
// message in bytes, so that a reader can tell when the rest was cut off; negative
// means that it is not known.
func WriteSubmission(w io.Writer, env *mtakit.Envelope, length int64, message io.Reader) error {
	if err := sayable(env); err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 1<<16)
	for _, line := range above(env, length) {
		_, _ = out.WriteString(line + "\n")
	}
	if _, err := io.Copy(out, message); err != nil {
		return err
	}
	return out.Flush()
}

// above is what stands above the message, up to the empty line.
func above(env *mtakit.Envelope, length int64) []string {
	lines := []string{fmt.Sprintf("version: %d", submissionVersion)}
	if length >= 0 {
		lines = append(lines, fmt.Sprintf("length: %d", length))
	}
	if !env.NotBefore.IsZero() {
		lines = append(lines, "not-before: "+env.NotBefore.UTC().Format(time.RFC3339Nano))
	}
	if name, ok := env.Attrs[AttrFullName]; ok {
		lines = append(lines, "full-name: "+name)
	}
	for _, name := range slices.Sorted(maps.Keys(env.Attrs)) {
		if name == AttrFullName {
			continue
		}
		lines = append(lines, "attribute: "+wire.Xtext(name)+"="+wire.Xtext(env.Attrs[name]))
	}
	lines = append(lines, "sender: "+mailPath(env))
	for i := range env.Recipients {
		lines = append(lines, "recipient: "+rcptPath(&env.Recipients[i]))
	}
	return append(lines, "")
}

// sayable returns an error for an envelope that would be another when it is read.
func sayable(env *mtakit.Envelope) error {
	switch {
	case env.Hold != "", env.Filter != "", len(env.Params) > 0, env.Priority != 0, env.Options.RequireTLS:
		return fmt.Errorf("%w: hold, filter, priority and further parameters cannot be submitted", ErrSubmission)
	case len(env.Recipients) == 0:
		return fmt.Errorf("%w: no recipient", ErrSubmission)
	}
	for i := range env.Recipients {
		if !utf8.ValidString(env.Recipients[i].Options.OriginalRecipient) {
			return fmt.Errorf("%w: an original recipient that is not UTF-8", ErrSubmission)
		}
	}
	// Reading it back is the one check that finds all that cannot be written.
	text := strings.Join(above(env, -1), "\n") + "\n"
	back, _, err := ReadSubmission(strings.NewReader(text), len(env.Recipients))
	if err != nil {
		return err
	}
	back.Options.UTF8 = env.Options.UTF8
	if back.Attrs[AttrFullName] != env.Attrs[AttrFullName] || strings.Join(above(back, -1), "\n")+"\n" != text {
		return fmt.Errorf("%w: an envelope that cannot be written", ErrSubmission)
	}
	return nil
}

package maildir

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/mtakit/mtakit"
)

// Dir is one Maildir.
type Dir struct {
	// Root is a directory that contains the Maildir. No file outside of it is
	// touched. It is the only required field.
	Root *os.Root
	// Path is where the Maildir lies below Root, "example.org/alice/"; "" means
	// that Root is the Maildir. What is missing is made.
	Path string
	// Hostname is the last part of file names; "" means "localhost".
	Hostname string
	// CRLF keeps the line ends of the wire; false writes LF.
	CRLF bool
}

// Deliver writes fields and m into the Maildir and returns the path of the file
// below Root, "example.org/alice/new/1767225600.M1P2R3.mx.example.org,S=4711".
// When it returns nil, the message survives a crash of the machine. After an
// error nothing is left behind that a reader would see.
func (d Dir) Deliver(ctx context.Context, fields []mtakit.Field, m *mtakit.Message) (file string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	box, err := d.open()
	if err != nil {
		return "", fmt.Errorf("maildir: %w", err)
	}
	defer box.Close()
	name := uniqueName(time.Now(), d.Hostname)
	tmp := path.Join("tmp", name)
	f, err := d.create(box, tmp)
	if err != nil {
		return "", fmt.Errorf("maildir: %w", err)
	}
	size, err := d.fill(f, fields, m)
	if err != nil {
		return "", fmt.Errorf("maildir: %w", errors.Join(err, box.Remove(tmp)))
	}
	file = path.Join("new", fmt.Sprintf("%s,S=%d", name, size))
	if err := d.rename(box, tmp, file); err != nil {
		return "", fmt.Errorf("maildir: %w", errors.Join(err, box.Remove(tmp)))
	}
	if err := syncDir(box, "new"); err != nil {
		// The name may or may not be on disk. Taking it back makes the retry
		// that follows the only copy.
		return "", fmt.Errorf("maildir: %w", errors.Join(err, box.Remove(file)))
	}
	return path.Join(d.Path, file), nil
}

// open opens the Maildir itself, so that its path is walked once, and makes it
// when it is not there.
func (d Dir) open() (*os.Root, error) {
	dir := path.Join(".", d.Path)
	box, err := d.Root.OpenRoot(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return box, err
	}
	if err := d.make(); err != nil {
		return nil, err
	}
	return d.Root.OpenRoot(dir)
}

// create opens a new file in tmp/, and makes that when it is not there.
func (d Dir) create(box *os.Root, tmp string) (*os.File, error) {
	f, err := box.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := d.make(); err != nil {
		return nil, err
	}
	return box.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// rename moves the file to new/, and makes that when somebody has removed it.
func (d Dir) rename(box *os.Root, tmp, file string) error {
	err := box.Rename(tmp, file)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.make(); err != nil {
		return err
	}
	return box.Rename(tmp, file)
}

func (d Dir) make() error {
	for _, sub := range [...]string{"cur", "new", "tmp"} {
		if err := mkdirAll(d.Root, path.Join(d.Path, sub)); err != nil {
			return err
		}
	}
	return nil
}

// fill writes, syncs and closes f, and returns its size.
func (d Dir) fill(f *os.File, fields []mtakit.Field, m *mtakit.Message) (int64, error) {
	err := d.write(f, fields, m)
	if err == nil {
		err = f.Sync()
	}
	var size int64
	if err == nil {
		size, err = f.Seek(0, io.SeekCurrent)
	}
	return size, errors.Join(err, f.Close())
}

func (d Dir) write(f *os.File, fields []mtakit.Field, m *mtakit.Message) error {
	b := bufio.NewWriterSize(f, int(min(64<<10, 1<<10+m.Size())))
	lines := unixLines{w: b}
	var w io.Writer = &lines
	if d.CRLF {
		w = b
	}
	for _, field := range fields {
		if _, err := w.Write(field.Raw()); err != nil {
			return err
		}
	}
	if _, err := m.WriteTo(w); err != nil {
		return err
	}
	return errors.Join(lines.Flush(), b.Flush())
}

// mkdirAll makes a directory and its parents, each synced into its parent: a
// directory entry that is lost takes the mail below it along.
func mkdirAll(root *os.Root, dir string) error {
	at := "."
	for _, name := range strings.Split(dir, "/") {
		parent := at
		at = path.Join(at, name)
		if err := root.Mkdir(at, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		// Also when it was there: another delivery may have made it just now
		// and not synced it yet.
		if err := syncDir(root, parent); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(root *os.Root, dir string) error {
	f, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

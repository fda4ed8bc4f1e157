package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/disk"
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
// error nothing is left behind that a reader would see, but for one case: when
// the last sync fails, a reader may have taken the message already, or a crash
// may bring it back, and a second try makes two of it.
func (d Dir) Deliver(ctx context.Context, fields []mtakit.Field, m *mtakit.Message) (file string, err error) {
	tree, err := disk.OpenTree(d.Root)
	if err != nil {
		return "", fmt.Errorf("maildir: %w", err)
	}
	defer tree.Close()
	s := store{tree: tree}
	l := &letter{path: d.Path, fields: fields}
	s.deliver(ctx, d, m, []*letter{l})
	return path.Join(d.Path, "new", l.final), l.err
}

// open opens the two folders of a delivery, and makes them when they are not
// there.
func (s *store) open(dir string, o *owner) (tmp, new disk.Folder, err error) {
	tmp, new, err = s.pair(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return tmp, new, err
	}
	if err := s.make(dir, o); err != nil {
		return nil, nil, err
	}
	return s.pair(dir)
}

func (s *store) pair(dir string) (tmp, new disk.Folder, err error) {
	if tmp, err = s.tree.Open(path.Join(dir, "tmp")); err != nil {
		return nil, nil, err
	}
	if new, err = s.tree.Open(path.Join(dir, "new")); err != nil {
		return nil, nil, errors.Join(err, tmp.Close())
	}
	return tmp, new, nil
}

// make makes a Maildir and what is missing above it, each synced into its
// parent: a directory entry that is lost takes the mail below it along. tmp/
// comes last: another delivery that finds it need not look after the rest. The
// Maildir is its owner's, what is above it is not.
func (s *store) make(dir string, o *owner) error {
	at := "."
	names := strings.Split(path.Join(dir, "cur"), "/")
	for i, name := range names {
		if err := s.mkdir(at, name, o, i < len(names)-2); err != nil {
			return err
		}
		// Also when it was there: another delivery may have made it just now
		// and not synced it yet.
		if name != "cur" {
			if err := s.syncDir(at); err != nil {
				return err
			}
			at = path.Join(at, name)
		}
	}
	for _, name := range [...]string{"new", "tmp"} {
		if err := errors.Join(s.mkdir(at, name, o, false), s.syncDir(at)); err != nil {
			return err
		}
	}
	return nil
}

// mkdir makes a directory that belongs to a Maildir or lies above it.
func (s *store) mkdir(parent, name string, o *owner, above bool) (err error) {
	switch dir := path.Join(parent, name); {
	case o == nil:
		err = s.tree.Mkdir(dir, 0o700)
	case above: // the owner passes through it
		err = s.tree.Mkdir(dir, 0o711)
	default:
		err = s.tree.MkdirOwned(dir, o.uid, o.gid)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

func (s *store) syncDir(dir string) error {
	f, err := s.tree.Open(dir + "/.") // the administrator may have put a link there
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

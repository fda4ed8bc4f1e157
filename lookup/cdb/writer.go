package cdb

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/mtakit/mtakit/lookup"
)

var (
	// ErrDuplicate is returned by Put for a key that is there already: the first
	// value stays.
	ErrDuplicate = errors.New("cdb: key stands there already")
	// ErrTooLarge is wrapped by Put when the file would be larger than 4 GiB.
	ErrTooLarge = errors.New("cdb: larger than 4 GiB")
)

const headSize = 256 * 8

// Writer makes a new file. It is not for several goroutines. It keeps the keys in
// memory until the end.
type Writer struct {
	// Mode are the permissions of the new file: those of the text that it is made
	// of, where that holds passwords. 0 means those of the old file, or 0644 where
	// there is none.
	Mode os.FileMode

	path  string
	file  *os.File
	out   *bufio.Writer
	size  uint64
	slots [256][]slot
	keys  map[string]bool
	err   error // the first; nothing counts after it
}

// slot is a cell of a hash table.
type slot struct{ hash, position uint32 }

// Create begins a new file that will take the place of path.
func Create(path string) (*Writer, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, fmt.Errorf("cdb: %w", err)
	}
	w := &Writer{path: path, file: f, out: bufio.NewWriterSize(f, 256<<10), size: headSize, keys: map[string]bool{}}
	_, w.err = w.out.Write(make([]byte, headSize))
	return w, nil
}

// Put adds a key, folded, with its value.
func (w *Writer) Put(key, value string) error {
	key = lookup.Fold(key)
	switch {
	case w.err != nil:
		return w.err
	case w.keys[key]:
		return ErrDuplicate
	case w.size+8+uint64(len(key))+uint64(len(value))+uint64(len(w.keys)+1)*16 > math.MaxUint32:
		return fmt.Errorf("%w: key %.60q", ErrTooLarge, key)
	}
	w.keys[key] = true
	h := hash(key)
	w.slots[h%256] = append(w.slots[h%256], slot{h, uint32(w.size)})
	w.numbers(uint32(len(key)), uint32(len(value)))
	w.text(key)
	w.text(value)
	return w.err
}

// numbers writes numbers.
func (w *Writer) numbers(all ...uint32) {
	for _, n := range all {
		w.write(binary.LittleEndian.AppendUint32(nil, n))
	}
}

func (w *Writer) text(s string) { w.write([]byte(s)) }

func (w *Writer) write(b []byte) {
	w.size += uint64(len(b))
	if _, err := w.out.Write(b); err != nil && w.err == nil {
		w.err = fmt.Errorf("cdb: %w", err)
	}
}

// Len returns how many keys there are.
func (w *Writer) Len() int { return len(w.keys) }

// Commit puts the new file in the place of the old one and makes that durable. After
// an error the old one is as it was.
func (w *Writer) Commit() error {
	head := make([]byte, 0, headSize)
	for _, slots := range w.slots {
		head = binary.LittleEndian.AppendUint32(head, uint32(w.size))
		head = binary.LittleEndian.AppendUint32(head, uint32(2*len(slots)))
		w.table(slots)
	}
	err := errors.Join(w.err, w.out.Flush())
	if err == nil {
		_, err = w.file.WriteAt(head, 0)
	}
	if err == nil {
		err = w.replace()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cdb: %w", err), w.Discard())
	}
	w.err = errors.New("cdb: committed")
	return nil
}

// table writes a hash table that is half full.
func (w *Writer) table(slots []slot) {
	cells := make([]slot, 2*len(slots))
	for _, s := range slots {
		i := int(s.hash>>8) % len(cells)
		for cells[i].position != 0 {
			i = (i + 1) % len(cells)
		}
		cells[i] = s
	}
	for _, c := range cells {
		w.numbers(c.hash, c.position)
	}
}

func (w *Writer) replace() error {
	err := errors.Join(w.file.Chmod(w.mode()), w.file.Sync())
	if err == nil {
		err = os.Rename(w.file.Name(), w.path)
	}
	if err != nil {
		return err
	}
	return errors.Join(w.file.Close(), syncDir(filepath.Dir(w.path)))
}

func (w *Writer) mode() os.FileMode {
	if w.Mode != 0 {
		return w.Mode.Perm()
	}
	if info, err := os.Stat(w.path); err == nil {
		return info.Mode().Perm()
	}
	return 0o644
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Discard gives the new file up. It may be called after Commit, and does nothing
// then.
func (w *Writer) Discard() error {
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	if rm := os.Remove(w.file.Name()); !errors.Is(rm, os.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	w.file, w.err = nil, errors.New("cdb: discarded")
	if errors.Is(err, os.ErrClosed) { // after a Commit, or one that failed late
		return nil
	}
	return err
}

func hash(key string) uint32 {
	h := uint32(5381)
	for i := range len(key) {
		h = h<<5 + h ^ uint32(key[i])
	}
	return h
}

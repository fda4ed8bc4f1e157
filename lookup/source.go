package lookup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// stamp tells versions of a file apart.
type stamp struct {
	modified time.Time
	size     int64
	info     fs.FileInfo // for os.SameFile
}

func stampOf(info fs.FileInfo) stamp {
	return stamp{modified: info.ModTime(), size: info.Size(), info: info}
}

func (s stamp) equal(o stamp) bool {
	return s.info != nil && o.info != nil && s.size == o.size &&
		s.modified.Equal(o.modified) && os.SameFile(s.info, o.info)
}

// rest is how long a file must not have been written to pass for finished.
const rest = 2 * time.Second

// fresh reports whether the file may change once more without getting another
// stamp, since clocks of file systems tick slowly. A time in the future is not
// fresh: it would be for years.
func (s stamp) fresh() bool {
	age := time.Since(s.modified)
	return -rest < age && age < rest
}

// finished reports whether the file was not written lately.
func (s stamp) finished() bool { return time.Since(s.modified) >= rest }

// readText reads a whole regular file of which no part changed meanwhile.
func readText(path string) (string, stamp, error) {
	file, before, err := openRegular(path)
	if err != nil {
		return "", stamp{}, err
	}
	defer file.Close()
	var text strings.Builder
	text.Grow(int(before.size))
	if _, err := io.CopyN(&text, file, before.size); err != nil {
		if errors.Is(err, io.EOF) {
			err = ErrUnsettled // cut short
		}
		return "", stamp{}, fmt.Errorf("table %s: %w", path, err)
	}
	info, err := file.Stat()
	if err != nil {
		return "", stamp{}, fmt.Errorf("table %s: %w", path, err)
	}
	if after := stampOf(info); !after.equal(before) {
		return "", stamp{}, fmt.Errorf("table %s: %w", path, ErrUnsettled)
	}
	return text.String(), before, nil
}

// MaxFile is how big a table file may be, in bytes. Files are held in memory.
const MaxFile = 1 << 30

// openRegular opens what is a file and no pipe or device, which would not end.
func openRegular(path string) (*os.File, stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, stamp{}, fmt.Errorf("table %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, stamp{}, fmt.Errorf("table %s: not a regular file", path)
	}
	if info.Size() > MaxFile {
		return nil, stamp{}, fmt.Errorf("table %s: larger than %d bytes", path, MaxFile)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, stamp{}, fmt.Errorf("table %w", err)
	}
	if info, err = file.Stat(); err != nil {
		file.Close()
		return nil, stamp{}, fmt.Errorf("table %s: %w", path, err)
	}
	return file, stampOf(info), nil
}

package compiled

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/mtakit/mtakit/lookup"
)

// Read reads a whole file into memory, for formats whose writers write in
// place: pages mapped into memory would change under a lookup, or be gone.
func Read(file *os.File, size int64) ([]byte, error) {
	if size > lookup.MaxFile {
		return nil, fmt.Errorf("larger than %d bytes", lookup.MaxFile)
	}
	b := make([]byte, size)
	if _, err := file.ReadAt(b, 0); errors.Is(err, io.EOF) {
		return nil, ErrUnsettled // cut short
	} else if err != nil {
		return nil, err
	}
	return b, nil
}

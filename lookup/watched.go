package lookup

import (
	"io"
	"unicode/utf8"
)

// A search with package regexp is linear in the key, but with a large pattern, such as
// (.*a){900}, 100 KB take many seconds, and nothing stops it. So the key is given to
// it as a stream that ends when the time does.

// workPerLook is how much is done between two looks at the clock: instructions of a
// pattern times bytes of a key, each of some nanoseconds at worst.
const workPerLook = 1 << 23

// workPerTry is how many bytes of a key are as much work as compiling a pattern.
const workPerTry = 1000

// work is how much there is to do at most to search for a pattern.
func (p *pattern) work(key string) int { return p.size * len(key) }

// watched reads a key for a search that may take long.
type watched struct {
	rest  string
	late  func() error // says why the search is to end
	each  int          // bytes between two looks
	looks int          // at which rest the next one is
	err   error        // with which it ended
}

func newWatched(p *pattern, key string, late func() error) *watched {
	each := max(workPerLook/p.size, 1)
	return &watched{rest: key, late: late, each: each, looks: len(key) - each}
}

// ReadRune is of io.RuneReader.
func (w *watched) ReadRune() (r rune, size int, err error) {
	if w.err == nil && len(w.rest) < w.looks {
		w.looks -= w.each
		w.err = w.late()
	}
	if w.err != nil || w.rest == "" {
		return 0, 0, io.EOF
	}
	r, size = utf8.DecodeRuneInString(w.rest)
	w.rest = w.rest[size:]
	return r, size, nil
}

package filespool

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"reflect"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

// reading counts the messages that are read from their files.
func reading(disk crashfs.FS) (*watched, *atomic.Int64) {
	var n atomic.Int64
	return &watched{FS: disk, opening: func(name string, _ int) error {
		if dir := path.Base(path.Dir(name)); dir == "deferred" || dir == "hold" || dir == "active" {
			n.Add(1)
		}
		return nil
	}}, &n
}

func entries(t testing.TB, s *Spool) map[string]queue.Entry {
	all := map[string]queue.Entry{}
	for e, err := range s.Entries(t.Context()) {
		require.NoError(t, err)
		require.NotContains(t, all, e.ID)
		all[e.ID] = e
	}
	return all
}

// filed returns a disk with messages that have files: deferred, held, and one
// that was tried only once.
func filed(t testing.TB, n int) *crashfs.Disk {
	disk := crashfs.New()
	s := opened(t, disk, Options{inline: true})
	for i := range n {
		id := put(t, s, small, 1)
		switch i % 4 {
		case 0:
			must(t, s, queue.Change{ID: id, Hold: "wait"})
		case 1, 2:
			must(t, s, queue.Change{ID: id, Attempts: 2, Defer: true, Next: time.Unix(int64(i), 5), Site: "smtp example.org"})
		}
	}
	settle(t, s)
	require.NoError(t, s.Close())
	return disk
}

// TestCatalog lists after a start without reading a single file, and has the
// same to tell as the files.
func TestCatalog(t *testing.T) {
	t.Parallel()
	disk := filed(t, 300)
	for _, readOnly := range []bool{true, false} {
		watch, reads := reading(disk)
		s := opened(t, watch, Options{ReadOnly: readOnly})
		known := entries(t, s)
		require.Len(t, known, 300)
		require.Zero(t, reads.Load())
		require.NoError(t, s.Close())

		require.NoError(t, disk.Remove("q/index"))
		s = opened(t, watch, Options{ReadOnly: readOnly})
		require.Equal(t, entries(t, s), known)
		require.GreaterOrEqual(t, reads.Load(), int64(300))
		require.NoError(t, s.Close())

		// A reader leaves no trace; who works on the spool has made it anew.
		before := reads.Load()
		s = opened(t, watch, Options{})
		require.Equal(t, entries(t, s), known)
		require.Equal(t, readOnly, reads.Load()-before >= 300)
		require.NoError(t, s.Close())
	}
}

// TestCatalogIsStale changes files behind the catalog's back: what it says of
// them no longer counts.
func TestCatalogIsStale(t *testing.T) {
	t.Parallel()
	disk := filed(t, 40)
	b := contentOf(t, disk, "q/index")
	s := opened(t, disk, Options{inline: true})
	want := entries(t, s)
	ids := slices.Sorted(maps.Keys(want))
	for i, id := range ids {
		switch i % 3 {
		case 0:
			must(t, s, queue.Change{ID: id, Attempts: 7, Defer: true, Release: true})
		case 1:
			must(t, s, queue.Change{ID: id, Remove: true})
		}
	}
	fresh := put(t, s, small, 1)
	settle(t, s)
	want = entries(t, s)
	require.NoError(t, s.Close())
	overwrite(t, disk, "q/index", b) // as an older backup has it

	s = opened(t, disk, Options{})
	require.Equal(t, want, entries(t, s))
	require.Contains(t, want, fresh)
	require.NotContains(t, want, ids[1])
	require.Equal(t, 7, want[ids[0]].Attempts)
	require.NoError(t, s.Close())
}

// TestCatalogIsDamaged has the catalog cut off and changed at every place, and
// full of nonsense: the listing is always right.
func TestCatalogIsDamaged(t *testing.T) {
	t.Parallel()
	disk := filed(t, 6)
	good := contentOf(t, disk, "q/index")
	s := opened(t, disk, Options{ReadOnly: true})
	want := entries(t, s)
	require.NoError(t, s.Close())
	var bad [][]byte
	for i := range good {
		flipped := bytes.Clone(good)
		flipped[i] ^= 1 << (i % 8)
		bad = append(bad, good[:i], flipped)
	}
	bad = append(bad, nil, bytes.Repeat([]byte("mtakit index 1\n"), 9999), append(bytes.Repeat([]byte{0}, 1<<20), good...),
		append(slices.Clone(good), good[catalogHead:]...))
	for i, b := range bad {
		overwrite(t, disk, "q/index", b)
		s := opened(t, disk, Options{ReadOnly: i%7 > 0})
		require.Equal(t, want, entries(t, s), i)
		require.NoError(t, s.Close())
	}
}

// TestCatalogFails has every operation on the catalog fail: it is given up, and
// nothing else suffers.
func TestCatalogFails(t *testing.T) {
	t.Parallel()
	for _, flag := range []int{os.O_RDWR | os.O_CREATE, os.O_RDONLY, -1} {
		disk := &watched{FS: crashfs.New()}
		disk.opening = func(name string, f int) error {
			if name == "q/index" && (f == flag || flag == -1) {
				return &fs.PathError{Op: "open", Path: name, Err: syscall.EIO}
			}
			return nil
		}
		s := opened(t, disk, Options{inline: true})
		for range 3 {
			put(t, s, small, 1)
			settle(t, s)
		}
		require.Len(t, entries(t, s), 3)
		require.NoError(t, s.Close())
		s = opened(t, disk, Options{})
		require.Len(t, entries(t, s), 3)
		require.NoError(t, s.Close())
	}
}

// TestCatalogStaysSmall tries the same messages again and again.
func TestCatalogStaysSmall(t *testing.T) {
	t.Parallel()
	disk := filed(t, 50)
	s := opened(t, disk, tiny)
	ids := slices.Sorted(maps.Keys(entries(t, s)))
	var largest int64
	for i := range 400 {
		for _, id := range ids {
			must(t, s, queue.Change{ID: id, Attempts: i + 2, Defer: true, Site: "smtp example.org"})
		}
		largest = max(largest, s.catalog.size)
	}
	require.Greater(t, largest, int64(catalogSlack), "it was never written anew")
	require.Less(t, largest, int64(2*catalogSlack))
	settle(t, s)
	want := entries(t, s)
	require.NoError(t, s.Close())
	watch, reads := reading(disk)
	s = opened(t, watch, Options{})
	require.Equal(t, want, entries(t, s))
	require.Zero(t, reads.Load())
	require.NoError(t, s.Close())
}

// TestCatalogIsWhole has every field of an entry come back. A field that is new
// in queue.Entry needs a tag of its own, and the magic another number.
func TestCatalogIsWhole(t *testing.T) {
	t.Parallel()
	r := remembered{stamp: crashfs.Stamp{Inode: 1<<63 + 5, Size: 6, Modified: 7}}
	e := reflect.ValueOf(&r.entry).Elem()
	for i := range e.NumField() {
		switch f := e.Field(i); f.Interface().(type) {
		case string:
			f.SetString(fmt.Sprint("text ", i))
		case int, int64:
			f.SetInt(int64(i) + 1)
		case bool:
			f.SetBool(true)
		case time.Time:
			f.Set(reflect.ValueOf(time.Unix(int64(i), 9)))
		case []string:
			f.Set(reflect.ValueOf([]string{"a.example", "", "b.example"}))
		default:
			t.Fatalf("no value for %s", e.Type().Field(i).Name)
		}
	}
	var enc encoder
	r.encode(&enc)
	var back remembered
	require.NoError(t, back.decode(enc.b))
	require.Equal(t, r, back)
}

func FuzzCatalog(f *testing.F) {
	r := remembered{entry: queue.Entry{ID: "abcdef", Queue: "deferred", Domains: []string{"example.org"}}}
	f.Add(appendRecord(nil, 5, 0, r.encode), uint32(5))
	f.Fuzz(func(t *testing.T, page []byte, salt uint32) {
		n := 0
		for frame, record := range catalogRecords(page, salt) {
			n += len(frame)
			var r remembered
			_ = r.decode(record)
		}
		require.LessOrEqual(t, n, len(page))
		if len(page) > 0 {
			cut := wholeRecords(page, salt)
			require.Positive(t, cut)
			require.LessOrEqual(t, cut, len(page))
		}
	})
}

// TestSameHash lists with a hash that tells hardly anything apart: nothing is
// missed, and nothing told twice.
func TestSameHash(t *testing.T) {
	t.Parallel()
	disk := filed(t, 300)
	for _, bits := range []int{0, 1, 7, 14} {
		good := newHash()
		o := Options{hash: func(id string) uint64 { return good(id) >> (64 - bits) }}
		s := opened(t, disk, o)
		require.Len(t, entries(t, s), 300, bits)
		id := put(t, s, small, 1)
		require.Contains(t, entries(t, s), id)
		must(t, s, queue.Change{ID: id, Remove: true})
		require.NoError(t, s.Close())
	}
}

func contentOf(t testing.TB, disk crashfs.FS, name string) []byte {
	f, err := disk.Open(name, os.O_RDONLY)
	require.NoError(t, err)
	defer f.Close()
	size, err := f.Size()
	require.NoError(t, err)
	b, err := readAt(f, 0, size)
	require.NoError(t, err)
	return b
}

func overwrite(t testing.TB, disk crashfs.FS, name string, b []byte) {
	f, err := disk.Open(name, os.O_RDWR)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Truncate(0))
	require.NoError(t, writeAll(f, b, 0))
}

package bdb

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup/compiled"
)

// FuzzDamage overwrites parts of a file. Whatever then is asked, the answer is
// right, a miss, or an error, and it comes.
func FuzzDamage(f *testing.F) {
	names, err := filepath.Glob("testdata/*.db")
	require.NoError(f, err)
	require.Len(f, names, 5)
	var files [][]byte
	for i, name := range names {
		b, err := os.ReadFile(name)
		require.NoError(f, err)
		files = append(files, b)
		size := 512
		if name == "testdata/access.db" {
			size = 4096
		}
		for page := size; page < len(b); page += size {
			f.Add(i, page+16, []byte{1, 0, 0, 0}, page+20, []byte{0xff, 0xff}, "key7")
			f.Add(i, page+26, bytes.Repeat([]byte{0xff}, 40), page+24, []byte{1, 7}, "key8")
			f.Add(i, page+300, bytes.Repeat([]byte{3}, 200), page+16, []byte{0, 0, 0, byte(page / size)}, "key59")
		}
		f.Add(i, 72, bytes.Repeat([]byte{0xff}, 20), 96, bytes.Repeat([]byte{1}, 128), "x")
	}
	f.Fuzz(func(t *testing.T, file, at int, damage []byte, at2 int, damage2 []byte, key string) {
		b := bytes.Clone(files[uint(file)%uint(len(files))])
		overwrite(b, at, damage)
		overwrite(b, at2, damage2)
		version, err := parse(b)
		if err != nil {
			require.ErrorIs(t, err, ErrFormat)
			return
		}
		keys := []string{key, "", string(bytes.Repeat([]byte("k"), 700))}
		for i := range 60 {
			keys = append(keys, fmt.Sprint("key", i))
		}
		for _, key := range keys {
			value, ok, err := version.Get(key)
			if err != nil {
				require.ErrorIs(t, err, ErrFormat)
			}
			assert.False(t, err != nil && ok)
			assert.False(t, !ok && value != "")
		}
		checkAll(t, version.(compiled.Sequence), len(b))
	})
}

func overwrite(b []byte, at int, damage []byte) {
	if at >= 0 && at < len(b) {
		copy(b[at:], damage)
	}
}

// checkAll lists a file: no more than its size. It returns the error that ends it.
func checkAll(t *testing.T, version compiled.Sequence, size int) error {
	t.Helper()
	for e, err := range version.All() {
		if err != nil {
			require.ErrorIs(t, err, ErrFormat)
			return err
		}
		if size -= len(e.Key) + len(e.Value); size < 0 {
			require.Fail(t, "more than the file has")
		}
	}
	return nil
}

// TestDamagedList cuts files off, and writes numbers all over them, which lead
// from pages to others: the list ends, and where a page is missing, with an error.
func TestDamagedList(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("testdata/*.db")
	require.NoError(t, err)
	for _, name := range names {
		whole, err := os.ReadFile(name)
		require.NoError(t, err)
		version, err := parse(whole)
		require.NoError(t, err)
		require.NoError(t, checkAll(t, version.(compiled.Sequence), len(whole)))
		for size := 512; size < len(whole); size += 512 {
			if version, err = parse(whole[:size]); err == nil {
				require.ErrorIs(t, checkAll(t, version.(compiled.Sequence), size), ErrFormat, "%s: %d of %d bytes", name, size, len(whole))
			}
		}
		errs := 0
		for at := 0; at < len(whole); at += 7 {
			for _, b := range []byte{1, 3, 255} {
				damaged := bytes.Clone(whole)
				damaged[at] = b
				if version, err = parse(damaged); err == nil && checkAll(t, version.(compiled.Sequence), len(whole)) != nil {
					errs++
				}
			}
		}
		require.NotZero(t, errs, name)
	}
}

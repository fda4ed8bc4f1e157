package lmdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// FuzzDamage overwrites parts of a file. Whatever then is asked, the answer is
// right, a miss, or an error, and it comes.
func FuzzDamage(f *testing.F) {
	whole, err := os.ReadFile("testdata/many.lmdb")
	require.NoError(f, err)
	for page := 0; page < len(whole); page += 4096 {
		f.Add(page+10, []byte{1, 0}, page+16, bytes.Repeat([]byte{0xff}, 40), "key7")
		f.Add(page+12, []byte{0xff, 0xff}, page+16, bytes.Repeat([]byte{16, 0}, 2000), "key8")
		f.Add(page+2000, bytes.Repeat([]byte{0, 0, 0, 0, 1, 0, 255, 255}, 200), page, []byte{}, "key150")
	}
	f.Fuzz(func(t *testing.T, at int, damage []byte, at2 int, damage2 []byte, key string) {
		b := bytes.Clone(whole)
		overwrite(b, at, damage)
		overwrite(b, at2, damage2)
		m, err := newest(bytes.NewReader(b))
		if err != nil {
			require.ErrorIs(t, err, ErrFormat)
			return
		}
		d := &database{m, b}
		keys := []string{key, ""}
		for i := range 200 {
			keys = append(keys, fmt.Sprintf("key%d\x00", i))
		}
		for _, key := range keys {
			value, ok, err := d.Get(key)
			if err != nil {
				require.ErrorIs(t, err, ErrFormat)
			}
			assert.False(t, err != nil && ok)
			assert.False(t, !ok && value != "")
		}
		checkAll(t, d)
	})
}

func overwrite(b []byte, at int, damage []byte) {
	if at >= 0 && at < len(b) {
		copy(b[at:], damage)
	}
}

// checkAll lists a file: no more than its size. It returns the error that ends it.
func checkAll(t *testing.T, d *database) error {
	t.Helper()
	size := len(d.data)
	for e, err := range d.All() {
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

// TestDamagedList cuts a file off, and writes numbers all over it, which lead from pages
// to others: the list ends, and where a page is missing, with an error.
func TestDamagedList(t *testing.T) {
	t.Parallel()
	whole, err := os.ReadFile("testdata/many.lmdb")
	require.NoError(t, err)
	m, err := newest(bytes.NewReader(whole))
	require.NoError(t, err)
	require.NoError(t, checkAll(t, &database{m, whole}))
	for size := 0; size < len(whole); size += 512 {
		require.ErrorIs(t, checkAll(t, &database{m, whole[:size]}), ErrFormat, "%d of %d bytes", size, len(whole))
	}
	errs := 0
	for at := 2 * 4096; at < len(whole); at += 23 {
		damaged := bytes.Clone(whole)
		for b := range byte(8) {
			damaged[at] = b
			if checkAll(t, &database{m, damaged}) != nil {
				errs++
			}
		}
	}
	require.NotZero(t, errs)
	m.entries++
	require.ErrorIs(t, checkAll(t, &database{m, whole}), ErrFormat)
}

// TestNewest checks that of the two meta pages that of the later transaction counts.
func TestNewest(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/many.lmdb")
	require.NoError(t, err)
	m, err := newest(bytes.NewReader(b))
	require.NoError(t, err)
	first, err := readMeta(bytes.NewReader(b), 0)
	require.NoError(t, err)
	second, err := readMeta(bytes.NewReader(b), 4096)
	require.NoError(t, err)
	assert.Equal(t, max(first.transaction, second.transaction), m.transaction)
	b[144] = 0xee // of the first
	m, err = newest(bytes.NewReader(b))
	require.NoError(t, err)
	assert.Equal(t, uint64(0xee), m.transaction)
	assert.Equal(t, first.root, m.root)
}

// TestBigValue has a value with pages of its own claim more bytes than these have: that
// is damage, and not what stands behind them.
func TestBigValue(t *testing.T) {
	t.Parallel()
	const size = 32120 // where the size of key7's value stands, which has two pages
	b, err := os.ReadFile("testdata/many.lmdb")
	require.NoError(t, err)
	m, err := newest(bytes.NewReader(b))
	require.NoError(t, err)
	require.Equal(t, uint32(6008), binary.LittleEndian.Uint32(b[size:]))
	for claimed, good := range map[uint32]bool{6008: true, 2*4096 - 16: true, 2*4096 - 15: false, 1 << 31: false} {
		binary.LittleEndian.PutUint32(b[size:], claimed)
		value, ok, err := (&database{m, b}).Get("key7\x00")
		assert.Equal(t, good, ok, claimed)
		assert.Equal(t, good, err == nil)
		assert.Equal(t, good, len(value) == int(claimed))
	}
}

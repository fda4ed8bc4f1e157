package lmdb_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/compiled"
	"github.com/mtakit/mtakit/lookup/internal/postfixtest"
	"github.com/mtakit/mtakit/lookup/lmdb"
	"github.com/mtakit/mtakit/lookup/tabletest"
)

// newPostfix is one that has tables of this kind.
func newPostfix(t *testing.T) *postfixtest.Postfix {
	t.Helper()
	return postfixtest.New(t, "postfix-lmdb")
}

// list returns what All yields as postmap -s prints it, sorted.
func list(t *testing.T, table *compiled.File) []string {
	t.Helper()
	var lines []string
	for e, err := range table.All() {
		require.NoError(t, err)
		lines = append(lines, e.Key+"\t"+e.Value+"\n")
	}
	slices.Sort(lines)
	return lines
}

func TestPostmap(t *testing.T) {
	t.Parallel()
	p := newPostfix(t)
	var b strings.Builder
	var keys []string
	for i := range 100_000 {
		keys = append(keys, fmt.Sprintf("User%d@example.org", i))
		size := i % 40
		if i%5000 == 7 {
			size = 30_000
		}
		fmt.Fprintf(&b, "%s value%d %s\n", keys[i], i, strings.Repeat("x", size))
	}
	path := p.Make(t, "lmdb", "many", b.String(), false)
	table, err := lmdb.Open(path+".lmdb", lookup.Options{})
	require.NoError(t, err)
	for e := range lookup.Entries(path, b.String()) {
		value, ok, err := table.Lookup(t.Context(), e.Key)
		require.NoError(t, err)
		require.True(t, ok, e.Key)
		require.Equal(t, e.Value, value, e.Key)
		_, ok, err = table.Lookup(t.Context(), e.Key+"x")
		require.NoError(t, err)
		require.False(t, ok, e.Key)
	}
	require.Equal(t, p.List(t, "lmdb", path), list(t, table))
	p.Delete(t, "lmdb", path, keys[100:1100]) // each is a transaction
	require.NoError(t, table.Reload(t.Context()))
	require.Equal(t, p.List(t, "lmdb", path), list(t, table))
	for range table.All() {
		break
	}
	tabletest.Run(t, table, tabletest.Contents{
		Found:   map[string]string{"user81@example.org": "value81 x", "USER0@example.org": "value0"},
		Missing: []string{"user100000@example.org", "zz", "a"},
	})
}

func TestEmptyDatabase(t *testing.T) {
	t.Parallel()
	path := newPostfix(t).Make(t, "lmdb", "empty", "# nothing\n", false)
	table, err := lmdb.Open(path+".lmdb", lookup.Options{})
	require.NoError(t, err)
	_, ok, err := table.Lookup(t.Context(), "a")
	require.NoError(t, err)
	assert.False(t, ok)
	assert.Empty(t, list(t, table))
}

func TestFilesThatAreNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := lmdb.Open(filepath.Join(dir, "absent"), lookup.Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
	for _, text := range []string{"", "x", strings.Repeat("\x00", 4096), strings.Repeat("\xde\xc0\xef\xbe", 2000)} {
		path := filepath.Join(dir, "t")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		_, err := lmdb.Open(path, lookup.Options{})
		require.ErrorIs(t, err, lmdb.ErrFormat)
	}
}

// TestReload has postmap write into a file while it is asked.
func TestReload(t *testing.T) {
	t.Parallel()
	p := newPostfix(t)
	text := func(n int) string {
		var b strings.Builder
		for i := range 2000 {
			fmt.Fprintf(&b, "key%d %d\n", i, n)
		}
		return b.String()
	}
	path := p.Make(t, "lmdb", "t", text(0), false)
	table, err := lmdb.Open(path+".lmdb", lookup.Options{Check: time.Nanosecond})
	require.NoError(t, err)
	for n := range 5 {
		p.Make(t, "lmdb", "t", text(n), false)
		require.Eventually(t, func() bool {
			value, ok, err := table.Lookup(t.Context(), "key777")
			require.NoError(t, err)
			require.True(t, ok)
			return value == fmt.Sprint(n)
		}, 10*time.Second, time.Millisecond)
	}
	require.NoError(t, os.WriteFile(path+".lmdb", []byte("garbage"), 0o644))
	require.ErrorIs(t, table.Reload(t.Context()), lmdb.ErrFormat)
	value, _, err := table.Lookup(t.Context(), "key777")
	require.NoError(t, err)
	assert.Equal(t, "4", value)
	require.ErrorIs(t, table.Status().Err, lmdb.ErrFormat)
}

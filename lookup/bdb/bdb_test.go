package bdb_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/bdb"
	"github.com/mtakit/mtakit/lookup/compiled"
	"github.com/mtakit/mtakit/lookup/internal/postfixtest"
	"github.com/mtakit/mtakit/lookup/tabletest"
)

var kinds = []string{"hash", "btree"}

// manyKeys are 100,000 lines, some with values that need pages of their own.
func manyKeys() (text string, keys []string) {
	var b strings.Builder
	for i := range 100_000 {
		key := fmt.Sprintf("User%d@example.org", i)
		size := i % 40
		switch {
		case i%5000 == 7:
			size = 30_000
		case i%5000 == 8:
			key = strings.Repeat("k", 6000) + key
		}
		fmt.Fprintf(&b, "%s value%d %s\n", key, i, strings.Repeat("x", size))
		keys = append(keys, key)
	}
	return b.String(), keys
}

// list returns what All yields as postmap -s prints it, sorted.
func list(t *testing.T, table *compiled.File) []string {
	t.Helper()
	var lines []string
	for e, err := range table.All() {
		require.NoError(t, err)
		lines = append(lines, e.Key+"\t"+e.Value+"\n")
		require.Equal(t, len(lines), e.Line)
	}
	slices.Sort(lines)
	return lines
}

func TestPostmap(t *testing.T) {
	t.Parallel()
	p := postfixtest.New(t, "postfix")
	text, _ := manyKeys()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			path := p.Make(t, kind, "many"+kind, text, false)
			table, err := bdb.Open(path+".db", lookup.Options{})
			require.NoError(t, err)
			want, _ := lookup.ParseHash(path, text, lookup.Options{})
			for e := range lookup.Entries(path, text) {
				value, ok, err := table.Lookup(t.Context(), e.Key)
				require.NoError(t, err)
				require.True(t, ok, e.Key)
				first, _, _ := want.Lookup(t.Context(), e.Key)
				require.Equal(t, first, value, e.Key)
				_, ok, err = table.Lookup(t.Context(), e.Key+"x")
				require.NoError(t, err)
				require.False(t, ok, e.Key)
			}
			require.Equal(t, p.List(t, kind, path), list(t, table))
			tabletest.Run(t, table, tabletest.Contents{
				Found:   map[string]string{"user41@example.org": "value41 x", "USER0@example.org": "value0"},
				Missing: []string{"user100000@example.org", "zz", "a"},
			})
		})
	}
}

func TestPostalias(t *testing.T) {
	t.Parallel()
	p := postfixtest.New(t, "postfix")
	for _, kind := range kinds {
		path := p.Make(t, kind, "aliases"+kind, "Postmaster: root\n\"two words\": \"|cmd x\", a@b\n", true)
		table, err := bdb.Open(path+".db", lookup.Options{})
		require.NoError(t, err)
		tabletest.Run(t, table, tabletest.Contents{
			Found:   map[string]string{"postmaster": "root", "two words": `"|cmd x", a@b`, "@": "@"},
			Missing: []string{"root", "YP_LAST_MODIFIED", "yp_master_name"},
		})
		keys := []string{"postmaster", "two words", "@", "root", "YP_LAST_MODIFIED"}
		want := p.Query(t, kind, path, keys)
		for _, key := range keys {
			value, _, err := table.Lookup(t.Context(), key)
			require.NoError(t, err)
			assert.Equal(t, want[key], value, "%s %s", kind, key)
		}
		assert.Equal(t, p.List(t, kind, path), list(t, table))
	}
}

// TestLoad reads what Berkeley DB's own program makes: of either byte order, with
// pages of any size, with keys that have no NUL.
func TestLoad(t *testing.T) {
	t.Parallel()
	load := postfixtest.Find(t, "db5.3_load", "db5.3-util")
	var b strings.Builder
	for i := range 3000 {
		size := i % 50
		if i%500 == 3 {
			size = 9000
		}
		fmt.Fprintf(&b, "%s%d\nv%d%s\n", strings.Repeat("k", i%300*(i%2)), i, i, strings.Repeat("y", size))
	}
	lines := strings.Split(b.String(), "\n")
	for _, kind := range kinds {
		for _, order := range []string{"1234", "4321"} {
			for _, size := range []string{"512", "4096", "65536"} {
				path := filepath.Join(t.TempDir(), "t.db")
				cmd := exec.CommandContext(t.Context(), load, "-T", "-t", kind, "-c", "db_lorder="+order, "-c", "db_pagesize="+size, path)
				cmd.Stdin = strings.NewReader(b.String())
				out, err := cmd.CombinedOutput()
				require.NoError(t, err, "%s", out)
				table, err := bdb.Open(path, lookup.Options{})
				require.NoError(t, err)
				for i := 0; i+1 < len(lines); i += 2 {
					value, ok, err := table.Lookup(t.Context(), lines[i])
					require.NoError(t, err, "%s %s %s", kind, order, size)
					require.True(t, ok, "%s %s %s: %s", kind, order, size, lines[i])
					require.Equal(t, lines[i+1], value)
				}
				require.Len(t, list(t, table), 3000)
			}
		}
	}
}

// TestAll lists what postmap lists when there was never anything, and when much was
// taken away again.
func TestAll(t *testing.T) {
	t.Parallel()
	p := postfixtest.New(t, "postfix")
	text, keys := manyKeys()
	for _, kind := range kinds {
		path := p.Make(t, kind, "none"+kind, "# nothing\n", false)
		table, err := bdb.Open(path+".db", lookup.Options{})
		require.NoError(t, err)
		require.Empty(t, list(t, table))

		path = p.Make(t, kind, "less"+kind, text, false)
		p.Delete(t, kind, path, keys[100:60_000])
		table, err = bdb.Open(path+".db", lookup.Options{})
		require.NoError(t, err)
		require.Equal(t, p.List(t, kind, path), list(t, table))
		for range table.All() {
			break
		}
	}
}

func TestFilesThatAreNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := bdb.Open(filepath.Join(dir, "absent"), lookup.Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = bdb.Open(dir, lookup.Options{})
	require.ErrorContains(t, err, "not a regular file")
	for _, text := range []string{"", "x", strings.Repeat("\x00", 4096), strings.Repeat("\x61\x15\x06\x00", 2000)} {
		path := filepath.Join(dir, "t")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		_, err := bdb.Open(path, lookup.Options{})
		require.ErrorIs(t, err, bdb.ErrFormat)
	}
}

// TestReload has postmap write into a file that is in use.
func TestReload(t *testing.T) {
	t.Parallel()
	p := postfixtest.New(t, "postfix")
	for _, kind := range kinds {
		path := p.Make(t, kind, "t"+kind, "a 1\n", false)
		table, err := bdb.Open(path+".db", lookup.Options{Check: time.Nanosecond})
		require.NoError(t, err)
		p.Make(t, kind, "t"+kind, "a 2\n", false)
		require.Eventually(t, func() bool {
			value, ok, err := table.Lookup(t.Context(), "a")
			require.NoError(t, err)
			require.True(t, ok)
			return value == "2"
		}, 10*time.Second, time.Millisecond)
		require.NoError(t, os.WriteFile(path+".db", []byte("garbage"), 0o644))
		require.ErrorIs(t, table.Reload(t.Context()), bdb.ErrFormat)
		value, _, err := table.Lookup(t.Context(), "a")
		require.NoError(t, err)
		assert.Equal(t, "2", value)
		require.ErrorIs(t, table.Status().Err, bdb.ErrFormat)
	}
}

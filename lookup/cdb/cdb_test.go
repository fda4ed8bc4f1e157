package cdb_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/cdb"
	"github.com/mtakit/mtakit/lookup/tabletest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// build makes a file of keys and values.
func build(t testing.TB, path string, pairs ...string) {
	w, err := cdb.Create(path)
	require.NoError(t, err)
	defer w.Discard()
	for i := 0; i < len(pairs); i += 2 {
		require.NoError(t, w.Put(pairs[i], pairs[i+1]))
	}
	require.NoError(t, w.Commit())
}

// program finds a program that Debian has.
func program(t *testing.T, name, debian string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	text := fmt.Sprintf("%s is absent: apt-get install --no-install-recommends %s", name, debian)
	if os.Getenv("MTAKIT_REQUIRE") == "all" {
		t.Fatal(text)
	}
	t.Skip(text)
	return ""
}

func TestTable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "table.cdb")
	build(t, path, "A@Example.org", "one", "b", "two", "empty", "", "gr\u00fc\u00dfe", "hello", strings.Repeat("long", 5000), strings.Repeat("v", 100_000))
	table, err := cdb.Open(path, lookup.Options{})
	require.NoError(t, err)
	tabletest.Run(t, table, tabletest.Contents{
		Found:   map[string]string{"a@example.org": "one", "B": "two", "empty": "", "GR\u00dcSSE": "hello", strings.Repeat("long", 5000): strings.Repeat("v", 100_000)},
		Missing: []string{"c", "a@example.or", "a@example.org "}})
	var keys []string
	for e, err := range table.All() {
		require.NoError(t, err)
		keys = append(keys, e.Key)
	}
	assert.Equal(t, []string{"a@example.org", "b", "empty", "gr\u00fcsse", strings.Repeat("long", 5000)}, keys)
	require.NoError(t, table.Close())
	_, _, err = table.Lookup(t.Context(), "b")
	require.ErrorIs(t, err, os.ErrClosed)
	require.ErrorIs(t, table.Reload(t.Context()), os.ErrClosed)
}

func TestEmptyTable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "empty.cdb")
	build(t, path)
	table, err := cdb.Open(path, lookup.Options{})
	require.NoError(t, err)
	_, ok, err := table.Lookup(t.Context(), "x")
	require.NoError(t, err)
	assert.False(t, ok)
	for range table.All() {
		assert.Fail(t, "a key in an empty file")
	}
}

func TestWriter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "table.cdb")
	build(t, path, "a", "old")
	require.NoError(t, os.Chmod(path, 0o640))
	w, err := cdb.Create(path)
	require.NoError(t, err)
	require.NoError(t, w.Put("a", "new"))
	require.ErrorIs(t, w.Put("A", "newer"), cdb.ErrDuplicate)
	require.Equal(t, 1, w.Len())
	require.NoError(t, w.Discard())
	require.NoError(t, w.Discard())
	require.Error(t, w.Put("b", "x"))
	require.Error(t, w.Commit())
	table, err := cdb.Open(path, lookup.Options{Check: -1})
	require.NoError(t, err)
	value, _, err := table.Lookup(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, "old", value)

	build(t, path, "a", "new")
	value, _, err = table.Lookup(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, "old", value, "nobody said that there is a new one")
	require.NoError(t, table.Reload(t.Context()))
	value, _, err = table.Lookup(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, "new", value)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)

	_, err = cdb.Create(filepath.Join(dir, "nowhere", "x"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = cdb.Open(filepath.Join(dir, "nowhere"), lookup.Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = cdb.Open(dir, lookup.Options{})
	require.ErrorIs(t, err, cdb.ErrDamaged)
}

// TestPeers has Postfix and tinycdb read what we write, and reads what they do.
func TestPeers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	postmap := program(t, "postmap", "postfix-cdb")
	tiny := program(t, "cdb", "tinycdb")
	conf := "compatibility_level = 3.6\nmail_owner = postfix\nsetgid_group = postdrop\nqueue_directory = " + dir + "\ndata_directory = " + dir + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.cf"), []byte(conf), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "master.cf"), nil, 0o600))

	var text, answers strings.Builder
	var pairs, keys []string
	for i := range 3000 {
		key, value := fmt.Sprintf("user%d@example.org", i*i), fmt.Sprint("value ", i)
		pairs, keys = append(pairs, key, value), append(keys, key)
		fmt.Fprintf(&text, "%s\t%s\n", key, value)
	}
	answers.WriteString(text.String())
	build(t, filepath.Join(dir, "ours.cdb"), pairs...)
	ask := exec.Command(postmap, "-c", dir, "-q", "-", "cdb:"+filepath.Join(dir, "ours"))
	ask.Stdin = strings.NewReader(strings.Join(keys, "\n") + "\nmissing\n")
	out, err := ask.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, answers.String(), string(out))
	out, err = exec.Command(tiny, "-d", "-m", filepath.Join(dir, "ours.cdb")).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Len(t, strings.Split(strings.TrimSpace(string(out)), "\n"), 3000)

	theirs := filepath.Join(dir, "theirs")
	require.NoError(t, os.WriteFile(theirs, []byte(text.String()), 0o600))
	out, err = exec.Command(postmap, "-c", dir, "cdb:"+theirs).CombinedOutput()
	require.NoError(t, err, "%s", out)
	// A file in which keys and values end with a NUL byte, as other programs make them.
	var input bytes.Buffer
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&input, "+%d,%d:%s\x00->%s\x00\n", len(pairs[i])+1, len(pairs[i+1])+1, pairs[i], pairs[i+1])
	}
	input.WriteString("\n")
	withNUL := exec.Command(tiny, "-c", filepath.Join(dir, "nul.cdb"))
	withNUL.Stdin = &input
	out, err = withNUL.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, name := range []string{"theirs.cdb", "nul.cdb"} {
		table, err := cdb.Open(filepath.Join(dir, name), lookup.Options{})
		require.NoError(t, err)
		for i := 0; i < len(pairs); i += 2 {
			value, ok, err := table.Lookup(t.Context(), pairs[i])
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, pairs[i+1], value)
		}
		n := 0
		for e, err := range table.All() {
			require.NoError(t, err)
			require.Equal(t, pairs[2*n], e.Key)
			require.Equal(t, pairs[2*n+1], e.Value)
			n++
		}
		require.Equal(t, 3000, n)
	}
}

// TestReplaced has the file replaced again and again under many readers: each sees
// one version or the next, whole.
func TestReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "table.cdb")
	version := func(n int) {
		pairs := make([]string, 0, 2000)
		for i := range 1000 {
			pairs = append(pairs, fmt.Sprint("key", i), fmt.Sprint("version ", n))
		}
		build(t, path, pairs...)
	}
	version(0)
	table, err := cdb.Open(path, lookup.Options{Check: time.Nanosecond})
	require.NoError(t, err)
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			last := -1
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				value, ok, err := table.Lookup(t.Context(), fmt.Sprint("key", i%1000))
				var n int
				_, scanErr := fmt.Sscanf(value, "version %d", &n)
				if !assert.NoError(t, err) || !assert.True(t, ok) || !assert.NoError(t, scanErr) || !assert.GreaterOrEqual(t, n, last) {
					return
				}
				last = n
			}
		})
	}
	for n := range 30 {
		version(n + 1)
	}
	close(stop)
	group.Wait()
	value, _, err := table.Lookup(t.Context(), "key1")
	require.NoError(t, err)
	require.Equal(t, "version 30", value)

	// A new version that is none leaves the last one in force.
	require.NoError(t, os.WriteFile(path+".bad", []byte("no database"), 0o600))
	require.NoError(t, os.Rename(path+".bad", path))
	require.ErrorIs(t, table.Reload(t.Context()), cdb.ErrDamaged)
	value, _, err = table.Lookup(t.Context(), "key1")
	require.NoError(t, err)
	require.Equal(t, "version 30", value)
}

// TestCutShort cuts a file off under the mapping: look-ups fail, and the process
// goes on.
func TestCutShort(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "table.cdb")
	var pairs []string
	for i := range 5000 {
		pairs = append(pairs, fmt.Sprint("key", i), strings.Repeat("v", 100))
	}
	build(t, path, pairs...)
	table, err := cdb.Open(path, lookup.Options{Check: -1})
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, 4096))
	failed := 0
	for i := range 5000 {
		_, ok, err := table.Lookup(t.Context(), fmt.Sprint("key", i))
		if err != nil {
			require.ErrorIs(t, err, cdb.ErrDamaged)
			failed++
		}
		require.False(t, ok && err != nil)
	}
	require.Greater(t, failed, 4900)
	for _, err := range table.All() {
		if err != nil {
			require.ErrorIs(t, err, cdb.ErrDamaged)
		}
	}
}

// TestCutWithinPage cuts files off at every byte under the mapping, also where the
// system has zeros for what is gone: no key that was there becomes a miss.
func TestCutWithinPage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "table.cdb")
	build(t, path, "a", "one", "b", "two", "c", "three")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for size := range len(whole) {
		path := filepath.Join(dir, fmt.Sprint(size))
		require.NoError(t, os.WriteFile(path, whole, 0o600))
		table, err := cdb.Open(path, lookup.Options{Check: -1})
		require.NoError(t, err)
		require.NoError(t, os.Truncate(path, int64(size)))
		var last error
		n := 0
		for _, err := range table.All() {
			last = err
			n++
		}
		require.True(t, n == 3 || last != nil, "%d of %d bytes", n, size)
		for key, want := range map[string]string{"a": "one", "b": "two", "c": "three"} {
			value, ok, err := table.Lookup(t.Context(), key)
			if err != nil {
				require.ErrorIs(t, err, cdb.ErrDamaged)
				continue
			}
			require.True(t, ok, "%s of %d bytes", key, size)
			require.Equal(t, want, value)
		}
		require.NoError(t, table.Close())
	}
}

// TestDamaged changes and cuts a file at every place: no look-up panics, and none
// finds what was not there.
func TestDamaged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "table.cdb")
	build(t, path, "a", "one", "b", "two", "c", "three")
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := range good {
		for _, b := range [][]byte{good[:i], append(append(bytes.Clone(good[:i]), good[i]^0xff), good[i+1:]...)} {
			bad := filepath.Join(t.TempDir(), "bad.cdb")
			require.NoError(t, os.WriteFile(bad, b, 0o600))
			table, err := cdb.Open(bad, lookup.Options{Check: -1})
			if err != nil {
				require.ErrorIs(t, err, cdb.ErrDamaged)
				continue
			}
			for _, key := range []string{"a", "b", "c", "d"} {
				_, _, err := table.Lookup(t.Context(), key)
				if err != nil {
					require.ErrorIs(t, err, cdb.ErrDamaged)
				}
			}
			n := 0
			for range table.All() {
				n++
			}
			require.Less(t, n, 1000)
			require.NoError(t, table.Close())
		}
	}
}

// TestNoDatabase has what is none take the place of a table in use.
func TestNoDatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "table.cdb")
	build(t, path, "a", "1")
	table, err := cdb.Open(path, lookup.Options{Check: -1})
	require.NoError(t, err)
	require.NoError(t, table.Status().Err)
	loaded := table.Status().Loaded
	for _, bad := range []string{strings.Repeat("text\n", 1000), strings.Repeat("\x00", 4096), "short"} {
		require.NoError(t, os.WriteFile(path+".bad", []byte(bad), 0o600))
		require.NoError(t, os.Rename(path+".bad", path))
		require.ErrorIs(t, table.Reload(t.Context()), cdb.ErrDamaged)
		require.ErrorIs(t, table.Status().Err, cdb.ErrDamaged)
		require.Equal(t, loaded, table.Status().Loaded)
		value, _, err := table.Lookup(t.Context(), "a")
		require.NoError(t, err)
		require.Equal(t, "1", value)
	}
}

// TestSameHash has keys of which two and two have one hash.
func TestSameHash(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "table.cdb")
	build(t, path, "ad2", "0", "afp", "1", "ad3", "2", "afq", "3")
	table, err := cdb.Open(path, lookup.Options{})
	require.NoError(t, err)
	tabletest.Run(t, table, tabletest.Contents{
		Found:   map[string]string{"ad2": "0", "afp": "1", "ad3": "2", "afq": "3"},
		Missing: []string{"ad0", "afr"}})
}

func FuzzTable(f *testing.F) {
	path := filepath.Join(f.TempDir(), "seed.cdb")
	build(f, path, "key", "value", "other", "x")
	seed, err := os.ReadFile(path)
	require.NoError(f, err)
	f.Add(seed, "key")
	f.Add(seed[:2048], "other")
	f.Fuzz(func(t *testing.T, b []byte, key string) {
		path := filepath.Join(t.TempDir(), "f.cdb")
		require.NoError(t, os.WriteFile(path, b, 0o600))
		table, err := cdb.Open(path, lookup.Options{Check: -1})
		if err != nil {
			return
		}
		defer table.Close()
		value, ok, err := table.Lookup(t.Context(), key)
		require.False(t, (!ok || err != nil) && value != "")
		n := 0
		for range table.All() {
			n++
		}
		require.LessOrEqual(t, n, len(b)/8+1)
	})
}

func million(b *testing.B) string {
	path := filepath.Join(b.TempDir(), "million.cdb")
	w, err := cdb.Create(path)
	require.NoError(b, err)
	for i := range 1_000_000 {
		require.NoError(b, w.Put(fmt.Sprintf("user%d@example.org", i), fmt.Sprint("user", i)))
	}
	require.NoError(b, w.Commit())
	return path
}

func BenchmarkOpen(b *testing.B) {
	path := million(b)
	b.ReportAllocs()
	for b.Loop() {
		table, err := cdb.Open(path, lookup.Options{})
		require.NoError(b, err)
		require.NoError(b, table.Close())
	}
}

func BenchmarkLookup(b *testing.B) {
	table, err := cdb.Open(million(b), lookup.Options{})
	require.NoError(b, err)
	keys := make([]string, 1<<16)
	for i := range keys {
		keys[i] = fmt.Sprintf("user%d@example.org", i*7919%1_000_000)
	}
	ctx := b.Context()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, ok, err := table.Lookup(ctx, keys[i&(1<<16-1)]); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func Example() {
	dir, _ := os.MkdirTemp("", "cdb")
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "virtual.cdb")
	w, err := cdb.Create(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer w.Discard()
	for e, err := range lookup.Entries("virtual", "info@example.org alice\nsales@example.org bob, carol\n") {
		if err == nil {
			err = w.Put(e.Key, e.Value)
		}
		if err != nil {
			fmt.Println(err)
		}
	}
	if err := w.Commit(); err != nil {
		fmt.Println(err)
		return
	}
	table, err := cdb.Open(path, lookup.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer table.Close()
	fmt.Println(table.Lookup(context.Background(), "Sales@example.org"))
	// Output: bob, carol true <nil>
}

package lookup_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/tabletest"
)

// writeFile writes a file that seems to have its contents for an hour and n
// seconds: what is only just written is looked at again.
func writeFile(t *testing.T, path, text string, n int) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	at := time.Now().Add(-time.Hour - time.Duration(n)*time.Second)
	require.NoError(t, os.Chtimes(path, at, at))
}

// writeNow writes a file that has just been written.
func writeNow(t *testing.T, path, text string) {
	t.Helper()
	writeFile(t, path, text, -3600)
}

func get(t *testing.T, table lookup.LookupTable, key string) string {
	t.Helper()
	value, ok, err := table.Lookup(t.Context(), key)
	require.NoError(t, err)
	if !ok {
		return "(none)"
	}
	return value
}

func TestFileReloads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access")
	synctest.Test(t, func(t *testing.T) {
		writeFile(t, path, "key one\n", 0)
		f, err := lookup.OpenHash(path, lookup.Options{})
		require.NoError(t, err)
		assert.Equal(t, "one", get(t, f, "key"))

		time.Sleep(time.Hour)
		writeNow(t, path, "key two\n")
		assert.Equal(t, "one", get(t, f, "key"), "the first look only notices the change")
		time.Sleep(999 * time.Millisecond)
		assert.Equal(t, "one", get(t, f, "key"), "no second look within a second")
		time.Sleep(2 * time.Millisecond)
		assert.Equal(t, "two", get(t, f, "key"))

		writeNow(t, path, "key three\n")
		time.Sleep(time.Hour)
		assert.Equal(t, "three", get(t, f, "key"), "what was written long ago needs no second look")
	})
}

// Whoever does not ask an empty table must see all the same when it is filled.
func TestFileEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "header_checks")
	synctest.Test(t, func(t *testing.T) {
		writeFile(t, path, "# nothing yet\n", 0)
		f, err := lookup.OpenRegexp(path, lookup.Options{})
		require.NoError(t, err)
		assert.True(t, f.Empty())

		writeFile(t, path, "/spam/ REJECT\n", 1)
		time.Sleep(1001 * time.Millisecond)
		assert.False(t, f.Empty())
	})
}

func TestFileThatIsBeingWrittenIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access")
	synctest.Test(t, func(t *testing.T) {
		writeFile(t, path, "key one\n", 0)
		f, err := lookup.OpenHash(path, lookup.Options{})
		require.NoError(t, err)
		for n := range 20 {
			time.Sleep(1100 * time.Millisecond)
			writeNow(t, path, strings.Repeat("# more\n", n)+"key half")
			assert.Equal(t, "one", get(t, f, "key"))
		}
		time.Sleep(1100 * time.Millisecond)
		assert.Equal(t, "half", get(t, f, "key"), "it has settled")
	})
}

func TestFileThatGoesAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access")
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		writeFile(t, path, "key one\n", 0)
		f, err := lookup.OpenHash(path, lookup.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		require.NoError(t, err)
		require.NoError(t, os.Remove(path))
		for range 5 {
			time.Sleep(1100 * time.Millisecond)
			assert.Equal(t, "one", get(t, f, "key"), "the old contents stay")
		}
		require.ErrorIs(t, f.Status().Err, os.ErrNotExist)
		assert.Equal(t, 1, strings.Count(log.String(), "cannot be read"), "logged once, not every second")
		require.ErrorIs(t, f.Reload(t.Context()), os.ErrNotExist)
		assert.Equal(t, "one", get(t, f, "key"))

		writeFile(t, path, "key two\n", 5)
		for range 3 {
			time.Sleep(1100 * time.Millisecond)
			get(t, f, "key")
		}
		assert.Equal(t, "two", get(t, f, "key"))
		require.NoError(t, f.Status().Err)
		assert.Contains(t, log.String(), "can be read again")
	})
}

// TestFileWrittenTwiceAtOnce: the second version has the time and the size of
// the first.
func TestFileWrittenTwiceAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access")
	now := time.Now().Add(time.Second) // the test is not slower than that file is fresh
	write := func(text string) {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		require.NoError(t, os.Chtimes(path, now, now))
	}
	write("key one\n")
	f, err := lookup.OpenHash(path, lookup.Options{Check: time.Nanosecond})
	require.NoError(t, err)
	write("key two\n")
	for range 3 {
		get(t, f, "key")
	}
	assert.Equal(t, "two", get(t, f, "key"))
}

func TestFileReloadAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access")
	writeFile(t, path, "key one\n", 0)
	f, err := lookup.OpenHash(path, lookup.Options{Check: -1})
	require.NoError(t, err)
	writeFile(t, path, "key two\nother 1\n", 1)
	assert.Equal(t, "one", get(t, f, "key"), "nobody looks by himself")
	gone := filepath.Join(t.TempDir(), "gone")
	writeFile(t, gone, "x y\n", 0)
	other, err := lookup.OpenHash(gone, lookup.Options{Check: -1})
	require.NoError(t, err)
	require.NoError(t, os.Remove(gone))
	require.ErrorIs(t, lookup.Files{other, f}.Reload(t.Context()), os.ErrNotExist)
	assert.Equal(t, "y", get(t, other, "x"))
	assert.Equal(t, "two", get(t, f, "key"))
	require.NoError(t, lookup.Files{f}.Reload(t.Context()))
	s := f.Status()
	assert.Equal(t, 2, s.Entries)
	assert.Equal(t, path, s.Path)
	assert.Empty(t, s.Problems)
	assert.Equal(t, "key two\nother 1\n", f.Text())
	assert.Equal(t, path, f.Path())
}

func TestOpenOfWhatIsNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "absent"), dir, "/dev/zero"} {
		_, err := lookup.OpenHash(path, lookup.Options{})
		require.Error(t, err)
		assert.Contains(t, err.Error(), path)
	}
}

// TestOpenOfWhatIsTooBig: the file takes no room on the disk.
func TestOpenOfWhatIsTooBig(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sparse")
	require.NoError(t, os.WriteFile(path, nil, 0o644))
	require.NoError(t, os.Truncate(path, lookup.MaxFile+1))
	_, err := lookup.OpenHash(path, lookup.Options{})
	require.ErrorContains(t, err, "larger than")
}

func TestFileLogsBadLines(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access")
	writeFile(t, path, "good OK\nbad\n\nworse\"x y\nlast OK\n", 0)
	var log bytes.Buffer
	f, err := lookup.OpenHash(path, lookup.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	assert.Equal(t, "OK", get(t, f, "good"))
	assert.Equal(t, "OK", get(t, f, "last"))
	assert.Contains(t, log.String(), "file="+path+` line=2 reason="key without a value, line skipped"`)
	assert.Contains(t, log.String(), "line=4 reason=\"unbalanced double quote, line skipped\"")
	require.Len(t, f.Status().Problems, 2)
	assert.Equal(t, path+":2: key without a value, line skipped", f.Status().Problems[0].Error())
}

func TestFileOfGarbage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "garbage")
	garbage := make([]byte, 1<<20)
	for i := range garbage {
		garbage[i] = byte(i*i + i>>8)
	}
	writeFile(t, path, string(garbage)+"\nkey value\n", 0)
	for name, open := range openers {
		f, err := open(path, lookup.Options{})
		require.NoError(t, err, name)
		get(t, f, "key")
		assert.LessOrEqual(t, len(f.Status().Problems), 101, name)
	}
}

func TestFileUnderLookups(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access")
	text := func(n int) string {
		var b strings.Builder
		for i := range 500 {
			fmt.Fprintf(&b, "key%d %d\n", i, n)
		}
		return b.String()
	}
	replace := func(n int) {
		writeFile(t, path+".new", text(n), n)
		require.NoError(t, os.Rename(path+".new", path))
	}
	replace(0)
	f, err := lookup.OpenHash(path, lookup.Options{Check: time.Nanosecond})
	require.NoError(t, err)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			last := 0
			for {
				select {
				case <-done:
					return
				default:
				}
				var n int
				value, ok, err := f.Lookup(t.Context(), "key499")
				_, scanErr := fmt.Sscan(value, &n)
				if !ok || err != nil || scanErr != nil || n < last {
					t.Errorf("got %q %v %v after %d", value, ok, err, last)
					return
				}
				last = n
			}
		})
	}
	for n := range 50 {
		replace(n + 1)
		if n%5 == 0 {
			require.NoError(t, f.Reload(t.Context()))
		}
	}
	close(done)
	wg.Wait()
	require.NoError(t, f.Reload(t.Context()))
	assert.Equal(t, "50", get(t, f, "key0"))
}

var openers = map[string]func(string, lookup.Options) (*lookup.File, error){
	"hash": lookup.OpenHash, "aliases": lookup.OpenAliases, "regexp": lookup.OpenRegexp,
	"cidr": lookup.OpenCIDR, "networks": lookup.OpenNetworks,
}

func TestFilesConform(t *testing.T) {
	t.Parallel()
	texts := map[string]struct {
		text string
		tabletest.Contents
	}{
		"hash": {"user@example.org 1\nexample.org two words\n", tabletest.Contents{
			Found: map[string]string{"user@example.org": "1", "USER@Example.org": "1", "example.org": "two words"}, Missing: []string{"user", "org"}}},
		"aliases": {"postmaster: root\n\"odd name\": x, y\n", tabletest.Contents{
			Found: map[string]string{"postmaster": "root", "Postmaster": "root", "odd name": "x, y"}, Missing: []string{"root", "postmaster:"}}},
		"regexp": {"/^a(.*)$/ <$1>\n", tabletest.Contents{
			Found: map[string]string{"abc": "<bc>", "A\xff": "<\xff>"}, Missing: []string{"b"}}},
		"cidr": {"192.0.2.0/24 doc\n", tabletest.Contents{
			Found: map[string]string{"192.0.2.7": "doc", "::ffff:192.0.2.7": "doc"}, Missing: []string{"192.0.3.1", "::1", "host.example"}}},
		"networks": {"!192.0.2.1\n192.0.2.0/24\n::1 six\n", tabletest.Contents{
			Found: map[string]string{"192.0.2.7": "OK", "::1": "six"}, Missing: []string{"192.0.2.1", "::ffff:192.0.2.1", "::2", "x"}}},
	}
	for name, c := range texts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), name)
			writeFile(t, path, c.text, 0)
			f, err := openers[name](path, lookup.Options{})
			require.NoError(t, err)
			tabletest.Run(t, f, c.Contents)
		})
	}
}

// A change is in force when it is two seconds old, wherever in between the
// lookups fall that look at the file.
func TestFileChangesWithinTwoSeconds(t *testing.T) {
	for _, wait := range []time.Duration{10 * time.Millisecond, 900 * time.Millisecond, 1990 * time.Millisecond} {
		path := filepath.Join(t.TempDir(), "access")
		synctest.Test(t, func(t *testing.T) {
			writeFile(t, path, "key one\n", 0)
			f, err := lookup.OpenHash(path, lookup.Options{})
			require.NoError(t, err)
			time.Sleep(time.Minute)
			writeNow(t, path, "key changed\n")
			time.Sleep(wait)
			assert.Equal(t, "one", get(t, f, "key"), "it may be being written")
			time.Sleep(2*time.Second - wait)
			assert.Equal(t, "changed", get(t, f, "key"), "looked at after %s", wait)
		})
	}
}

// What Inspect finds is told like what the table finds, at every version.
func TestFileInspect(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	inspect := func(file, text string) []error {
		if strings.Contains(text, "|") {
			return []error{&lookup.LineError{File: file, Line: 1, Reason: "no commands"}}
		}
		return nil
	}
	path := filepath.Join(t.TempDir(), "aliases")
	writeFile(t, path, "run: alice\n", 0)
	f, err := lookup.OpenAliases(path, lookup.Options{Inspect: inspect, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	assert.Empty(t, f.Status().Problems)
	writeFile(t, path, "run: |true\nno colon\n", 1)
	require.NoError(t, f.Reload(t.Context()))
	assert.Len(t, f.Status().Problems, 2)
	assert.Contains(t, log.String(), `file=`+path+` line=1 reason="no commands"`)
	assert.Equal(t, "|true", get(t, f, "run"))
}

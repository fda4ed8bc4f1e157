package compiled_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/compiled"
	"github.com/mtakit/mtakit/lookup/tabletest"
)

// pairs is the smallest format there is: "key=value|key=value".
type pairs string

func (p pairs) Get(key string) (string, bool, error) {
	if key == "broken" {
		return "", false, compiled.ErrFormat
	}
	for pair := range strings.SplitSeq(string(p), "|") {
		if k, v, _ := strings.Cut(pair, "="); k == key {
			return v, true, nil
		}
	}
	return "", false, nil
}

func open(file *os.File, size int64) (compiled.Version, error) {
	b, err := compiled.Read(file, size)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(string(b), "bad") {
		return nil, fmt.Errorf("%w: it says so", compiled.ErrFormat)
	}
	return pairs(b), nil
}

func write(t *testing.T, path, text string, written time.Time) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	require.NoError(t, os.Chtimes(path, written, written))
}

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "t")
	write(t, path, "a=1|b\x00=2\x00|c=3\x00x", time.Now())
	table, err := compiled.Open(path, open, lookup.Options{})
	require.NoError(t, err)
	assert.Equal(t, path, table.Path())
	tabletest.Run(t, table, tabletest.Contents{Found: map[string]string{"a": "1", "b": "2", "B": "2", "c": "3"}, Missing: []string{"b\x00", "d"}})
	_, ok, err := table.Lookup(t.Context(), "broken")
	require.ErrorIs(t, err, compiled.ErrFormat)
	require.ErrorContains(t, err, path)
	assert.False(t, ok)
}

// listed is pairs that can be listed.
type listed struct{ pairs }

func (l listed) All() iter.Seq2[lookup.Entry, error] {
	return func(yield func(lookup.Entry, error) bool) {
		for pair := range strings.SplitSeq(string(l.pairs), "|") {
			k, v, ok := strings.Cut(pair, "=")
			if !ok {
				yield(lookup.Entry{}, compiled.ErrFormat)
				return
			}
			if !yield(lookup.Entry{Key: k, Value: v}, nil) {
				return
			}
		}
	}
}

func openListed(file *os.File, size int64) (compiled.Version, error) {
	v, err := open(file, size)
	if err != nil {
		return nil, err
	}
	return listed{v.(pairs)}, nil
}

func TestAll(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "t")
	write(t, path, "A=1|b\x00=2\x00|\x00=|c=3\x00x|broken", time.Now())
	f, err := compiled.Open(path, openListed, lookup.Options{})
	require.NoError(t, err)
	var got []lookup.Entry
	for e, e2 := range f.All() {
		got = append(got, e)
		err = e2
	}
	assert.Equal(t, []lookup.Entry{{Key: "A", Value: "1", Line: 1}, {Key: "b", Value: "2", Line: 2}, {Line: 3}, {Key: "c", Value: "3", Line: 4}, {}}, got)
	require.ErrorIs(t, err, compiled.ErrFormat)
	require.ErrorContains(t, err, path)
	for e := range f.All() {
		assert.Equal(t, "A", e.Key)
		break
	}
	for _, err = range table(t, path, nil).All() {
		require.ErrorIs(t, err, errors.ErrUnsupported)
	}
	require.ErrorContains(t, err, path)
}

// TestFileChanges goes through the looks at a file in virtual time, in which files
// have whatever time they are given.
func TestFileChanges(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "t")
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "file" || a.Key == "error" {
				return slog.Attr{}
			}
			return a
		}}))
		write(t, path, "a=1", time.Now().Add(-time.Hour))
		f := table(t, path, logger)
		get := func() string {
			value, _, err := f.Lookup(t.Context(), "a")
			require.NoError(t, err)
			return value
		}
		assert.Equal(t, "1", get())

		write(t, path, "a=2", time.Now())
		time.Sleep(time.Second)
		assert.Equal(t, "1", get(), "it was written a second ago and may not be complete")
		time.Sleep(time.Second)
		assert.Equal(t, "2", get())

		write(t, path, "bad", time.Now().Add(-time.Minute))
		time.Sleep(time.Second)
		assert.Equal(t, "2", get())
		require.ErrorIs(t, f.Status().Err, compiled.ErrFormat)
		time.Sleep(time.Second)
		assert.Equal(t, "2", get())

		require.NoError(t, os.Remove(path))
		time.Sleep(time.Second)
		assert.Equal(t, "2", get())
		require.ErrorIs(t, f.Status().Err, os.ErrNotExist)

		write(t, path, "a=3", time.Now().Add(-time.Minute))
		assert.Equal(t, "2", get(), "nobody has looked")
		require.NoError(t, f.Reload(t.Context()))
		assert.Equal(t, "3", get())
		require.NoError(t, f.Status().Err)
		assert.Equal(t, time.Now(), f.Status().Loaded)
		assert.Equal(t, []string{
			`level=INFO msg="table opened" bytes=3`,
			`level=ERROR msg="table cannot be read, its last version stays in force"`,
			`level=ERROR msg="table cannot be read, its last version stays in force"`,
			`level=INFO msg="table opened" bytes=3`,
			`level=INFO msg="table can be read again"`,
		}, strings.Split(strings.TrimSpace(log.String()), "\n"))
	})
}

func table(t *testing.T, path string, logger *slog.Logger) *compiled.File {
	t.Helper()
	f, err := compiled.Open(path, open, lookup.Options{Logger: logger})
	require.NoError(t, err)
	return f
}

func TestUnsettled(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "t")
	write(t, path, "a=1", time.Now())
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		busy := func(file *os.File, size int64) (compiled.Version, error) {
			if tries++; tries < 3 {
				return nil, compiled.ErrUnsettled
			}
			return open(file, size)
		}
		_, err := compiled.Open(path, busy, lookup.Options{})
		require.NoError(t, err)
		assert.Equal(t, 3, tries)
		tries = -100 // it never ends
		f, err := compiled.Open(path, busy, lookup.Options{})
		require.ErrorIs(t, err, compiled.ErrUnsettled)
		assert.Nil(t, f)
	})
	f := table(t, path, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, f.Reload(ctx), "nothing to wait for")
	_, err := compiled.Open(path, func(*os.File, int64) (compiled.Version, error) {
		return nil, os.Truncate(path, 1)
	}, lookup.Options{})
	require.ErrorIs(t, err, compiled.ErrUnsettled, "it changes while it is read")
}

func TestOpenFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := compiled.Open(filepath.Join(dir, "absent"), open, lookup.Options{})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = compiled.Open(dir, open, lookup.Options{})
	require.ErrorContains(t, err, "not a regular file")
	own := errors.New("own")
	write(t, filepath.Join(dir, "t"), "", time.Now())
	_, err = compiled.Open(filepath.Join(dir, "t"), func(*os.File, int64) (compiled.Version, error) { return nil, own }, lookup.Options{})
	require.ErrorIs(t, err, own)
}

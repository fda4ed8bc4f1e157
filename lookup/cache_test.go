package lookup_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/tabletest"
)

// slow is a table that takes a second, counts who asks, and may be broken.
type slow struct {
	asked  atomic.Int64
	broken atomic.Bool
}

var errOutOfOrder = errors.New("broken")

func (s *slow) Lookup(ctx context.Context, key string) (string, bool, error) {
	s.asked.Add(1)
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return "", false, ctx.Err()
	}
	if s.broken.Load() {
		return "", false, errOutOfOrder
	}
	if strings.HasPrefix(key, "no") {
		return "", false, nil
	}
	return fmt.Sprint(key, " ", s.asked.Load()), true, nil
}

func TestCacheTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := new(slow)
		c := &lookup.Cache{Table: s, Positive: time.Minute, Negative: 10 * time.Second, Stale: time.Hour}
		is := func(key, want string, ok bool) {
			t.Helper()
			value, found, err := c.Lookup(t.Context(), key)
			require.NoError(t, err)
			require.Equal(t, want, value)
			require.Equal(t, ok, found)
		}
		is("a", "a 1", true)
		is("no", "", false)
		time.Sleep(8 * time.Second)
		is("a", "a 1", true)
		is("no", "", false)
		require.EqualValues(t, 2, s.asked.Load())
		time.Sleep(3 * time.Second)
		is("no", "", false)
		require.EqualValues(t, 3, s.asked.Load())
		time.Sleep(time.Minute)
		is("a", "a 4", true)

		// While the table is broken old answers are given, and nothing is made up.
		s.broken.Store(true)
		time.Sleep(2 * time.Minute)
		is("a", "a 4", true)
		is("no", "", false)
		_, _, err := c.Lookup(t.Context(), "new")
		require.ErrorIs(t, err, errOutOfOrder)
		time.Sleep(2 * time.Hour)
		_, ok, err := c.Lookup(t.Context(), "a")
		require.ErrorIs(t, err, errOutOfOrder)
		require.False(t, ok)
		s.broken.Store(false)
		is("a", fmt.Sprint("a ", s.asked.Load()+1), true)
		c.Forget()
		is("a", fmt.Sprint("a ", s.asked.Load()+1), true)
	})
}

// TestCacheOneQuestion has a thousand ask for one key, of whom some give up.
func TestCacheOneQuestion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := new(slow)
		c := &lookup.Cache{Table: s}
		impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var group sync.WaitGroup
		for i := range 1000 {
			group.Go(func() {
				ctx := t.Context()
				if i%2 == 0 {
					ctx = impatient
				}
				value, ok, err := c.Lookup(ctx, "a")
				if i%2 == 0 {
					assert.ErrorIs(t, err, context.DeadlineExceeded)
					return
				}
				assert.NoError(t, err)
				assert.True(t, ok)
				assert.Equal(t, "a 1", value)
			})
		}
		group.Wait()
		require.EqualValues(t, 1, s.asked.Load())

		// When all give up, so does the table, and who comes then asks anew.
		_, _, err := c.Lookup(impatient, "b")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		short, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer stop()
		_, _, err = c.Lookup(short, "b")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		value, _, err := c.Lookup(t.Context(), "b")
		require.NoError(t, err)
		require.Equal(t, "b 3", value)
	})
}

// TestCacheForgetsQuestions changes the table while it is asked: the old answer is for
// those who asked before.
func TestCacheForgetsQuestions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var value atomic.Value
		value.Store("old")
		c := &lookup.Cache{Table: lookup.LookupTableFunc(func(context.Context, string) (string, bool, error) {
			v := value.Load().(string)
			time.Sleep(time.Second)
			return v, true, nil
		})}
		var group sync.WaitGroup
		ask := func(want string) {
			group.Go(func() {
				got, ok, err := c.Lookup(t.Context(), "a")
				assert.NoError(t, err)
				assert.True(t, ok)
				assert.Equal(t, want, got)
			})
		}
		ask("old")
		synctest.Wait()
		value.Store("new")
		c.Forget()
		ask("new")
		group.Wait()
		ask("new")
		group.Wait()

		// So is that of a question that all have given up, and that goes on all the same.
		c.Forget()
		value.Store("old")
		ctx, cancel := context.WithCancel(t.Context())
		group.Go(func() { _, _, _ = c.Lookup(ctx, "a") })
		synctest.Wait()
		cancel()
		synctest.Wait()
		value.Store("new")
		time.Sleep(500 * time.Millisecond)
		ask("new")
		group.Wait()
		ask("new")
		group.Wait()
	})
}

// TestCachePanics has a table that panics, which is an error for all who wait.
func TestCachePanics(t *testing.T) {
	t.Parallel()
	good := true
	c := &lookup.Cache{Stale: time.Hour, Positive: time.Nanosecond, Table: lookup.LookupTableFunc(func(context.Context, string) (string, bool, error) {
		if !good {
			panic("at the disco")
		}
		return "value", true, nil
	})}
	value, _, err := c.Lookup(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, "value", value)
	good = false
	value, _, err = c.Lookup(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, "value", value, "the stale one")
	_, ok, err := c.Lookup(t.Context(), "b")
	require.ErrorContains(t, err, "at the disco")
	require.ErrorContains(t, err, "cache_test.go", "it says where")
	require.False(t, ok)
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	n := 0
	table := lookup.LookupTableFunc(func(_ context.Context, key string) (string, bool, error) {
		n++
		return strings.Repeat("v", 90), true, nil
	})
	for _, c := range []*lookup.Cache{{Table: table, Entries: 10}, {Table: table, Bytes: 1000}} {
		n = 0
		for i := range 10 {
			_, _, _ = c.Lookup(t.Context(), fmt.Sprint("k", i))
		}
		_, _, _ = c.Lookup(t.Context(), "k9")
		assert.Equal(t, 10, n)
		_, _, _ = c.Lookup(t.Context(), "k10") // k0 goes, for k0 was not used for the longest time
		_, _, _ = c.Lookup(t.Context(), "k1")
		assert.Equal(t, 11, n)
		_, _, _ = c.Lookup(t.Context(), "k0")
		assert.Equal(t, 12, n)
	}
	// What would fill it alone is not remembered.
	for _, c := range []*lookup.Cache{{Table: table, Bytes: 100}, {Table: table, Entries: -1}, {Table: table, Bytes: -1}} {
		n = 0
		for range 3 {
			_, ok, _ := c.Lookup(t.Context(), "k")
			assert.True(t, ok)
		}
		assert.Equal(t, 3, n)
	}
}

// TestCacheOfParts keeps parts of keys apart from keys.
func TestCacheOfParts(t *testing.T) {
	t.Parallel()
	text := "/./ pattern\n"
	rules, _ := lookup.ParseRegexp("f", text, lookup.Options{})
	c := &lookup.Cache{Table: lookup.Maps(rules, lookup.Inline{"other": "x"})}
	value, ok, err := c.Lookup(t.Context(), "a")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "pattern", value)
	_, ok, err = c.LookupPartial(t.Context(), "a")
	require.NoError(t, err)
	require.False(t, ok)
}

func TestWrappers(t *testing.T) {
	t.Parallel()
	hash, problems := lookup.ParseHash("f", "key value\nother v2\n", lookup.Options{})
	require.Empty(t, problems)
	rules, _ := lookup.ParseRegexp("f", "/^key$/ value\n/^other$/ v2\n", lookup.Options{})
	for _, inner := range []lookup.LookupTable{hash, rules} {
		contents := tabletest.Contents{Found: map[string]string{"key": "value", "OTHER": "v2"}, Missing: []string{"none"}}
		tabletest.Run(t, &lookup.Cache{Table: inner}, contents)
		tabletest.Run(t, lookup.Timeout{Table: inner}, contents)
		tabletest.Run(t, lookup.Folded{Table: inner}, contents)
		tabletest.Run(t, lookup.Log{Table: inner}, contents)
		tabletest.Run(t, lookup.Pipe(inner), contents)
	}
	synctest.Test(t, func(t *testing.T) {
		_, _, err := lookup.Timeout{Table: new(slow), Limit: time.Millisecond}.Lookup(t.Context(), "a")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		hidden := lookup.LookupTableFunc(func(ctx context.Context, _ string) (string, bool, error) {
			<-ctx.Done()
			return "", false, errOutOfOrder
		})
		_, _, err = lookup.Timeout{Table: hidden, Limit: time.Millisecond}.Lookup(t.Context(), "a")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, errOutOfOrder)
	})
}

package lookup_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/internal/servertest"
	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/internal/peertest"
	"github.com/mtakit/mtakit/lookup/internal/postfixtest"
	"github.com/mtakit/mtakit/lookup/tabletest"
)

// say sends commands of the memcached protocol, and returns all that comes back.
func say(t *testing.T, addr, commands string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte(commands + "quit\r\n"))
	require.NoError(t, err)
	var b strings.Builder
	buffer := make([]byte, 4096)
	for {
		n, err := c.Read(buffer)
		b.Write(buffer[:n])
		if err != nil {
			return b.String()
		}
	}
}

func TestMemcache(t *testing.T) {
	t.Parallel()
	s := servertest.Memcached(t)
	key, err := lookup.ParseTemplate("mail:%s")
	require.NoError(t, err)
	backup := inline("alice@example.org", "alice-box", "two words", "from the backup", strings.Repeat("x", 300), "long", "big", strings.Repeat("v", 20000))
	table := &lookup.Memcache{Remote: lookup.Remote{Address: s.Addr, Conns: 5}, Backup: backup, Key: key, TTL: time.Minute}
	defer table.Close()
	contents := tabletest.Contents{
		Found:   map[string]string{"alice@example.org": "alice-box", "two words": "from the backup", strings.Repeat("x", 300): "long"},
		Missing: []string{"bob@example.org", "x\r\nset y 0 0 1\r\n1\r\n", "a\x00b", strings.Repeat("y", 300)},
	}
	tabletest.Run(t, table, contents)
	assert.Contains(t, say(t, s.Addr, "get mail:alice@example.org\r\n"), "VALUE mail:alice@example.org 0 9\r\nalice-box\r\n", "it is kept now")
	assert.Equal(t, "END\r\n", say(t, s.Addr, "get y\r\n"), "no key is a command")
	v, ok, err := table.Lookup(t.Context(), "big")
	require.NoError(t, err)
	assert.True(t, ok && len(v) == 20000, "what the cache may not hold comes from the backup each time")

	// What the cache says counts, until it is gone.
	say(t, s.Addr, "set mail:alice@example.org 0 0 5\r\nother\r\n")
	v, _, err = table.Lookup(t.Context(), "ALICE@example.org")
	require.NoError(t, err)
	assert.Equal(t, "other", v)
	s.Kill()
	v, _, err = table.Lookup(t.Context(), "alice@example.org")
	require.NoError(t, err)
	assert.Equal(t, "alice-box", v)
	alone := &lookup.Memcache{Remote: lookup.Remote{Address: s.Addr}}
	defer alone.Close()
	_, ok, err = alone.Lookup(t.Context(), "alice@example.org")
	assert.Error(t, err)
	assert.False(t, ok)
	s.Start()
	_, ok, err = alone.Lookup(t.Context(), "alice@example.org")
	require.NoError(t, err, "it recovers by itself")
	assert.False(t, ok)
	tabletest.Run(t, table, contents)
}

func inline(pairs ...string) lookup.Inline {
	t := lookup.Inline{}
	for i := 0; i < len(pairs); i += 2 {
		t[pairs[i]] = pairs[i+1]
	}
	return t
}

// The server is killed under many lookups: they fail or have the right answer.
func TestMemcacheKilled(t *testing.T) {
	t.Parallel()
	s := servertest.Memcached(t)
	say(t, s.Addr, "set k 0 0 1\r\nv\r\n")
	table := &lookup.Memcache{Remote: lookup.Remote{Address: s.Addr, Conns: 7, Timeout: 10 * time.Second}, Pause: time.Millisecond}
	defer table.Close()
	var found, failed atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() {
			for failed.Load() == 0 && ctx.Err() == nil {
				v, ok, err := table.Lookup(ctx, "k")
				if err != nil {
					failed.Add(1)
					return
				}
				assert.True(t, ok, "a server that is alive has the key, and a dead one is no miss")
				assert.Equal(t, "v", v)
				if found.Add(1) == 2000 {
					s.Kill()
				}
			}
		})
	}
	group.Wait()
	assert.Positive(t, failed.Load())
}

func TestMemcacheConnections(t *testing.T) {
	t.Parallel()
	s := servertest.Memcached(t)
	table := &lookup.Memcache{Remote: lookup.Remote{Address: s.Addr, Conns: 3, Timeout: time.Minute}}
	defer table.Close()
	var group sync.WaitGroup
	for i := range 1000 {
		group.Go(func() {
			_, _, err := table.Lookup(t.Context(), fmt.Sprint("key", i))
			assert.NoError(t, err)
		})
	}
	group.Wait()
	stats := say(t, s.Addr, "stats\r\n")
	_, total, _ := strings.Cut(stats, "STAT total_connections ")
	total, _, _ = strings.Cut(total, "\r\n")
	var n int
	_, err := fmt.Sscan(total, &n)
	require.NoError(t, err, stats)
	assert.LessOrEqual(t, n, 3+10, "ours, the server's own, and those of this test")
}

func TestMemcacheHostile(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]string{
		"garbage":          "\x00\xff\r\n",
		"error":            "SERVER_ERROR out of memory\r\n",
		"another key":      "VALUE other 0 1\r\nv\r\nEND\r\n",
		"endless line":     strings.Repeat("x", 1<<16),
		"huge value":       "VALUE k 0 99999999999999999999\r\n",
		"large value":      "VALUE k 0 1000000\r\n",
		"negative":         "VALUE k 0 -1\r\n",
		"too long":         "VALUE k 0 1\r\nvvv\r\nEND\r\n",
		"cut":              "VALUE k 0 10\r\nv",
		"two values":       "VALUE k 0 1\r\nv\r\nVALUE k 0 1\r\nw\r\nEND\r\n",
		"two answers":      "END\r\nEND\r\n",
		"nothing":          "",
		"no end of a line": "END",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table := &lookup.Memcache{Remote: lookup.Remote{Address: peertest.Answer(t, reply, false)}, Tries: 1}
			_, ok, err := table.Lookup(t.Context(), "k")
			assert.Error(t, err)
			assert.False(t, ok)
			require.NoError(t, table.Close())
		})
	}
}

// A file means what it means to Postfix.
func TestMemcacheBesidePostmap(t *testing.T) {
	t.Parallel()
	p := postfixtest.New(t, "postfix")
	s := servertest.Memcached(t)
	say(t, s.Addr, "set alice@example.org 0 0 1\r\na\r\nset x:alice 0 0 1\r\nb\r\nset d:example.org 0 0 1\r\nc\r\nset org.example 0 0 1\r\nd\r\n"+
		"set k 0 0 11\r\ntwo words, \r\nset empty 0 0 0\r\n\r\n")
	keys := []string{"alice@example.org", "Alice@Example.ORG", "alice", "example.org", "@example.org", "bob@example.net", "k", "K", "empty", "a b", "a\tb"}
	dir := t.TempDir()
	beside := func(name string, texts ...string) {
		file := func(i int) string { return filepath.Join(dir, fmt.Sprintf("%s%d.cf", name, i)) }
		found, failed := make([]map[string]string, len(texts)), make([]map[string]error, len(texts))
		var asked sync.WaitGroup // postmap sleeps before it ends with an error
		for i, text := range texts {
			require.NoError(t, os.WriteFile(file(i), []byte("memcache = inet:"+s.Addr+"\n"+text+"\n"), 0o600))
			asked.Go(func() { found[i], failed[i] = p.AskAll(t, "memcache", file(i), keys) })
		}
		asked.Wait()
		for i, text := range texts {
			o := &lookup.Opener{Dirs: []string{dir}}
			table, err := o.Open(t.Context(), "memcache:"+file(i))
			require.NoError(t, err, text)
			for _, key := range keys {
				v, ok, err := table.Lookup(t.Context(), key)
				if failed[i][key] != nil {
					assert.Error(t, err, "%s: %q: %v", text, key, failed[i][key])
					continue
				}
				require.NoError(t, err, "%s: %q", text, key)
				want, wanted := found[i][key]
				// Postfix does not ask the backup for keys that the protocol cannot carry.
				if strings.ContainsAny(key, " \t") && strings.HasPrefix(text, "backup") {
					want, wanted = "from-backup", true
				}
				assert.Equal(t, wanted, ok, "%s: %q", text, key)
				assert.Equal(t, want, v, "%s: %q", text, key)
			}
			require.NoError(t, o.Close())
		}
	}
	beside("plain", "", "key_format = x:%u", "key_format = d:%d", "key_format = %1.%2", "domain = example.org", "key_format = 100%%",
		"max_try = 1\ntimeout = 3\nttl = 60\nflags = 3\nline_size_limit = 512\ndata_size_limit = 5000")
	beside("backup", "backup = static:from-backup") // Postfix leaves its values in memcached
	for _, text := range []string{"max_try = none", "ttl = -1", "key_format = %z", "memcache = inet:nowhere"} {
		cf := filepath.Join(dir, "bad.cf")
		require.NoError(t, os.WriteFile(cf, []byte(text+"\n"), 0o600))
		_, err := (&lookup.Opener{Dirs: []string{dir}}).Open(t.Context(), "memcache:"+cf)
		assert.Error(t, err, text)
	}
}

package redis

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mtakit/mtakit/internal/servertest"
	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/internal/peertest"
	"github.com/mtakit/mtakit/lookup/tabletest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start starts a server with some mailboxes, and returns a client that a test may use.
func start(t *testing.T) (*servertest.Server, *goredis.Client) {
	s := servertest.Redis(t)
	client := goredis.NewClient(&goredis.Options{Addr: s.Addr, Protocol: 2})
	t.Cleanup(func() { client.Close() })
	fill(t, client)
	return s, client
}

func fill(t *testing.T, client *goredis.Client) {
	t.Helper()
	ctx := t.Context()
	require.NoError(t, client.MSet(ctx, "alice@example.org", "alice-box", "mail:alice@example.org", "tagged",
		"two words", "spaced", "empty", "", strings.Repeat("k", 10000), "long").Err())
	require.NoError(t, client.HSet(ctx, "users:example.org", "alice", "a@b", "bob", "bob-box").Err())
	require.NoError(t, client.LPush(ctx, "list", "x").Err())
}

func open(t *testing.T, c Config) *Table {
	t.Helper()
	table, err := New(c)
	require.NoError(t, err)
	t.Cleanup(func() { table.Close() })
	return table
}

func TestTable(t *testing.T) {
	t.Parallel()
	s, client := start(t)
	hostile := []string{"x\r\nSET y 1\r\n", "$5\r\nhello\r\n", "a\x00b", "*", "bob@example.org", strings.Repeat("z", 100000)}
	for _, address := range []string{s.Addr, "unix:" + s.Socket} {
		tabletest.Run(t, open(t, Config{Servers: []string{address}, Timeout: time.Minute}), tabletest.Contents{
			Found:   map[string]string{"alice@example.org": "alice-box", "two words": "spaced", strings.Repeat("k", 10000): "long"},
			Missing: append(hostile, "empty"),
		})
	}
	assert.Zero(t, client.Exists(t.Context(), "y").Val(), "no key is a command")
	tabletest.Run(t, open(t, Config{Servers: []string{s.Addr}, Key: "%u", Hash: "users:%d", Result: "<%s>", Timeout: time.Minute}), tabletest.Contents{
		Found:   map[string]string{"alice@example.org": "<a@b>", "bob@example.org": "<bob-box>"},
		Missing: append(hostile[:4:4], "alice", "alice@example.net", "@example.org"),
	})
	tabletest.Run(t, open(t, Config{Clients: []goredis.Cmdable{client}, Key: "mail:%s", Domains: lookup.Inline{"example.org": ""}}), tabletest.Contents{
		Found: map[string]string{"alice@example.org": "tagged"}, Missing: []string{"alice@example.net", "alice", "@example.org"},
	})
	wrong := open(t, Config{Servers: []string{s.Addr}})
	_, ok, err := wrong.Lookup(t.Context(), "list")
	assert.ErrorContains(t, err, "WRONGTYPE")
	assert.False(t, ok)
	_, ok, err = wrong.Lookup(t.Context(), "alice@example.org")
	require.NoError(t, err, "the server is not to blame for that")
	assert.True(t, ok)
}

func TestPassword(t *testing.T) {
	t.Parallel()
	s, client := start(t)
	require.NoError(t, client.ConfigSet(t.Context(), "requirepass", "secret").Err())
	_, ok, err := open(t, Config{Servers: []string{s.Addr}}).Lookup(t.Context(), "alice@example.org")
	assert.ErrorContains(t, err, "NOAUTH")
	assert.False(t, ok)
	_, ok, err = open(t, Config{Servers: []string{s.Addr}, Password: "wrong"}).Lookup(t.Context(), "alice@example.org")
	assert.Error(t, err)
	assert.False(t, ok)
	v, _, err := open(t, Config{Servers: []string{s.Addr}, Password: "secret"}).Lookup(t.Context(), "alice@example.org")
	require.NoError(t, err)
	assert.Equal(t, "alice-box", v)
}

// A server is killed under 100 askers: no failure is a miss, the second server answers,
// and the first is used again when it is back.
func TestKill(t *testing.T) {
	t.Parallel()
	first, _ := start(t)
	second, _ := start(t)
	both := open(t, Config{Servers: []string{first.Addr, second.Addr}, Conns: 5, Retry: time.Nanosecond, Timeout: time.Minute})
	alone := open(t, Config{Servers: []string{first.Addr}, Conns: 5, Timeout: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var asked, failed atomic.Int64
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			for failed.Load() == 0 && ctx.Err() == nil {
				table := both
				if i%2 == 0 {
					table = alone
				}
				v, ok, err := table.Lookup(ctx, "alice@example.org")
				if err != nil {
					assert.Same(t, alone, table, "the second server is alive: %v", err)
					failed.Add(1)
					return
				}
				assert.True(t, ok)
				assert.Equal(t, "alice-box", v)
				if asked.Add(1) == 2000 {
					first.Kill()
				}
			}
		})
	}
	group.Wait()
	require.Positive(t, failed.Load())
	v, _, err := both.Lookup(t.Context(), "alice@example.org")
	require.NoError(t, err)
	assert.Equal(t, "alice-box", v)

	first.Start()
	require.Eventually(t, func() bool {
		_, ok, err := alone.Lookup(t.Context(), "alice@example.org")
		return err == nil && !ok // the server has forgotten all
	}, time.Minute, 50*time.Millisecond, "it recovers by itself")
	second.Kill()
	_, _, err = both.Lookup(t.Context(), "alice@example.org")
	assert.NoError(t, err)
}

func TestConnections(t *testing.T) {
	t.Parallel()
	s, client := start(t)
	table := open(t, Config{Servers: []string{s.Addr}, Conns: 3, Timeout: time.Minute})
	before := connections(t, client)
	var group sync.WaitGroup
	for range 1000 {
		group.Go(func() {
			v, _, err := table.Lookup(t.Context(), "alice@example.org")
			assert.NoError(t, err)
			assert.Equal(t, "alice-box", v)
		})
	}
	group.Wait()
	assert.LessOrEqual(t, connections(t, client)-before, 3)
}

// connections is how many the server has ever taken.
func connections(t *testing.T, client *goredis.Client) int {
	info := client.Info(t.Context(), "stats").Val()
	m := regexp.MustCompile(`total_connections_received:(\d+)`).FindStringSubmatch(info)
	require.NotNil(t, m, info)
	n, err := strconv.Atoi(m[1])
	require.NoError(t, err)
	return n
}

func TestHostile(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]string{
		"garbage":       "\x00\xff\x00",
		"error":         "-ERR go away\r\n",
		"loading":       "-LOADING wait\r\n",
		"cut":           "$10\r\nabc",
		"negative":      "$-2\r\n",
		"huge":          "$999999999999999999999\r\n",
		"an integer":    ":a\r\n",
		"nothing":       "",
		"nested arrays": strings.Repeat("*1\r\n", 1000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table, err := New(Config{Servers: []string{peertest.Answer(t, reply, false)}})
			require.NoError(t, err)
			_, ok, err := table.Lookup(t.Context(), "alice")
			assert.Error(t, err)
			assert.False(t, ok)
			require.NoError(t, table.Close())
		})
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	dir := t.TempDir()
	ask := func(text string) (lookup.LookupTable, error) {
		path := filepath.Join(dir, fmt.Sprintf("%x.cf", len(text)))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		o := &lookup.Opener{Types: map[string]lookup.OpenFunc{"redis": Open}, Dirs: []string{dir}}
		t.Cleanup(func() { o.Close() })
		return o.Open(t.Context(), "redis:"+path)
	}
	table, err := ask("hosts = unix:/no/such/socket, inet:" + s.Addr + "\ndbname = 0\nkey_format = %u\nhash_format = users:%d\ndomain = example.org\ntimeout = 60\n")
	require.NoError(t, err)
	v, ok, err := table.Lookup(t.Context(), "Bob@Example.org")
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, "bob-box", v)
	for _, bad := range []string{"dbname = mail", "timeout = -1", "key_format = %x", "hash_format = %", "tls = maybe", "tls = yes\ntls_ca_cert_file = /no/such/file"} {
		_, err := ask(bad)
		assert.Error(t, err, bad)
	}
}

func Example() {
	table, err := New(Config{Servers: []string{"unix:/run/redis/redis.sock"}, Hash: "mailboxes", Key: "%s"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer table.Close()
	_, ok, err := table.Lookup(context.Background(), "@example.org")
	fmt.Println(ok, err != nil)
	// Output: false true
}

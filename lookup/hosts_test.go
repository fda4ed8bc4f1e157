package lookup_test

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/internal/servertest"
	"github.com/mtakit/mtakit/lookup"
)

const (
	knownKey, knownValue = "ann@example.org", "example.org/ann/"
	unknownKey           = "nobody@example.org"
)

func mailTable(t testing.TB, db lookup.Querier, d lookup.Dialect, timeout time.Duration) *lookup.SQL {
	t.Helper()
	table, err := lookup.NewSQL(db, lookup.SQLQuery{Query: "SELECT maildir FROM passwd WHERE id='%s'", Dialect: d, Timeout: timeout})
	require.NoError(t, err)
	return table
}

// crowd asks a table from many goroutines until it is told to stop. It counts
// errors, and any answer that is not the right one fails the test.
type crowd struct {
	wg              sync.WaitGroup
	stop            atomic.Bool
	answers, errors atomic.Int64
}

func startCrowd(t *testing.T, table lookup.LookupTable) *crowd {
	var c crowd
	for i := range 100 {
		key, want := knownKey, knownValue
		if i%4 == 0 {
			key, want = unknownKey, ""
		}
		c.wg.Go(func() {
			for !c.stop.Load() {
				value, ok, err := table.Lookup(t.Context(), key)
				switch {
				case err != nil:
					c.errors.Add(1)
				case value != want || ok != (want != ""):
					t.Errorf("key %s: got %q, %v", key, value, ok)
				default:
					c.answers.Add(1)
				}
			}
		})
	}
	return &c
}

func (c *crowd) end() {
	c.stop.Store(true)
	c.wg.Wait()
}

// more waits until a counter has gone up by some.
func more(t *testing.T, counter *atomic.Int64) {
	t.Helper()
	from := counter.Load()
	require.Eventually(t, func() bool { return counter.Load() > from+200 }, time.Minute, time.Millisecond)
}

// TestHostsThatAreKilled kills servers while a hundred goroutines ask.
func TestHostsThatAreKilled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		dialect lookup.Dialect
		start   func(testing.TB) (*servertest.Server, *sql.DB)
		open    func(testing.TB, lookup.Host) *sql.DB
	}{
		{"MariaDB", lookup.MySQL, mailMariaDB, func(t testing.TB, h lookup.Host) *sql.DB { return mariaDBHost(t, h, "mail") }},
		{"PostgreSQL", lookup.PostgreSQL, mailPostgreSQL, postgreSQLHost},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			first, _ := c.start(t)
			second, _ := c.start(t)
			hosts := &lookup.SQLHosts{
				Hosts: []lookup.Host{portOf(t, first), portOf(t, second)}, MaxConns: 8, Retry: 100 * time.Millisecond,
				Open: func(_ context.Context, h lookup.Host) (*sql.DB, error) { return c.open(t, h), nil },
			}
			defer hosts.Close()
			testKilledHosts(t, mailTable(t, hosts, c.dialect, 0), first, second)
		})
	}
}

func testKilledHosts(t *testing.T, table lookup.LookupTable, first, second *servertest.Server) {
	crowd := startCrowd(t, table)
	defer crowd.end()
	more(t, &crowd.answers)
	first.Kill()
	more(t, &crowd.answers)
	assert.Zero(t, crowd.errors.Load(), "the second host has all the answers")
	second.Kill()
	more(t, &crowd.errors)
	first.Start()
	more(t, &crowd.answers)
	second.Start()
	more(t, &crowd.answers)
	first.Kill()
	more(t, &crowd.answers)
}

// TestHostThatIsKilled has one host only, which is asked whenever somebody asks.
func TestHostThatIsKilled(t *testing.T) {
	t.Parallel()
	server, _ := mailMariaDB(t)
	hosts := &lookup.SQLHosts{
		Hosts: []lookup.Host{socketOf(server)}, MaxConns: 8,
		Open: func(_ context.Context, h lookup.Host) (*sql.DB, error) { return mariaDBHost(t, h, "mail"), nil },
	}
	defer hosts.Close()
	table := mailTable(t, hosts, lookup.MySQL, 0)
	crowd := startCrowd(t, table)
	defer crowd.end()
	more(t, &crowd.answers)
	server.Kill()
	more(t, &crowd.errors)
	server.Start()
	assert.Equal(t, knownValue, get(t, table, knownKey), "nobody waits for the end of an interval")
	crowd.end()
	require.NoError(t, hosts.Close())
	_, ok, err := table.Lookup(t.Context(), knownKey)
	require.ErrorContains(t, err, "closed")
	assert.False(t, ok)
}

// TestHostThatHangs stops a server that goes on to accept connections.
func TestHostThatHangs(t *testing.T) {
	t.Parallel()
	first, _ := mailMariaDB(t)
	second, _ := mailMariaDB(t)
	var log bytes.Buffer
	hosts := &lookup.SQLHosts{
		Hosts: []lookup.Host{portOf(t, second), socketOf(first)}, Retry: 200 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Open:   func(_ context.Context, h lookup.Host) (*sql.DB, error) { return mariaDBHost(t, h, "mail"), nil },
	}
	defer hosts.Close()
	table := mailTable(t, hosts, lookup.MySQL, 2*time.Second)
	whichOne, err := lookup.NewSQL(hosts, lookup.SQLQuery{Query: "SELECT @@port FROM DUAL WHERE '%s' <> ''", Timeout: 2 * time.Second})
	require.NoError(t, err)
	assert.Equal(t, portOf(t, first).Port, get(t, whichOne, "x"), "the socket is preferred")
	first.Signal(syscall.SIGSTOP)
	defer first.Signal(syscall.SIGCONT)
	assert.Equal(t, knownValue, get(t, table, knownKey))
	assert.Equal(t, portOf(t, second).Port, get(t, whichOne, "x"), "the socket is left alone")
	first.Signal(syscall.SIGCONT)
	require.Eventually(t, func() bool { return get(t, whichOne, "x") == portOf(t, first).Port }, time.Minute, 20*time.Millisecond)
	assert.Contains(t, log.String(), "sql host has failed")
	assert.Contains(t, log.String(), "sql host is back")
}

// TestHostsThatDiffer has a table on the second host only. A host that answers
// with an error is not left alone.
func TestHostsThatDiffer(t *testing.T) {
	t.Parallel()
	first := servertest.MariaDB(t)
	second, _ := mailMariaDB(t)
	hosts := &lookup.SQLHosts{
		Hosts: []lookup.Host{socketOf(first), portOf(t, second)}, Retry: time.Hour,
		Open: func(_ context.Context, h lookup.Host) (*sql.DB, error) { return mariaDBHost(t, h, ""), nil },
	}
	defer hosts.Close()
	table, err := lookup.NewSQL(hosts, lookup.SQLQuery{Query: "SELECT maildir FROM mail.passwd WHERE id='%s'"})
	require.NoError(t, err)
	assert.Equal(t, knownValue, get(t, table, knownKey))
	wrong, err := lookup.NewSQL(hosts, lookup.SQLQuery{Query: "SELECT nothing FROM nowhere.at_all WHERE x='%s'"})
	require.NoError(t, err)
	_, ok, err := wrong.Lookup(t.Context(), knownKey)
	require.ErrorContains(t, err, "unix:")
	require.ErrorContains(t, err, "inet:", "both have been asked")
	assert.False(t, ok)
	_, ok, err = wrong.Lookup(t.Context(), knownKey)
	require.ErrorContains(t, err, "nowhere", "they are asked again")
	assert.False(t, ok)
	assert.Equal(t, knownValue, get(t, table, knownKey))
	limited, err := lookup.NewSQL(hosts, lookup.SQLQuery{Query: "SELECT maildir, uid FROM mail.passwd WHERE id='%s'", Limit: 1})
	require.NoError(t, err)
	_, _, err = limited.Lookup(t.Context(), knownKey)
	require.ErrorIs(t, err, lookup.ErrExpansionLimit)
}

// answering is a host in a bubble of virtual time, where no sockets are.
type answering struct {
	driver.Conn
	name            string
	down            *atomic.Bool
	connects, asked *atomic.Int64 // calls of Connect, and of anything
}

var errDown = errors.New("the host is down")

func (a answering) Connect(context.Context) (driver.Conn, error) {
	a.connects.Add(1)
	a.asked.Add(1)
	if a.down.Load() {
		return nil, errDown
	}
	return a, nil
}
func (answering) Driver() driver.Driver { return nil }
func (answering) Close() error          { return nil }
func (a answering) Ping(context.Context) error {
	a.asked.Add(1)
	if a.down.Load() {
		return errDown
	}
	return nil
}

func (a answering) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	a.asked.Add(1)
	if a.down.Load() {
		return nil, errDown
	}
	return &oneRow{value: a.name}, nil
}

type oneRow struct {
	value string
	read  bool
}

func (*oneRow) Columns() []string { return []string{"a"} }
func (*oneRow) Close() error      { return nil }
func (r *oneRow) Next(dest []driver.Value) error {
	if r.read {
		return io.EOF
	}
	dest[0], r.read = r.value, true
	return nil
}

// bubble is SQLHosts of hosts that are not there.
func bubble(names ...string) (*lookup.SQLHosts, map[string]answering) {
	all := map[string]answering{}
	hosts := &lookup.SQLHosts{Open: func(_ context.Context, h lookup.Host) (*sql.DB, error) {
		return sql.OpenDB(all[h.Address]), nil
	}}
	for _, name := range names {
		network := "tcp"
		if name[0] == '/' {
			network = "unix"
		}
		hosts.Hosts = append(hosts.Hosts, lookup.Host{Network: network, Address: name})
		all[name] = answering{name: name, down: new(atomic.Bool), connects: new(atomic.Int64), asked: new(atomic.Int64)}
	}
	return hosts, all
}

func TestHostsRetryInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hosts, all := bubble("db1", "/socket")
		defer hosts.Close()
		table := mailTable(t, hosts, lookup.SQLite, 0)
		socket := all["/socket"]
		assert.Equal(t, "/socket", get(t, table, "x"))
		socket.down.Store(true)
		assert.Equal(t, "db1", get(t, table, "x"))
		asked := socket.asked.Load()
		time.Sleep(59 * time.Second)
		assert.Equal(t, "db1", get(t, table, "x"))
		assert.Equal(t, asked, socket.asked.Load(), "it is left alone for a minute")
		time.Sleep(2 * time.Second)
		assert.Equal(t, "db1", get(t, table, "x"))
		assert.Greater(t, socket.asked.Load(), asked, "and tried again then")
		socket.down.Store(false)
		assert.Equal(t, "db1", get(t, table, "x"), "for another minute")
		time.Sleep(time.Minute)
		assert.Equal(t, "/socket", get(t, table, "x"))
	})
}

func TestHostsThatAreAllDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hosts, all := bubble("db1", "db2", "db3")
		defer hosts.Close()
		table := mailTable(t, hosts, lookup.SQLite, 0)
		for _, h := range all {
			h.down.Store(true)
		}
		for range 3 {
			_, ok, err := table.Lookup(t.Context(), "x")
			require.ErrorIs(t, err, errDown)
			assert.False(t, ok)
		}
		for name, h := range all {
			assert.EqualValues(t, 2, h.asked.Load(), "%s: a query, a ping, and then it is left alone", name)
			h.down.Store(false)
		}
		time.Sleep(time.Minute)
		assert.Contains(t, all, get(t, table, "x"))
	})
}

func TestHostsOfAKindShareTheWork(t *testing.T) {
	t.Parallel()
	hosts, _ := bubble("db1", "/a", "/b", "db2")
	defer hosts.Close()
	table := mailTable(t, hosts, lookup.SQLite, 0)
	answers := map[string]int{}
	for range 200 {
		answers[get(t, table, "x")]++
	}
	assert.Len(t, answers, 2)
	assert.Greater(t, answers["/a"], 50)
	assert.Greater(t, answers["/b"], 50)
}

func TestHostsIdleInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hosts, all := bubble("db1")
		defer hosts.Close()
		hosts.Idle = 30 * time.Second
		table := mailTable(t, hosts, lookup.SQLite, 0)
		for range 5 {
			assert.Equal(t, "db1", get(t, table, "x"))
			time.Sleep(20 * time.Second)
		}
		assert.EqualValues(t, 1, all["db1"].connects.Load(), "one connection has served all")
		time.Sleep(time.Minute)
		assert.Equal(t, "db1", get(t, table, "x"))
		assert.EqualValues(t, 2, all["db1"].connects.Load())
	})
}

func TestHostsThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	for reason, hosts := range map[string]*lookup.SQLHosts{
		"no hosts":        {},
		"nothing that":    {Hosts: []lookup.Host{{Network: "tcp", Address: "db"}}},
		"it is not here":  {Hosts: make([]lookup.Host, 1), Open: openNothing},
		"it is not here ": {Hosts: make([]lookup.Host, 3), Open: openNothing},
	} {
		_, ok, err := mailTable(t, hosts, lookup.MySQL, 0).Lookup(t.Context(), "x")
		require.ErrorContains(t, err, reason[:len(reason)-1])
		assert.NotContains(t, err.Error(), "\n", "the same is said once")
		assert.False(t, ok)
		require.NoError(t, hosts.Close())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	hosts, all := bubble("db1", "db2")
	defer hosts.Close()
	_, _, err := mailTable(t, hosts, lookup.MySQL, 0).Lookup(ctx, "x")
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, all["db1"].asked.Load()+all["db2"].asked.Load())
	assert.NotEmpty(t, get(t, mailTable(t, hosts, lookup.MySQL, 0), "x"), "who gives up takes no host away from others")
}

func openNothing(context.Context, lookup.Host) (*sql.DB, error) {
	return nil, errors.New("it is not here")
}

package lookup_test

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
)

func readConfig(t *testing.T, name string) *lookup.Config {
	t.Helper()
	c, err := lookup.ReadConfig(filepath.Join("testdata", name))
	require.NoError(t, err)
	return c
}

func TestConfigOfGuides(t *testing.T) {
	t.Parallel()
	c := readConfig(t, "mysql-virtual-mailbox-domains.cf")
	assert.Equal(t, "mailuser", c.User)
	assert.Equal(t, "se=cret#$1", c.Password)
	assert.Equal(t, "mailserver", c.DBName)
	assert.Equal(t, []lookup.Host{{Network: "tcp", Address: "127.0.0.1"}}, c.Hosts)
	assert.Equal(t, "SELECT 1 FROM virtual_domains WHERE name='%s'", c.Query)
	assert.NotContains(t, c.String(), "se=cret")

	c = readConfig(t, "mysql-virtual-alias-maps.cf")
	assert.Equal(t, []lookup.Host{
		{Network: "unix", Address: "/run/mysqld/mysqld.sock"},
		{Network: "tcp", Address: "db2.example.org", Port: "3307"},
		{Network: "tcp", Address: "2001:db8::1", Port: "3308"},
		{Network: "tcp", Address: "db3.example.org"},
	}, c.Hosts)
	assert.Equal(t, c.Hosts[0], c.Preferred())
	assert.Equal(t, "SELECT destination FROM virtual_aliases           WHERE source='%s'", c.Query)
	assert.Equal(t, []string{"example.org", "example.net"}, c.Domains)
	assert.Equal(t, 100, c.ExpansionLimit)
	assert.Equal(t, "latin1", c.Params["charset"])

	c = readConfig(t, "mysql_virt.cf")
	assert.Equal(t, "SELECT maildir FROM passwd WHERE id = '%s' and uid > 999 and home <> ''", c.Query)
	assert.Equal(t, []lookup.Host{{Network: "unix"}}, c.Hosts)
	assert.Equal(t, "SELECT uid FROM passwd WHERE id = '%s'", readConfig(t, "ids.cf").Query)
	assert.Equal(t, "SELECT gid FROM passwd WHERE id = '%s'", readConfig(t, "gids.cf").Query)
}

func TestConfigAsTable(t *testing.T) {
	t.Parallel()
	db := openSQLite(t)
	fill(t, db, lookup.SQLite)
	for name, want := range map[string]string{"mysql_virt.cf": "example.org/ann/", "ids.cf": "5000", "gids.cf": "5001"} {
		table, err := readConfig(t, name).SQL(db, lookup.SQLite)
		require.NoError(t, err)
		assert.Equal(t, want, get(t, table, "ann@example.org"))
		assert.Equal(t, "(none)", get(t, table, "nobody@example.org"))
	}
	testConfigDomains(t, db)
}

func testConfigDomains(t *testing.T, db *sql.DB) {
	c, err := lookup.ParseConfig("x.cf", "query = SELECT 'yes,' || '%d'\ndomain = Example.ORG\nhosts = x\n")
	require.NoError(t, err)
	table, err := c.SQL(db, lookup.SQLite)
	require.NoError(t, err)
	assert.Equal(t, "yes,example.org", get(t, table, "ann@example.org"))
	assert.Equal(t, "(none)", get(t, table, "ann@example.net"))
	c.Domains = []string{"hash:/etc/postfix/domains"}
	_, err = c.SQL(db, lookup.SQLite)
	require.ErrorContains(t, err, "is no domain name")
	c.Domains, c.Query = nil, "'%s"
	_, err = c.SQL(db, lookup.SQLite)
	require.ErrorContains(t, err, "x.cf")
}

func TestConfigHosts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]lookup.Host{
		"":                 {{Network: "unix"}},
		"localhost":        {{Network: "unix"}},
		"localhost:3306":   {{Network: "tcp", Address: "localhost", Port: "3306"}},
		"inet:[::1]":       {{Network: "tcp", Address: "::1"}},
		"inet:2001:db8::1": {{Network: "tcp", Address: "2001:db8::1"}},
		"unix:/a b":        {{Network: "unix", Address: "/a"}, {Network: "tcp", Address: "b"}},
		"postgresql://u:secret@db:5432/mail?sslmode=require": {{Network: "uri", Address: "postgresql://u:secret@db:5432/mail?sslmode=require"}},
		"inet:db.example.org:123":                            {{Network: "tcp", Address: "db.example.org", Port: "123"}},
	} {
		c, err := lookup.ParseConfig("x.cf", "query = SELECT 1\nhosts = "+text)
		require.NoError(t, err, text)
		assert.Equal(t, want, c.Hosts, text)
	}
}

func TestConfigHostsOfDrivers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][3]string{ // network, address, String
		"localhost":             {"unix", "/run/db", "localhost"},
		"unix:/x":               {"unix", "/x", "unix:/x"},
		"db":                    {"tcp", "db:3306", "inet:db"},
		"inet:db:1":             {"tcp", "db:1", "inet:db:1"},
		"[2001:db8::1]:3308":    {"tcp", "[2001:db8::1]:3308", "inet:[2001:db8::1]:3308"},
		"inet:2001:db8::1":      {"tcp", "[2001:db8::1]:3306", "inet:2001:db8::1"},
		"postgres://u:pw@db/n":  {"uri", "postgres://u:pw@db/n", "postgres://db/n"},
		"postgres://u:pw@db/%x": {"uri", "postgres://u:pw@db/%x", "uri"},
	} {
		c, err := lookup.ParseConfig("x.cf", "query = SELECT 1\nhosts = "+text)
		require.NoError(t, err, text)
		network, address := c.Hosts[0].Endpoint("/run/db", "3306")
		assert.Equal(t, want, [3]string{network, address, c.Hosts[0].String()}, text)
	}
	c, err := lookup.ParseConfig("x.cf", "query = SELECT 1\nhosts = unix:/x localhost inet:localhost\nretry_interval = 5\nidle_interval = 7\n")
	require.NoError(t, err)
	hosts := c.SQLHosts(lookup.PostgreSQL, nil)
	named := lookup.Host{Network: "tcp", Address: "localhost"}
	assert.Equal(t, []lookup.Host{{Network: "unix", Address: "/x"}, named, named}, hosts.Hosts, "to PostgreSQL it is a name")
	assert.Equal(t, 5*time.Second, hosts.Retry)
	assert.Equal(t, 7*time.Second, hosts.Idle)
	assert.Equal(t, c.Hosts, c.SQLHosts(lookup.MySQL, nil).Hosts)
	assert.Equal(t, lookup.Host{Network: "unix"}, c.Hosts[1])
}

func TestConfigDomainTable(t *testing.T) {
	t.Parallel()
	c, err := lookup.ParseConfig("x.cf", "query = SELECT 1\nrequire_result_set = no\ndomain = !not.example.org !!twice.example, hash:/d !hash:/no Example.ORG /broken late.example\n")
	require.NoError(t, err)
	assert.True(t, c.SQLQuery(lookup.MySQL).NoResultSet)
	table, err := c.DomainTable(func(reference string) (lookup.LookupTable, error) {
		switch reference {
		case "hash:/d":
			return lookup.Inline{"in.example": "", "not.example.org": "x"}, nil
		case "hash:/no":
			return lookup.Inline{"example.org": "x", "out.example": "x"}, nil
		case "/broken":
			return broken, nil
		}
		return nil, errBroken
	})
	require.NoError(t, err)
	for domain, want := range map[string]bool{"not.example.org": false, "twice.example": true, "in.example": true, "example.org": false, "out.example": false} {
		_, ok, err := table.Lookup(t.Context(), domain)
		require.NoError(t, err, domain)
		assert.Equal(t, want, ok, domain)
	}
	_, ok, err := table.Lookup(t.Context(), "late.example")
	require.ErrorIs(t, err, errBroken, "who stands behind a broken table is not asked")
	assert.False(t, ok)

	_, err = c.DomainTable(func(string) (lookup.LookupTable, error) { return nil, errBroken })
	require.ErrorIs(t, err, errBroken)
	c.Domains = []string{"!"}
	_, err = c.DomainTable(nil)
	require.ErrorContains(t, err, "is no domain name")
	c.Domains = nil
	none, err := c.DomainTable(nil)
	require.NoError(t, err)
	assert.Nil(t, none)
}

func TestConfigsThatAreWrong(t *testing.T) {
	t.Parallel()
	for text, reason := range map[string]string{
		"user = x\n":                               "neither query nor table",
		"table = x\nselect_field = y\n":            "neither query nor where_field",
		"query = x\nnonsense\n":                    `x.cf:2: expected "name = value"`,
		"query = x\n= y\n":                         `x.cf:2: expected "name = value"`,
		"query = x\nexpansion_limit = many":        "bad expansion_limit",
		"query = x\nexpansion_limit = -1":          "bad expansion_limit",
		"query = x\nrequire_result_set = maybe":    "bad require_result_set",
		"query = x\nretry_interval = soon":         "bad retry_interval",
		"query = x\nidle_interval = 0":             "bad idle_interval",
		"query = x\nhosts = unix:":                 "bad host",
		"query = x\nhosts = db:port":               "bad port",
		"query = x\nhosts = db:99999":              "bad port",
		"query = x\nhosts = inet:":                 "bad host",
		" query = x\nselect_function = f\nhosts =": "x.cf:1: a logical line must not start with white space",
	} {
		_, err := lookup.ParseConfig("x.cf", text)
		require.ErrorContains(t, err, reason)
	}
	c, err := lookup.ParseConfig("x.cf", "select_function = find\n")
	require.NoError(t, err)
	assert.Equal(t, "SELECT find('%s')", c.Query)
	_, err = lookup.ReadConfig(filepath.Join(t.TempDir(), "absent.cf"))
	require.Error(t, err)
}

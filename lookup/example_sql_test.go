package lookup_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-sql-driver/mysql"

	"github.com/mtakit/mtakit/lookup"
)

const virtualConfig = `
hosts = inet:db2.example.org unix:/run/db1/db.sock
query = SELECT maildir FROM passwd WHERE id = '%s'
`

// One database on two hosts, of which the preferred one is down. The hosts are
// files of SQLite here, so that the example runs.
func ExampleSQLHosts() {
	dir, err := os.MkdirTemp("", "lookup")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	config, err := lookup.ParseConfig("virtual.cf", virtualConfig)
	if err != nil {
		fmt.Println(err)
		return
	}
	hosts := config.SQLHosts(lookup.SQLite, func(ctx context.Context, h lookup.Host) (*sql.DB, error) {
		fmt.Println("opening", h)
		if h.Network == "unix" {
			return nil, errors.New("connection refused")
		}
		db, err := sql.Open("sqlite", filepath.Join(dir, "mail.db"))
		if err == nil {
			_, err = db.ExecContext(ctx, "CREATE TABLE passwd AS SELECT 'ann@example.org' AS id, 'ann/' AS maildir")
		}
		return db, err
	})
	defer hosts.Close()
	table, err := config.SQL(hosts, lookup.SQLite)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, key := range []string{"ann@example.org", "' OR '1'='1"} {
		value, ok, err := table.Lookup(context.Background(), key)
		fmt.Printf("%s: %q %v %v\n", key, value, ok, err)
	}
	// Output:
	// opening unix:/run/db1/db.sock
	// opening inet:db2.example.org
	// ann@example.org: "ann/" true <nil>
	// ' OR '1'='1: "" false <nil>
}

// The databases of an Opener's mysql: tables, with the driver of go-sql-driver.
func ExampleConfig_SQLHosts() {
	connect := func(_ context.Context, c *lookup.Config) (lookup.Querier, error) {
		hosts := c.SQLHosts(lookup.MySQL, func(_ context.Context, h lookup.Host) (*sql.DB, error) {
			m := mysql.NewConfig()
			m.Net, m.Addr = h.Endpoint("/run/mysqld/mysqld.sock", "3306")
			m.User, m.Passwd, m.DBName = c.User, c.Password, c.DBName
			var err error
			if m.TLS, err = c.TLS(h); err != nil {
				return nil, err
			}
			connector, err := mysql.NewConnector(m)
			if err != nil {
				return nil, err
			}
			return sql.OpenDB(connector), nil
		})
		hosts.MaxConns = 20
		return hosts, nil
	}
	opener := &lookup.Opener{
		Dirs:  []string{"/etc/postfix"},
		Types: map[string]lookup.OpenFunc{"mysql": lookup.OpenSQL(lookup.MySQL, connect)},
	}
	defer opener.Close()
	table, err := opener.Open(context.Background(), "mysql:/etc/postfix/virtual.cf")
	if err != nil {
		return // there is no such file, or it is wrong
	}
	_, _, _ = table.Lookup(context.Background(), "ann@example.org")
}

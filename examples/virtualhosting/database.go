package main

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "modernc.org/sqlite"

	"github.com/mtakit/mtakit/lookup"
)

//go:embed schema.sql
var schema string

//go:embed sample.sql
var sample string

// tables are what the database is asked.
type tables struct {
	db *sql.DB

	// Of .cf files, quotas and aliases may be missing.
	domains, users, mailboxes, quotas, aliases lookup.LookupTable
	uids, gids                                 lookup.LookupTable
}

// maxConns is how many connections the database has at most. What more wants to
// ask waits for its turn.
const maxConns = 10

// queryTime is how long one question may take, with the wait for a connection.
const queryTime = 10 * time.Second

// openTables opens MariaDB or MySQL when there is a DSN or a folder of .cf files,
// and the SQLite file otherwise. The database need not answer yet.
func openTables(c config, file string, logger *slog.Logger) (*tables, error) {
	t := &tables{}
	cfs, err := readConfigs(c.cf)
	if err != nil {
		return nil, err
	}
	dialect := lookup.SQLite
	switch virt := cfs["mysql_virt.cf"]; {
	case c.mysql != "":
		t.db, dialect, err = openDSN(c.mysql, logger)
	case virt != nil:
		t.db, dialect, err = openConfig(virt, logger)
	default:
		// Writers of the file wait for each other, and readers for nobody.
		t.db, err = sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
	}
	if err != nil {
		return nil, err
	}
	t.db.SetMaxOpenConns(maxConns)
	t.db.SetMaxIdleConns(maxConns)
	for _, q := range []struct {
		table     *lookup.LookupTable
		cf, query string
	}{
		{&t.domains, "mysql_domains.cf", "SELECT name FROM domains WHERE name = '%s'"},
		{&t.users, "mysql_users.cf", "SELECT pass FROM passwd WHERE id = '%s'"},
		{&t.mailboxes, "mysql_virt.cf", "SELECT CONCAT(home, '/', maildir) FROM passwd WHERE id = '%s'"},
		{&t.quotas, "mysql_quota.cf", "SELECT quota FROM passwd WHERE id = '%s'"},
		{&t.aliases, "mysql_aliases.cf", "SELECT goto FROM aliases WHERE address = '%s'"},
		{&t.uids, "ids.cf", "SELECT uid FROM passwd WHERE id = '%s'"},
		{&t.gids, "gids.cf", "SELECT gid FROM passwd WHERE id = '%s'"},
	} {
		query := lookup.SQLQuery{Query: q.query, Dialect: dialect}
		if cf := cfs[q.cf]; cf != nil {
			query = cf.SQLQuery(dialect)
		} else if cfs != nil { // the guides have passwd alone
			switch q.cf {
			case "mysql_domains.cf":
				query.Query = "SELECT 1 FROM passwd WHERE SUBSTRING_INDEX(id, '@', -1) = '%s' LIMIT 1"
			case "mysql_quota.cf", "mysql_aliases.cf":
				continue
			}
		}
		query.Timeout = queryTime
		if *q.table, err = lookup.NewSQL(t.db, query); err != nil {
			return nil, errors.Join(err, t.db.Close())
		}
	}
	return t, nil
}

// openDSN reads a DSN of the driver, "user:password@unix(/path)/mail".
func openDSN(dsn string, logger *slog.Logger) (*sql.DB, lookup.Dialect, error) {
	c, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, 0, fmt.Errorf("-mysql: %w", err)
	}
	return openMySQL(c, logger)
}

// openConfig opens what a .cf file says of the server.
func openConfig(cf *lookup.Config, logger *slog.Logger) (*sql.DB, lookup.Dialect, error) {
	c, err := serverOf(cf)
	if err != nil {
		return nil, 0, fmt.Errorf("-cf: %w", err)
	}
	return openMySQL(c, logger)
}

func openMySQL(c *mysql.Config, logger *slog.Logger) (*sql.DB, lookup.Dialect, error) {
	// A server that hangs is as down as one that is gone.
	c.Timeout, c.ReadTimeout, c.WriteTimeout = queryTime/2, queryTime, queryTime
	c.Logger = slogPrinter{logger}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, 0, fmt.Errorf("database: %w", err)
	}
	return sql.OpenDB(connector), lookup.MySQL, nil
}

// slogPrinter is the driver's way to our log.
type slogPrinter struct{ *slog.Logger }

func (p slogPrinter) Print(v ...any) {
	p.Warn("database", "message", strings.TrimSpace(fmt.Sprint(v...)))
}

// readConfigs reads the .cf files that a folder has, by their names.
func readConfigs(dir string) (map[string]*lookup.Config, error) {
	if dir == "" {
		return nil, nil
	}
	cfs := map[string]*lookup.Config{}
	for _, name := range []string{"mysql_virt.cf", "mysql_domains.cf", "mysql_users.cf", "mysql_quota.cf", "mysql_aliases.cf", "ids.cf", "gids.cf"} {
		cf, err := lookup.ReadConfig(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = cf.Check(lookup.MySQL)
		}
		if err != nil {
			return nil, fmt.Errorf("-cf: %w", err)
		}
		cfs[name] = cf
	}
	virt := cfs["mysql_virt.cf"]
	if virt == nil {
		return nil, fmt.Errorf("-cf %s: no mysql_virt.cf in it", dir)
	}
	for _, cf := range cfs {
		if err := sameConnection(virt, cf); err != nil {
			return nil, fmt.Errorf("-cf: %w", err)
		}
	}
	return cfs, nil
}

// sameConnection returns an error if a file wants another TLS or charset than that
// whose connections it shares.
func sameConnection(virt, cf *lookup.Config) error {
	for _, name := range []string{"tls_CAfile", "tls_CApath", "tls_cert_file", "tls_key_file", "tls_verify_cert", "charset"} {
		if value := cf.Params[name]; value != "" && value != "no" && value != virt.Params[name] {
			return fmt.Errorf("%s: %s is another than in %s, which says how to connect", cf.File, name, virt.File)
		}
	}
	return nil
}

// serverOf says for the driver what a .cf file says of the server.
func serverOf(cf *lookup.Config) (*mysql.Config, error) {
	c, host := mysql.NewConfig(), cf.Preferred()
	c.User, c.Passwd, c.DBName = cf.User, cf.Password, cf.DBName
	c.Net, c.Addr = host.Endpoint("/run/mysqld/mysqld.sock", "3306")
	if charset := cf.Params["charset"]; charset != "" {
		if err := c.Apply(mysql.Charset(charset, "")); err != nil {
			return nil, err
		}
	}
	var err error
	c.TLS, err = cf.TLS(host)
	return c, err
}

// create makes the tables that are missing, and fills them when there are no
// domains.
func (t *tables) create(ctx context.Context) error {
	if err := t.execute(ctx, schema); err != nil {
		return err
	}
	var n int
	if err := t.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM domains").Scan(&n); err != nil || n > 0 {
		return err
	}
	return t.execute(ctx, sample)
}

// execute runs statements. They end in a semicolon at the end of a line.
func (t *tables) execute(ctx context.Context, script string) error {
	for statement := range strings.SplitSeq(script, ";\n") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if _, err := t.db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("make the tables: %w", err)
		}
	}
	return nil
}

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"strings"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/bdb"
	"github.com/mtakit/mtakit/lookup/cdb"
	"github.com/mtakit/mtakit/lookup/compiled"
	"github.com/mtakit/mtakit/lookup/ldap"
	"github.com/mtakit/mtakit/lookup/lmdb"
	"github.com/mtakit/mtakit/lookup/redis"
)

// defaultType is that of a table that is named without one.
const defaultType = "hash"

// types are the types of tables that this program opens: those of package lookup,
// and those that need a package or a driver of their own.
func types() map[string]lookup.OpenFunc {
	all := lookup.Types()
	all["hash"], all["btree"] = textOr(bdb.Open, ".db", all["hash"]), textOr(bdb.Open, ".db", all["btree"])
	all["lmdb"] = openCompiled(lmdb.Open, ".lmdb")
	all["cdb"] = openCDB
	all["ldap"], all["redis"] = ldap.Open, redis.Open
	all["environ"] = func(context.Context, *lookup.Opener, string) (lookup.LookupTable, error) {
		return lookup.Environ{"*"}, nil
	}
	all["mysql"] = database(lookup.MySQL, openMySQL)
	all["pgsql"] = database(lookup.PostgreSQL, openPostgreSQL)
	all["sqlite"] = lookup.OpenSQL(lookup.SQLite, func(_ context.Context, c *lookup.Config) (lookup.Querier, error) {
		return sql.Open("sqlite", "file:"+c.DBPath+"?mode=ro")
	})
	return all
}

// database opens the hosts of a file with a driver.
func database(dialect lookup.Dialect, open func(c *lookup.Config, h lookup.Host) (*sql.DB, error)) lookup.OpenFunc {
	return lookup.OpenSQL(dialect, func(_ context.Context, c *lookup.Config) (lookup.Querier, error) {
		return c.SQLHosts(dialect, func(_ context.Context, h lookup.Host) (*sql.DB, error) { return open(c, h) }), nil
	})
}

func openMySQL(c *lookup.Config, h lookup.Host) (*sql.DB, error) {
	config := mysql.NewConfig()
	config.User, config.Passwd, config.DBName = c.User, c.Password, c.DBName
	config.Net, config.Addr = h.Endpoint("/run/mysqld/mysqld.sock", "3306")
	if charset := c.Params["charset"]; charset != "" {
		if err := config.Apply(mysql.Charset(charset, "")); err != nil {
			return nil, err
		}
	}
	var err error
	if config.TLS, err = c.TLS(h); err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

func openPostgreSQL(c *lookup.Config, h lookup.Host) (*sql.DB, error) {
	if h.Network == "uri" {
		return sql.Open("pgx", h.Address)
	}
	network, address := h.Endpoint("/var/run/postgresql/.s.PGSQL.5432", "5432")
	host, port := filepath.Dir(address), "5432"
	if network == "tcp" {
		host, port, _ = net.SplitHostPort(address)
	}
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace
	return sql.Open("pgx", fmt.Sprintf("host='%s' port='%s' user='%s' password='%s' dbname='%s'", quote(host), port, quote(c.User), quote(c.Password), quote(c.DBName)))
}

// openCompiled opens a file that postmap has made, with its ending.
func openCompiled(open func(string, lookup.Options) (*compiled.File, error), ending string) lookup.OpenFunc {
	return func(_ context.Context, o *lookup.Opener, name string) (lookup.LookupTable, error) {
		path, err := o.File(name + ending)
		if err != nil {
			return nil, err
		}
		t, err := open(path, o.Options)
		if err != nil {
			return nil, err
		}
		return t, nil
	}
}

// textOr opens the text of a table, or where there is none what postmap once made
// of it.
func textOr(open func(string, lookup.Options) (*compiled.File, error), ending string, text lookup.OpenFunc) lookup.OpenFunc {
	made := openCompiled(open, ending)
	return func(ctx context.Context, o *lookup.Opener, name string) (lookup.LookupTable, error) {
		t, err := text(ctx, o, name)
		if errors.Is(err, fs.ErrNotExist) {
			if t, madeErr := made(ctx, o, name); madeErr == nil {
				return t, nil
			}
		}
		return t, err
	}
}

// openCDB opens name.cdb, as Postfix does.
func openCDB(_ context.Context, o *lookup.Opener, name string) (lookup.LookupTable, error) {
	path, err := o.File(cdbName(name))
	if err != nil {
		return nil, err
	}
	return asTable(cdb.Open(path, o.Options))
}

func asTable(t *cdb.Table, err error) (lookup.LookupTable, error) {
	if err != nil {
		return nil, err
	}
	return t, nil
}

// cdbName returns the file of a table, which is never its text: that of "virtual.cdb"
// is "virtual.cdb.cdb", as with Postfix.
func cdbName(name string) string { return name + ".cdb" }

// typed puts the default type before a name that has none.
func typed(reference string) string {
	if !strings.Contains(reference, ":") {
		return defaultType + ":" + reference
	}
	return reference
}

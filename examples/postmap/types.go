package main

import (
	"context"
	"database/sql"
	"net"
	"strings"

	"github.com/go-sql-driver/mysql"
	_ "modernc.org/sqlite"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/cdb"
)

// defaultType is that of a table that is named without one.
const defaultType = "hash"

// types are the types of tables that this program opens: those of package lookup,
// and those that need a package or a driver of their own.
func types() map[string]lookup.OpenFunc {
	all := lookup.Types()
	all["cdb"] = openCDB
	all["environ"] = func(context.Context, *lookup.Opener, string) (lookup.LookupTable, error) {
		return lookup.Environ{"*"}, nil
	}
	all["mysql"] = lookup.OpenSQL(lookup.MySQL, func(_ context.Context, c *lookup.Config) (lookup.Querier, error) {
		config := mysql.NewConfig()
		config.User, config.Passwd, config.DBName = c.User, c.Password, c.DBName
		config.Net, config.Addr = address(c, "/run/mysqld/mysqld.sock", "3306")
		connector, err := mysql.NewConnector(config)
		if err != nil {
			return nil, err
		}
		return sql.OpenDB(connector), nil
	})
	all["sqlite"] = lookup.OpenSQL(lookup.SQLite, func(_ context.Context, c *lookup.Config) (lookup.Querier, error) {
		return sql.Open("sqlite", "file:"+c.DBPath+"?mode=ro")
	})
	return all
}

// address is where a database listens.
func address(c *lookup.Config, socket, port string) (network, addr string) {
	h := c.Preferred()
	switch {
	case h.Network == "unix" && h.Address == "":
		return "unix", socket
	case h.Network == "unix":
		return "unix", h.Address
	case h.Port != "":
		port = h.Port
	}
	return "tcp", net.JoinHostPort(h.Address, port)
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

func cdbName(name string) string { return strings.TrimSuffix(name, ".cdb") + ".cdb" }

// typed puts the default type before a name that has none.
func typed(reference string) string {
	if !strings.Contains(reference, ":") {
		return defaultType + ":" + reference
	}
	return reference
}

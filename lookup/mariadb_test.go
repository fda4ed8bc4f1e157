package lookup_test

import (
	"database/sql"
	"net"
	"net/url"
	"testing"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/internal/servertest"
	"github.com/mtakit/mtakit/lookup"
)

// mariaDBHost returns a database of a MariaDB.
func mariaDBHost(t testing.TB, h lookup.Host, name string) *sql.DB {
	t.Helper()
	c := mysql.NewConfig()
	c.Net, c.Addr = h.Endpoint("/run/mysqld/mysqld.sock", "3306")
	c.User, c.DBName, c.Logger = "root", name, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	require.NoError(t, err)
	return sql.OpenDB(connector)
}

// socketOf and portOf are the two ways to a server.
func socketOf(s *servertest.Server) lookup.Host {
	return lookup.Host{Network: "unix", Address: s.Socket}
}

func portOf(t testing.TB, s *servertest.Server) lookup.Host {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Addr)
	require.NoError(t, err)
	return lookup.Host{Network: "tcp", Address: host, Port: port}
}

// mailMariaDB starts a MariaDB with the mail database.
func mailMariaDB(t testing.TB) (*servertest.Server, *sql.DB) {
	t.Helper()
	s := servertest.MariaDB(t)
	root := mariaDBHost(t, socketOf(s), "")
	defer root.Close()
	_, err := root.ExecContext(t.Context(), "CREATE DATABASE mail CHARACTER SET utf8mb4")
	require.NoError(t, err)
	db := mariaDBHost(t, socketOf(s), "mail")
	t.Cleanup(func() { db.Close() })
	fill(t, db, lookup.MySQL)
	return s, db
}

// mailPostgreSQL starts a PostgreSQL with the mail tables.
func mailPostgreSQL(t testing.TB) (*servertest.Server, *sql.DB) {
	t.Helper()
	s := servertest.PostgreSQL(t)
	db := postgreSQLHost(t, portOf(t, s))
	t.Cleanup(func() { db.Close() })
	fill(t, db, lookup.PostgreSQL)
	return s, db
}

// postgreSQLHost returns the database of a PostgreSQL. Its sockets are named by
// their folder and the port.
func postgreSQLHost(t testing.TB, h lookup.Host) *sql.DB {
	t.Helper()
	_, address := h.Endpoint("", "5432")
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Host: address, Path: "postgres", RawQuery: "sslmode=disable"}
	db, err := sql.Open("pgx", u.String())
	require.NoError(t, err)
	return db
}

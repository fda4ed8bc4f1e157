package lookup_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
)

const benchUsers = 10_000

// BenchmarkSQL looks keys up in a MariaDB with 10,000 users, and has postmap do
// the same: all keys in one process, over the same socket.
func BenchmarkSQL(b *testing.B) {
	server, db := mailMariaDB(b)
	var rows strings.Builder
	for i := range benchUsers {
		fmt.Fprintf(&rows, ",('user%d@example.org','','User',5000,5000,'/srv/mail','example.org/user%d/')", i, i)
	}
	_, err := db.ExecContext(b.Context(), "INSERT INTO passwd VALUES "+rows.String()[1:])
	require.NoError(b, err)
	open := func(interpolate bool) *lookup.SQL {
		hosts := &lookup.SQLHosts{Hosts: []lookup.Host{socketOf(server)}, MaxConns: 4, Open: func(_ context.Context, h lookup.Host) (*sql.DB, error) {
			c := mysql.NewConfig()
			c.Net, c.Addr = h.Endpoint("", "")
			c.User, c.DBName, c.InterpolateParams = "root", "mail", interpolate
			connector, err := mysql.NewConnector(c)
			return sql.OpenDB(connector), err
		}}
		b.Cleanup(func() { hosts.Close() })
		return mailTable(b, hosts, lookup.MySQL, 0)
	}
	for _, way := range []struct {
		name        string
		interpolate bool
	}{{"prepared", false}, {"one round trip", true}} {
		table := open(way.interpolate)
		b.Run(way.name, func(b *testing.B) { benchSQL(b, table) })
		b.Run(way.name+" parallel", func(b *testing.B) { benchSQLParallel(b, table) })
	}
	b.Run("postmap", func(b *testing.B) { benchPostmapSQL(b, server.Socket) })
}

func benchKey(i int) string { return fmt.Sprintf("user%d@example.org", i*7919%benchUsers) }

func benchSQL(b *testing.B, table lookup.LookupTable) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, ok, err := table.Lookup(b.Context(), benchKey(i)); !ok || err != nil {
			b.Fatal(err)
		}
	}
}

func benchSQLParallel(b *testing.B, table lookup.LookupTable) {
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, ok, err := table.Lookup(b.Context(), benchKey(i)); !ok || err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func benchPostmapSQL(b *testing.B, socket string) {
	program, err := exec.LookPath("postmap")
	if err != nil {
		b.Skip("postmap is absent: apt-get install --no-install-recommends postfix-mysql")
	}
	dir := b.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(b, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	write("main.cf", "compatibility_level = 3.6\nqueue_directory = "+dir+"\ndata_directory = "+dir+"\n")
	write("master.cf", "")
	table := write("mail.cf", "user = root\ndbname = mail\nhosts = unix:"+socket+"\nquery = SELECT maildir FROM passwd WHERE id='%s'\n")
	var keys strings.Builder
	for i := range b.N {
		keys.WriteString(benchKey(i) + "\n")
	}
	cmd := exec.CommandContext(b.Context(), program, "-c", dir, "-q", "-", "mysql:"+table)
	cmd.Stdin = strings.NewReader(keys.String())
	out, err := cmd.Output()
	require.NoError(b, err)
	require.Equal(b, b.N, strings.Count(string(out), "\n"))
}

package lookup_test

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
)

// mariaDB is a real server on a private socket.
type mariaDB struct {
	dir    string
	cmd    *exec.Cmd
	exited chan struct{}
}

// look finds a program that may be outside of PATH.
func look(t *testing.T, program, debian string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + program)
	}
	if err != nil {
		absent(t, program, debian)
	}
	return path
}

func newMariaDB(t *testing.T) *mariaDB {
	t.Helper()
	install := look(t, "mariadb-install-db", "mariadb-server")
	look(t, "mariadbd", "mariadb-server")
	// The path of a socket must be short, which t.TempDir does not promise.
	dir, err := os.MkdirTemp("", "mdb")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	args := []string{"--no-defaults", "--datadir=" + filepath.Join(dir, "data"), "--auth-root-authentication-method=normal", "--skip-test-db"}
	out, err := exec.CommandContext(t.Context(), install, append(args, asRoot()...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	m := &mariaDB{dir: dir}
	m.start(t)
	t.Cleanup(m.kill)
	return m
}

func asRoot() []string {
	if os.Getuid() == 0 {
		return []string{"--user=root"}
	}
	return nil
}

func (m *mariaDB) socket() string { return filepath.Join(m.dir, "s") }

// start returns when the server answers.
func (m *mariaDB) start(t *testing.T) {
	t.Helper()
	m.cmd = exec.Command(look(t, "mariadbd", "mariadb-server"), append([]string{
		"--no-defaults", "--datadir=" + filepath.Join(m.dir, "data"), "--socket=" + m.socket(),
		"--pid-file=" + filepath.Join(m.dir, "pid"), "--skip-networking", "--innodb-flush-log-at-trx-commit=0",
		"--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M", "--skip-log-bin", "--max-connections=20",
	}, asRoot()...)...)
	require.NoError(t, m.cmd.Start())
	m.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait()
		close(exited)
	}(m.cmd, m.exited)
	db := m.open(t, "")
	defer db.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for db.PingContext(ctx) != nil {
		select {
		case <-m.exited:
			t.Fatal("mariadbd has ended")
		case <-ctx.Done():
			t.Fatal("mariadbd does not answer")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (m *mariaDB) kill() {
	_ = m.cmd.Process.Kill()
	<-m.exited
}

func (m *mariaDB) open(t *testing.T, name string) *sql.DB {
	t.Helper()
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr, c.DBName = "root", "unix", m.socket(), name
	c.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	require.NoError(t, err)
	return sql.OpenDB(connector)
}

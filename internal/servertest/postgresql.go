package servertest

import (
	"context"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// postgresPrograms is where Debian has them, a folder for each version.
const postgresPrograms = "/usr/lib/postgresql/*/bin"

// PostgreSQL starts a PostgreSQL with its databases postgres and template1 only.
// Its user postgres needs no password. Socket is the path of the socket itself,
// ".s.PGSQL.port"; libpq and its like want Dir and the port of Addr.
//
// The server does not run as root: a test of root's starts it as the user
// postgres, which Debian's package has made.
func PostgreSQL(tb testing.TB) *Server {
	tb.Helper()
	program := look(tb, "postgres", "postgresql", postgresPrograms)
	initdb := look(tb, "initdb", "postgresql", postgresPrograms)
	isReady := look(tb, "pg_isready", "postgresql", postgresPrograms)
	dir, port := directory(tb), strconv.Itoa(freePort(tb))
	owner := postgresUser(tb, dir)
	command := func(program string, args ...string) *exec.Cmd {
		cmd := exec.Command(program, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner}
		return cmd
	}
	data := filepath.Join(dir, "data")
	prepare(tb, command(initdb, "--pgdata="+data, "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"))
	s := &Server{
		Dir: dir, Socket: filepath.Join(dir, ".s.PGSQL."+port), Addr: "127.0.0.1:" + port,
		quit: syscall.SIGQUIT, // the processes it has made end with it
	}
	s.command = func() *exec.Cmd {
		return command(program, "-D", data, "-k", dir, "-h", "127.0.0.1", "-p", port, "-F",
			"-c", "shared_buffers=16MB", "-c", "max_connections=50", "-c", "dynamic_shared_memory_type=mmap")
	}
	s.ready = func(ctx context.Context) error {
		return exec.CommandContext(ctx, isReady, "-q", "-h", dir, "-p", port).Run()
	}
	return s.serve(tb)
}

// postgresUser gives the directory to the user that the server has to run as.
// nil means that it runs as who tests.
func postgresUser(tb testing.TB, dir string) *syscall.Credential {
	tb.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		absent(tb, "the user postgres", "postgresql")
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		tb.Fatal(err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		tb.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

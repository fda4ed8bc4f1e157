package servertest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// MariaDB starts a MariaDB without databases. Its user root needs no password. It
// speaks TLS with who asks for it, with a certificate for 127.0.0.1 from the authority
// in the file CA; users may be required to have the certificate client.pem, with
// client-key.pem, in Dir. options are more arguments of the command line.
func MariaDB(tb testing.TB, options ...string) *Server {
	tb.Helper()
	install := look(tb, "mariadb-install-db", "mariadb-server")
	program := look(tb, "mariadbd", "mariadb-server", "/usr/sbin")
	dir, port := directory(tb), freePort(tb)
	s := &Server{
		Dir: dir, Socket: filepath.Join(dir, "s"), Addr: loopback(port), quit: syscall.SIGTERM,
		CA: filepath.Join(dir, "ca.pem"),
	}
	if err := certify(dir); err != nil {
		tb.Fatal(err)
	}
	// Servers that share a folder for temporary tables remove each other's.
	args := append([]string{"--no-defaults", "--datadir=" + filepath.Join(dir, "data"), "--tmpdir=" + dir}, asRoot()...)
	prepare(tb, exec.Command(install, append(args, "--auth-root-authentication-method=normal", "--skip-test-db")...))
	args = append(args, "--socket="+s.Socket, "--pid-file="+filepath.Join(dir, "pid"),
		"--bind-address=127.0.0.1", "--port="+strconv.Itoa(port), "--skip-name-resolve", "--skip-log-bin",
		"--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M", "--max-connections=50",
		"--ssl-ca="+s.CA, "--ssl-cert="+filepath.Join(dir, "cert.pem"), "--ssl-key="+filepath.Join(dir, "key.pem"))
	args = append(args, options...)
	s.command = func() *exec.Cmd { return exec.Command(program, args...) }
	s.ready = func(ctx context.Context) error { return greeted(ctx, s.Socket) }
	return s.serve(tb)
}

// asRoot is what mariadbd wants to be told before it runs as root.
func asRoot() []string {
	if os.Getuid() == 0 {
		return []string{"--user=root"}
	}
	return nil
}

// greeted reads the greeting of a server of MySQL's: four bytes of length and
// number, and the version of the protocol.
func greeted(ctx context.Context, socket string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	var greeting [5]byte
	if _, err := io.ReadFull(conn, greeting[:]); err != nil {
		return err
	}
	if greeting[4] != 10 {
		return errors.New("no greeting of protocol 10")
	}
	return nil
}

package servertest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Memcached starts a memcached with 16 MB. It listens on a port alone.
func Memcached(tb testing.TB) *Server {
	tb.Helper()
	program := look(tb, "memcached", "memcached")
	port := freePort(tb)
	s := &Server{Dir: directory(tb), Addr: loopback(port), quit: syscall.SIGTERM}
	s.command = func() *exec.Cmd {
		args := []string{"-l", "127.0.0.1", "-p", strconv.Itoa(port), "-U", "0", "-m", "16", "-c", "2048"}
		if os.Getuid() == 0 {
			args = append(args, "-u", "root")
		}
		return exec.Command(program, args...)
	}
	s.ready = func(ctx context.Context) error { return answers(ctx, s.Addr, "version\r\n", "VERSION") }
	return s.serve(tb)
}

// Redis starts a Redis that keeps nothing on the disk.
func Redis(tb testing.TB) *Server {
	tb.Helper()
	program := look(tb, "redis-server", "redis-server")
	port, dir := freePort(tb), directory(tb)
	s := &Server{Dir: dir, Socket: dir + "/redis.sock", Addr: loopback(port), quit: syscall.SIGTERM}
	s.command = func() *exec.Cmd {
		return exec.Command(program, "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--unixsocket", s.Socket,
			"--dir", dir, "--save", "", "--appendonly", "no", "--daemonize", "no")
	}
	s.ready = func(ctx context.Context) error { return answers(ctx, s.Addr, "PING\r\n", "+PONG") }
	return s.serve(tb)
}

// answers sends a line, and wants an answer that begins in some way.
func answers(ctx context.Context, addr, question, want string) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := c.Write([]byte(question)); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, want) {
		return fmt.Errorf("%s says %q", addr, line)
	}
	return nil
}

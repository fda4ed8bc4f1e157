// Package servertest starts real servers for tests: MariaDB, PostgreSQL, OpenLDAP's
// slapd, Redis, memcached and Postfix as Debian packages them. Each has a directory
// of its own, listens on a socket in it or on a port of the loopback interface, and
// is gone when the test ends.
//
// # Use
//
//  1. Call MariaDB, PostgreSQL, Slapd, Redis, Memcached or Postfix. A test whose
//     server is not installed is skipped with the command that installs it; under
//     MTAKIT_REQUIRE=all it fails.
//  2. Connect to Socket or Addr with a driver of your choice.
//  3. Kill it in the middle, and Start it again.
//
// # Caveats
//
// Start and what starts a server belong to the goroutine of the test, as Fatal
// does. Nothing is synced to the disk: what a killed server had committed is
// there when it starts again, since the machine did not fail with it.
package servertest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a server may take to answer, or to end.
const patience = 2 * time.Minute

// Server is a server that a test has started. Its fields do not change.
type Server struct {
	Dir     string // its directory, whose path is short enough for sockets
	Socket  string // path of the socket it listens on; "" if there is none
	Addr    string // "127.0.0.1:3306"; "" if it listens on no port
	TLSAddr string // where it speaks TLS from the start; "" if it does not
	CA      string // file with the certificate of who has issued its own; "" if it has none

	tb      testing.TB
	command func() *exec.Cmd                // to run it once
	ready   func(ctx context.Context) error // nil when it answers
	quit    os.Signal                       // ends it at once and in order

	process *os.Process
	exited  chan struct{}
}

// absent skips a test that needs a program.
func absent(tb testing.TB, program, debian string) {
	tb.Helper()
	text := fmt.Sprintf("%s is absent: apt-get install --no-install-recommends %s", program, debian)
	if os.Getenv("MTAKIT_REQUIRE") == "all" {
		tb.Fatal(text)
	}
	tb.Skip(text)
}

// look finds a program of a Debian package, in PATH or in one of the folders,
// which may be patterns: the last match counts.
func look(tb testing.TB, program, debian string, folders ...string) string {
	tb.Helper()
	for _, folder := range folders {
		found, err := filepath.Glob(filepath.Join(folder, program))
		if err == nil && len(found) > 0 {
			return found[len(found)-1]
		}
	}
	path, err := exec.LookPath(program)
	if err != nil {
		absent(tb, program, debian)
	}
	return path
}

// directory makes a directory. The path of a socket must be short, which
// TempDir of a test does not promise.
func directory(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "srv")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// freePort returns a port that nobody listens on.
func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// prepare runs a program that has to succeed.
func prepare(tb testing.TB, cmd *exec.Cmd) {
	tb.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v\n%s", cmd.Path, err, out)
	}
}

// serve starts a server for the rest of the test.
func (s *Server) serve(tb testing.TB) *Server {
	tb.Helper()
	s.tb = tb
	tb.Cleanup(s.Stop)
	s.Start()
	return s
}

// Start starts the server and returns when it answers. It may be started again
// after Kill and Stop.
func (s *Server) Start() {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := s.run(ctx)
		if err == nil {
			return
		}
		s.Kill()
		// What a killed server has left behind may not have ended yet.
		select {
		case <-ctx.Done():
			s.tb.Fatalf("%v\n%s", err, s.log())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// run starts the server once.
func (s *Server) run(ctx context.Context) error {
	log, err := os.Create(filepath.Join(s.Dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := s.command()
	cmd.Stdout, cmd.Stderr = log, log
	if err := s.launch(cmd); err != nil {
		return err
	}
	return s.await(ctx, cmd.Path)
}

// launch starts a process that does not outlive the test, however that ends: a
// panic and a timeout run no cleanup. Its thread is kept as long as it runs,
// since it dies with that.
func (s *Server) launch(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	dieWithParent(cmd.SysProcAttr)
	started, exited := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ends is what tests decide
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	s.process, s.exited = cmd.Process, exited
	return nil
}

// await returns when the server answers, or has ended.
func (s *Server) await(ctx context.Context, name string) error {
	for {
		err := s.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("%s has ended", name)
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", name, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Server) log() string {
	text, err := os.ReadFile(filepath.Join(s.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4096):])
}

// Kill ends the server as kill -9 does, and returns when it is gone.
func (s *Server) Kill() { s.end(os.Kill) }

// Stop ends the server in order.
func (s *Server) Stop() { s.end(s.quit) }

func (s *Server) end(signal os.Signal) {
	if s.process == nil {
		return
	}
	children := s.children()
	_ = s.process.Signal(signal) // an error means that it has ended
	select {
	case <-s.exited:
	case <-time.After(patience):
		_ = s.process.Kill()
		<-s.exited
	}
	s.process = nil
	s.quiet(children)
}

// children returns the processes that the server has made, where the system
// tells them.
func (s *Server) children() []string {
	pid := strconv.Itoa(s.process.Pid)
	pids, err := os.ReadFile(filepath.Join("/proc", pid, "task", pid, "children"))
	if err != nil {
		return nil
	}
	return strings.Fields(string(pids))
}

// quiet returns when the processes of a server that has ended are gone and
// nobody listens: for a moment they serve the connections that they have.
func (s *Server) quiet(children []string) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if !slices.ContainsFunc(children, runs) && !listens("unix", s.Socket) && !listens("tcp", s.Addr) {
			return
		}
	}
}

// runs reports whether there is a process that has not ended.
func runs(pid string) bool {
	line, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	return err == nil && len(line) > 0
}

func listens(network, address string) bool {
	conn, err := net.Dial(network, address)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// Signal sends a signal: SIGSTOP makes a server that does not answer.
func (s *Server) Signal(signal os.Signal) {
	s.tb.Helper()
	if err := s.process.Signal(signal); err != nil {
		s.tb.Fatal(err)
	}
}

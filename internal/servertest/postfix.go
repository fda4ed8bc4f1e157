package servertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// masterCF has the services that take mail in and queue it. All run without chroot.
const masterCF = `%s inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
discard unix - - n - - discard
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
showq unix n - n - - showq
postlog unix-dgram n - n - 1 postlogd
`

// mainCF keeps the Postfix in its directory, silent towards the network, and with
// all mail that it accepts on hold. What a test wants takes the place of lines here.
const mainCF = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
maillog_file_prefixes = %[1]s
maillog_file = %[1]s/log
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.example.test
mynetworks = 127.0.0.0/8
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
smtp_tls_security_level =
default_transport = discard
smtpd_data_restrictions = check_client_access static:HOLD
smtpd_peername_lookup = no
`

// Postfix starts a Postfix whose SMTP server listens at Addr, accepts mail from
// this machine, and puts it on hold. parameters are lines of main.cf, "name =
// value". Only root can run one.
func Postfix(tb testing.TB, parameters ...string) *Server {
	tb.Helper()
	program := look(tb, "master", "postfix", "/usr/lib/postfix/sbin", "/usr/libexec/postfix")
	if os.Getuid() != 0 {
		tb.Skip("only root can run a Postfix")
	}
	dir, port := directory(tb), freePort(tb)
	s := &Server{Dir: dir, Addr: loopback(port), quit: syscall.SIGTERM}
	if err := preparePostfix(dir, s.Addr, parameters); err != nil {
		tb.Fatal(err)
	}
	s.command = func() *exec.Cmd { return exec.Command(program, "-c", filepath.Join(dir, "etc"), "-s") }
	s.ready = func(ctx context.Context) error { return answers(ctx, s.Addr, "NOOP\r\n", "220 ") }
	return s.serve(tb)
}

// preparePostfix writes the configuration of a Postfix, and makes the folders of its
// queue, which its processes enter as its user.
func preparePostfix(dir, addr string, parameters []string) error {
	owner, err := user.Lookup("postfix")
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	for _, folder := range strings.Fields("etc data queue queue/pid queue/private queue/public queue/incoming queue/active queue/deferred " +
		"queue/hold queue/bounce queue/defer queue/trace queue/flush queue/saved queue/corrupt queue/maildrop") {
		path := filepath.Join(dir, folder)
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		if folder == "data" || filepath.Dir(folder) == "queue" && folder != "queue/pid" {
			if err := os.Chown(path, uid, -1); err != nil {
				return err
			}
		}
	}
	main := mainOf(fmt.Sprintf(mainCF, dir), parameters)
	if err := os.WriteFile(filepath.Join(dir, "etc", "main.cf"), []byte(main), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "etc", "master.cf"), fmt.Appendf(nil, masterCF, addr), 0o644)
}

// mainOf returns a main.cf in which each parameter stands once. Every process warns of
// one that stands twice, postlogd(8) too: when the socket that it alone reads is full of
// such warnings, it waits for itself, and all others for it.
func mainOf(text string, parameters []string) string {
	name := func(line string) string {
		name, _, _ := strings.Cut(line, "=")
		return strings.TrimSpace(name)
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !slices.ContainsFunc(parameters, func(p string) bool { return name(p) == name(line) }) {
			b.WriteString(line)
		}
	}
	return b.String() + strings.Join(parameters, "\n") + "\n"
}

// Postcat returns what postcat(1) prints of a message in the queue of a Postfix:
// its envelope with "-e", its header with "-h", its body with "-b".
func (s *Server) Postcat(id string, options ...string) string {
	s.tb.Helper()
	program := look(s.tb, "postcat", "postfix", "/usr/sbin")
	args := append([]string{"-c", filepath.Join(s.Dir, "etc")}, options...)
	out, err := exec.Command(program, append(args, "-q", id)...).CombinedOutput()
	if err != nil {
		s.tb.Fatalf("postcat %s: %v\n%s", id, err, out)
	}
	return string(out)
}

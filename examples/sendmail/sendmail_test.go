package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/control"
	"github.com/mtakit/mtakit/queue/filespool"
)

// asProgram makes the test binary behave as the program itself.
const asProgram = "MTAKIT_TEST_AS_SENDMAIL"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// home is the directory of a server that does not run.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"queue", "queue/maildrop", "etc"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, sub), 0o700))
	}
	return dir
}

func uid() string { return strconv.Itoa(os.Getuid()) }

type result struct {
	code           int
	stdout, stderr string
}

func command(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Env = []string{asProgram + "=1", "MAIL_CONFIG=" + dir, "PATH=" + os.Getenv("PATH")}
	return cmd
}

func run1(t *testing.T, cmd *exec.Cmd, stdin string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func sendmail(t *testing.T, dir, stdin string, args ...string) result {
	t.Helper()
	return run1(t, command(dir, append([]string{"sendmail"}, args...)...), stdin)
}

// dropped reads what lies in the maildrop, and takes it away.
func dropped(t *testing.T, dir string) (texts []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "queue", "maildrop", "*"))
	require.NoError(t, err)
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		texts = append(texts, string(text))
		require.NoError(t, os.Remove(f))
	}
	return texts
}

// TestSend: what a command line and a message become.
func TestSend(t *testing.T) {
	t.Parallel()
	const to = "recipient: <bob>\n"
	for _, tt := range []struct {
		name, args, stdin, want string // want: from the sender on
	}{
		{"plain", "-f a@b bob", "Subject: x\n\nHi\n", "sender: <a@b>\n" + to + "\nSubject: x\n\nHi\n"},
		{"CRLF", "-f a@b bob", "Subject: x\r\n\r\nHi\r\n", "sender: <a@b>\n" + to + "\nSubject: x\r\n\r\nHi\r\n"},
		{"dot", "-f a@b bob", "Subject: x\n\nHi\n.\nmore\n", "sender: <a@b>\n" + to + "\nSubject: x\n\nHi\n"},
		{"dot CRLF", "-f a@b bob", "Subject: x\r\n\r\nHi\r\n.\r\nmore\r\n", "sender: <a@b>\n" + to + "\nSubject: x\r\n\r\nHi\r\n"},
		{"-i", "-i -f a@b bob", "Subject: x\n\n.\nmore\n", "sender: <a@b>\n" + to + "\nSubject: x\n\n.\nmore\n"},
		{"-oi", "-oi -f a@b bob", "Subject: x\n\n.\nmore\n", "sender: <a@b>\n" + to + "\nSubject: x\n\n.\nmore\n"},
		{"cluster", "-oem -odb -oi -bm -tif a@b", "To: bob\n\n.\n", "sender: <a@b>\n" + to + "\nTo: bob\n\n.\n"},
		{"ignored", "-G -n -m -U -x -h 3 -Am -Ac -L x -p y -X /dev/null -O a=b -d0.1 -em -f a@b -- bob", "\n", "sender: <a@b>\n" + to + "\n\n"},
		{"null sender", "-f <> bob", "\nx", "sender: <>\n" + to + "\n\nx"},
		{"empty sender", "-f  bob", "\nx", "sender: <>\n" + to + "\n\nx"},
		{"-r", "-r a@b bob", "\nx", "sender: <a@b>\n" + to + "\n\nx"},
		{"nothing", "-f a@b bob", "", "sender: <a@b>\n" + to + "\n\n"},
		{"no header", "-f a@b bob", "Hi there\n", "sender: <a@b>\n" + to + "\n\r\nHi there\n"},
		{"mbox", "-f a@b bob", "From x Mon\n>From y\nSubject: x\n\nFrom z\n", "sender: <a@b>\n" + to + "\nSubject: x\n\nFrom z\n"},
		{"several", "-f a@b a@x,b@x c(comment)@x", "\n", "sender: <a@b>\nrecipient: <a@x>\nrecipient: <b@x>\nrecipient: <c@x>\n\n\n"},
		{"twice", "-f a@b bob bob", "\n", "sender: <a@b>\n" + to + "\n\n"},
		{"dsn", "-f a@b -N success,delay -R hdrs -V a+b bob", "\n", "sender: <a@b> RET=HDRS ENVID=a+2Bb\nrecipient: <bob> NOTIFY=SUCCESS,DELAY\n\n\n"},
		{"never", "-f a@b -Nnever bob", "\n", "sender: <a@b>\nrecipient: <bob> NOTIFY=NEVER\n\n\n"},
		{"8 bit", "-f a@b bob", "Subject: x\n\nJ\u00fc\n", "sender: <a@b> BODY=8BITMIME\n" + to + "\nSubject: x\n\nJ\u00fc\n"},
		{"8 bit header", "-f a@b bob", "Subject: J\u00fc\n\n", "sender: <a@b> BODY=8BITMIME SMTPUTF8\n" + to + "\nSubject: J\u00fc\n\n"},
		{"Latin 1 header", "-f a@b bob", "Subject: J\xfc\n\n", "sender: <a@b> BODY=8BITMIME\n" + to + "\nSubject: J\xfc\n\n"},
		{"-B", "-f a@b -B8BITMIME bob", "\n", "sender: <a@b> BODY=8BITMIME\n" + to + "\n\n"},
		{"-o7", "-f a@b -o7 bob", "\n", "sender: <a@b> BODY=7BIT\n" + to + "\n\n"},
		{"unicode", "-f J\u00fc@b bob", "\n", "sender: <J\u00fc@b>\n" + to + "\n\n"},
		{"-t", "-t -f a@b eve", "To: \"B, ob\" <bob@x>,\n carol@x\nCc: Team: dave@x, d2@x;\nbcc: hid@x\nSubject: x\n\nBcc: body\n",
			"sender: <a@b>\nrecipient: <eve>\nrecipient: <bob@x>\nrecipient: <carol@x>\nrecipient: <dave@x>\nrecipient: <d2@x>\nrecipient: <hid@x>\n\n" +
				"To: \"B, ob\" <bob@x>,\n carol@x\nCc: Team: dave@x, d2@x;\nSubject: x\n\nBcc: body\n"},
		{"no -t", "-f a@b bob", "To: x\nBcc: hid@x\n\n", "sender: <a@b>\n" + to + "\nTo: x\n\n"},
		{"resent", "-t -f a@b", "Resent-To: bob\nResent-Bcc: c@x\nTo: x\nBcc: y\n\n", "sender: <a@b>\n" + to + "recipient: <c@x>\n\nResent-To: bob\nTo: x\n\n"},
		{"header alone", "-t -f a@b", "To: bob", "sender: <a@b>\n" + to + "\nTo: bob"},
		{"quoted", "-f a@b -t", "To: \"odd user\"@x, <\"a>b\"@x>, x @ y . z, <@r:e@f>\n\n",
			"sender: <a@b>\nrecipient: <\"odd user\"@x>\nrecipient: <\"a>b\"@x>\nrecipient: <x@y.z>\nrecipient: <e@f>\n\n" +
				"To: \"odd user\"@x, <\"a>b\"@x>, x @ y . z, <@r:e@f>\n\n"},
	} {
		dir := home(t)
		r := sendmail(t, dir, tt.stdin, append([]string{"-F", "A B"}, strings.Split(tt.args, " ")...)...)
		require.Equal(t, result{}, r, tt.name)
		texts := dropped(t, dir)
		require.Len(t, texts, 1, tt.name)
		assert.Equal(t, "version: 1\nfull-name: A B\n"+tt.want, texts[0], tt.name)
		_, _, err := queue.ReadSubmission(strings.NewReader(texts[0]), 0)
		require.NoError(t, err, tt.name)
	}
}

// TestExitCodes: what goes wrong says so, and leaves nothing.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args  []string
		stdin string
		code  int
		text  string
	}{
		{[]string{"sendmail"}, "x", exitUsage, "recipients must stand"},
		{[]string{"sendmail", "-t"}, "Subject: x\n\n", exitUsage, "no recipient in the header"},
		{[]string{"sendmail", "-t"}, "To: undisclosed-recipients:;\n\n", exitUsage, "no recipient"},
		{[]string{"sendmail", "-t"}, "To: bob smith\n\n", exitDataErr, "white space"},
		{[]string{"sendmail", "-t"}, "To: <bob\n\n", exitDataErr, "brackets"},
		{[]string{"sendmail", "-t"}, "To: <>\n\n", exitDataErr, "no address"},
		{[]string{"sendmail", "-t"}, "To: a@b\x01c\n\n", exitDataErr, "bad address syntax"},
		{[]string{"sendmail", "-t"}, strings.Repeat("X: y\n", 300000), exitDataErr, "header has more than"},
		{[]string{"sendmail", "bob"}, strings.Repeat("x", 10240001), exitDataErr, "more than 10240000 bytes"},
		{[]string{"sendmail", "-Z", "bob"}, "x", exitUsage, "unknown option -Z"},
		{[]string{"sendmail", "-f"}, "x", exitUsage, "needs an argument"},
		{[]string{"sendmail", "-f", "a b", "bob"}, "x", exitUsage, "white space"},
		{[]string{"sendmail", "-f", "a@b,c@d", "bob"}, "x", exitUsage, "want one address"},
		{[]string{"sendmail", "-f", "a@b>\nrecipient: <c@d", "bob"}, "x", exitUsage, "sender"},
		{[]string{"sendmail", "-f", "a\r\nBcc: x@b", "bob"}, "x", exitUsage, "sender"},
		{[]string{"sendmail", "-F", "A\nBcc: x@y", "bob"}, "x", exitUsage, "bad character"},
		{[]string{"sendmail", "-F", "A\x1b[2J", "bob"}, "x", exitUsage, "bad character"},
		{[]string{"sendmail", "bob", "-f", "a@b"}, "x", exitUsage, "option -f behind a recipient"},
		{[]string{"sendmail", "a\nrecipient: b"}, "x", exitUsage, "recipient"},
		{[]string{"sendmail", "\xff@b"}, "x", exitUsage, "bad character"},
		{[]string{"sendmail", "-N", "sometimes", "bob"}, "x", exitUsage, "-N sometimes"},
		{[]string{"sendmail", "-N", "never,failure", "bob"}, "x", exitUsage, "never stands alone"},
		{[]string{"sendmail", "-R", "some", "bob"}, "x", exitUsage, "-R some"},
		{[]string{"sendmail", "-B", "BINARYMIME", "bob"}, "x", exitUsage, "-B"},
		{[]string{"sendmail", "-V", strings.Repeat("+", 40), "bob"}, "x", exitUsage, "at most 100"},
		{[]string{"sendmail", "-V", "\u00fc", "bob"}, "x", exitUsage, "ASCII"},
		{[]string{"sendmail", "-bd"}, "", exitUsage, "not the server"},
		{[]string{"sendmail", "-bD"}, "", exitUsage, "not the server"},
		{[]string{"sendmail", "-bh"}, "", exitUsage, "not supported"},
		{[]string{"sendmail", "-bt"}, "", exitUsage, "not supported"},
		{[]string{"sendmail", "-q2h30m"}, "", exitUnavailable, "no server"},
		{[]string{"sendmail", "-q30"}, "", exitUnavailable, "no server"},
		{[]string{"sendmail", "-q2x"}, "", exitUsage, "not supported"},
		{[]string{"sendmail", "-q30mm"}, "", exitUsage, "not supported"},
		{[]string{"sendmail", "-q!30m"}, "", exitUsage, "not supported"},
		{[]string{"sendmail", "-q9999999s"}, "", exitUsage, "not supported"},
		{[]string{"sendmail", "-qGx"}, "", exitUsage, "not supported"},
		{[]string{"sendmail", "-qI"}, "", exitUsage, "not supported"},
		{[]string{"sendmail", "-q"}, "", exitUnavailable, "no server"},
		{[]string{"sendmail", "-bv", "bob"}, "", exitUnavailable, "no server"},
		{[]string{"sendmail", "-bv"}, "", exitUsage, "recipients must stand"},
		{[]string{"sendmail", "-C", "/nonexistent", "bob"}, "x", exitConfig, "not the directory"},
		{[]string{"hoststat"}, "", exitUsage, "hoststat is not supported"},
		{[]string{"newaliases"}, "", exitConfig, "no such file"},
		{[]string{"sendmail", "-bi", "-oA/nonexistent"}, "", exitConfig, "no such file"},
	} {
		dir := home(t)
		r := run1(t, command(dir, tt.args...), tt.stdin)
		assert.Equal(t, tt.code, r.code, "%.200q: %s", tt.args, r.stderr)
		assert.Contains(t, r.stderr, tt.text, "%.200q", tt.args)
		assert.Equal(t, 1, strings.Count(r.stderr, "\n"))
		assert.NotContains(t, r.stderr, "\x1b")
		assert.Empty(t, dropped(t, dir))
	}
}

// TestNoWay: without a server, a maildrop or a helper there is nobody to give it to.
func TestNoWay(t *testing.T) {
	t.Parallel()
	dir := home(t)
	require.NoError(t, os.Chmod(filepath.Join(dir, "queue", "maildrop"), 0o777))
	r := sendmail(t, dir, "x", "bob")
	assert.Equal(t, exitTempFail, r.code)
	assert.Regexp(t, `socket .*control\.sock: .*; .*open to everybody.*; .*postdrop: no such file`, r.stderr)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "control.sock"), nil, 0o600))
	assert.Equal(t, exitTempFail, sendmail(t, dir, "x", "bob").code)
}

func TestNewaliases(t *testing.T) {
	t.Parallel()
	dir := home(t)
	path := filepath.Join(dir, "etc", "aliases")
	require.NoError(t, os.WriteFile(path, []byte("postmaster: alice\n# more\nteam: a,\n b\n"), 0o600))
	r := run1(t, command(dir, "newaliases"), "")
	assert.Equal(t, result{stdout: path + ": 2 aliases; the server reads it by itself\n"}, r)
	require.NoError(t, os.WriteFile(path, []byte("good: alice\nbad line\nx: |cmd\ny: a@\n"), 0o600))
	for _, args := range [][]string{{"sendmail", "-bi"}, {"sendmail", "-I"}, {"sendmail", "-C/", "-oAhash:" + path, "-bi"}} {
		r = run1(t, command(dir, args...), "")
		assert.Equal(t, exitDataErr, r.code)
		for _, line := range []string{"2", "3", "4"} {
			assert.Contains(t, r.stdout, path+":"+line+":")
		}
		assert.Contains(t, r.stderr, "3 mistakes")
	}
}

// live is a server with a control socket and a maildrop; everything is deferred.
func live(t *testing.T, dir string, may control.Table, filter queue.Filter) (stop func()) {
	t.Helper()
	require.NoError(t, os.Chmod(dir, 0o711))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o711))
	spool, err := filespool.Open(filepath.Join(dir, "queue"), filespool.Options{})
	require.NoError(t, err)
	manager := &queue.Manager{Spool: spool, Agents: map[string]queue.DeliveryAgent{"x": queue.DeliveryAgentFunc(
		func(_ context.Context, d *mtakit.Delivery) []mtakit.Result {
			results := make([]mtakit.Result, len(d.Recipients))
			for i := range results {
				results[i] = mtakit.Result{Outcome: mtakit.Deferred, Status: smtp.EnhancedCode{4, 0, 0}, Diagnostic: "not today"}
			}
			return results
		})},
		Router: queue.RouterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Recipient) (mtakit.Route, error) {
			return mtakit.Route{Transport: "x"}, nil
		})}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 2)
	go func() { served <- manager.Serve(ctx) }()
	server := &control.Server{Local: control.Local{Queue: manager}, MaySubmit: may,
		Submitter: &queue.Maildrop{Queue: manager, Hostname: "mx.example.org", Filter: filter}}
	l, err := control.Listen(filepath.Join(dir, "control.sock"), 0o666)
	require.NoError(t, err)
	go func() { served <- server.Serve(ctx, l) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		require.NoError(t, server.Close())
		cancel()
		<-served
		<-served
		require.NoError(t, spool.Close())
	}
	t.Cleanup(stop)
	return stop
}

// TestLive: with a server that runs, the answer is the queue ID, and the queue can
// be seen and flushed.
func TestLive(t *testing.T) {
	t.Parallel()
	dir := home(t)
	stop := live(t, dir, nil, nil)
	r := sendmail(t, dir, "Subject: x\n\nHi\n", "-v", "-f", "alice@example.org", "bob@example.net")
	require.Equal(t, 0, r.code, r.stderr)
	id, ok := strings.CutPrefix(strings.TrimSpace(r.stdout), "queued ")
	require.True(t, ok, r.stdout)
	assert.Empty(t, dropped(t, dir))
	listed := func(args ...string) string {
		r := run1(t, command(dir, args...), "")
		require.Equal(t, 0, r.code, r.stderr)
		return r.stdout
	}
	require.Eventually(t, func() bool { return strings.Contains(listed("mailq"), "not today") }, 20*time.Second, 10*time.Millisecond)
	for _, text := range []string{id, "alice@example.org", "bob@example.net", "in 1 Request."} {
		assert.Contains(t, listed("sendmail", "-bp"), text)
	}
	require.Eventually(t, func() bool { return listed("sendmail", "-v", "-qRbob") == "1 messages\n" }, 20*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool { return listed("sendmail", "-v", "-qI"+id) == "1 messages\n" }, 20*time.Second, 10*time.Millisecond)
	assert.Equal(t, "0 messages\n", listed("sendmail", "-v", "-qSbob"))
	require.Eventually(t, func() bool { return listed("sendmail", "-v", "-q!Sbob") == "1 messages\n" }, 20*time.Second, 10*time.Millisecond)
	assert.Empty(t, listed("sendmail", "-q"))
	assert.Empty(t, listed("sendmail", "-q2h30m"))
	stop()
	assert.Contains(t, listed("mailq"), id, "also at rest")
	assert.Equal(t, exitUnavailable, sendmail(t, dir, "", "-q").code)
	r = sendmail(t, dir, "x", "-v", "bob")
	assert.Equal(t, 0, r.code)
	assert.Contains(t, r.stdout, "left in the maildrop ")
}

type nobody struct{ err error }

func (n nobody) Lookup(context.Context, string) (string, bool, error) { return "", false, n.err }

// asUser runs it as somebody without rights.
func asUser(cmd *exec.Cmd) *exec.Cmd {
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 54321, Gid: 54321}}
	return cmd
}

// public is a copy of this program that everybody can run.
func public(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	program, err := os.ReadFile(os.Args[0])
	require.NoError(t, err)
	path := filepath.Join(dir, "sendmail")
	require.NoError(t, os.WriteFile(path, program, 0o755))
	return path
}

// TestLiveRefuses: what the server refuses for good is not left elsewhere, and what
// it cannot take now is.
func TestLiveRefuses(t *testing.T) {
	t.Parallel()
	program := public(t)
	reject := func(code int) queue.Filter {
		return queue.FilterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Message) (mtakit.Verdict, error) {
			return mtakit.Verdict{Action: mtakit.Reject, Reply: &smtp.SMTPError{Code: code, Message: "so it is"}}, nil
		})
	}
	for _, tt := range []struct {
		name      string
		may       control.Table
		filter    queue.Filter
		user      bool
		code      int
		text      string
		elsewhere int
	}{
		{"filter", nil, reject(550), false, exitUnavailable, "so it is", 0},
		{"filter for now", nil, reject(450), false, exitOK, "", 1},
		{"user", nil, nil, true, exitOK, "", 0},
		{"denied", nobody{}, nil, true, exitNoPerm, "", 0},
		{"root", nobody{}, nil, false, exitOK, "", 0},
		{"table down", nobody{errors.New("down")}, nil, true, exitTempFail, "postdrop", 0},
	} {
		dir := home(t)
		live(t, dir, tt.may, tt.filter)
		cmd := command(dir, "sendmail", "-f", "a@b", "bob@example.net")
		if cmd.Path = program; tt.user {
			asUser(cmd)
		}
		r := run1(t, cmd, "Subject: x\n\n")
		assert.Equal(t, tt.code, r.code, "%s: %s", tt.name, r.stderr)
		assert.Contains(t, r.stderr, tt.text, tt.name)
		assert.Len(t, dropped(t, dir), tt.elsewhere, tt.name)
	}
}

// TestHelper installs all of it as the READMEs say, and sends as somebody without
// rights while no server runs.
func TestHelper(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds a program")
	}
	program, dir := public(t), home(t)
	drop := filepath.Join(dir, "queue", "maildrop")
	const group = 54322
	for _, d := range []string{filepath.Dir(dir), dir, filepath.Join(dir, "queue")} {
		require.NoError(t, os.Chmod(d, 0o711))
	}
	require.NoError(t, os.Chown(drop, 0, group))
	require.NoError(t, os.Chmod(drop, os.ModeSticky|0o730))
	helper := filepath.Join(filepath.Dir(program), "postdrop")
	out, err := exec.Command("go", "build", "-ldflags", "-X main.directory="+drop, "-o", helper, "../postdrop").CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, os.Chown(helper, 0, group))
	require.NoError(t, os.Chmod(helper, os.ModeSetgid|0o755))

	cmd := asUser(command(dir, "sendmail", "-v", "-f", "a@b", "bob"))
	cmd.Path = program
	r := run1(t, cmd, strings.Repeat("Subject: x\n", 10000))
	if strings.Contains(r.stderr, "permission denied") {
		t.Skip("setgid does nothing here: ", r.stderr)
	}
	require.Equal(t, 0, r.code, r.stderr)
	assert.Contains(t, r.stdout, "left in the maildrop ")
	files, err := os.ReadDir(drop)
	require.NoError(t, err)
	require.Len(t, files, 1)
	info, err := files[0].Info()
	require.NoError(t, err)
	assert.Equal(t, uint32(54321), info.Sys().(*syscall.Stat_t).Uid)
	assert.True(t, strings.HasSuffix(r.stdout, files[0].Name()+"\n"))
	assert.Contains(t, dropped(t, dir)[0], "sender: <a@b>\nrecipient: <bob>\n\nSubject: x\n")

	// Another directory is refused by the helper, and said so here.
	other := home(t)
	for _, d := range []string{filepath.Dir(other), other, filepath.Join(other, "queue")} {
		require.NoError(t, os.Chmod(d, 0o711))
	}
	cmd = asUser(command(other, "sendmail", "-f", "a@b", "bob"))
	cmd.Path = program
	r = run1(t, cmd, "x")
	assert.Equal(t, exitConfig, r.code, r.stderr)
	assert.Contains(t, r.stderr, "another directory")
}

// TestSMTP: -bs is a server on standard input and output.
func TestSMTP(t *testing.T) {
	t.Parallel()
	dir := home(t)
	ours, theirs := socketpair(t)
	cmd := command(dir, "sendmail", "-bs")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, os.Stderr
	require.NoError(t, cmd.Start())
	require.NoError(t, theirs.Close())
	c := smtp.NewClient(ours)
	require.NoError(t, c.Hello("client.example.org"))
	require.NoError(t, c.Mail("alice@example.org", &smtp.MailOptions{Return: smtp.DSNReturnHeaders, EnvelopeID: "e1"}))
	require.NoError(t, c.Rcpt("bob@example.net", &smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyNever}}))
	w, err := c.Data()
	require.NoError(t, err)
	_, err = w.Write([]byte("Subject: x\r\n\r\n.dot\r\n"))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	texts := dropped(t, dir)
	require.Len(t, texts, 1, "before the connection ends")
	assert.Contains(t, texts[0], "sender: <alice@example.org> BODY=8BITMIME RET=HDRS ENVID=e1\nrecipient: <bob@example.net> NOTIFY=NEVER\n\nReceived: from client.example.org ")
	assert.True(t, strings.HasSuffix(texts[0], "Subject: x\r\n\r\n.dot\r\n"))

	// What cannot be handed over is the client's still.
	require.NoError(t, os.Chmod(filepath.Join(dir, "queue", "maildrop"), 0o777))
	require.NoError(t, c.Mail("alice@example.org", nil))
	require.NoError(t, c.Rcpt("bob@example.net", nil))
	w, err = c.Data()
	require.NoError(t, err)
	_, err = w.Write([]byte("Subject: x\r\n\r\n"))
	require.NoError(t, err)
	var reply *smtp.SMTPError
	require.ErrorAs(t, w.Close(), &reply)
	assert.Equal(t, 451, reply.Code)
	require.NoError(t, c.Quit())
	require.NoError(t, cmd.Wait())
}

// socketpair returns two ends: inetd(8) starts it so.
func socketpair(t *testing.T) (net.Conn, *os.File) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	ours := os.NewFile(uintptr(fds[0]), "ours")
	defer ours.Close()
	c, err := net.FileConn(ours)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c, os.NewFile(uintptr(fds[1]), "theirs")
}

// TestSurroundings: what a caller can set up neither loses a message nor leaves half
// of one.
func TestSurroundings(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is missing: apt-get install bash")
	}
	for _, tt := range []struct {
		script     string
		code, left int
	}{
		{`exec "$0" -v bob >&-`, exitOK, 1},
		{`exec "$0" -v bob >/dev/full`, exitOK, 1},
		{`exec "$0" -v bob > >(true)`, exitOK, 1},
		{`exec "$0" bob <&-`, exitOK, 1}, // nothing to read
		{`exec "$0" bob </`, exitIOErr, 0},
		{`ulimit -f 4; exec "$0" bob`, exitIOErr, 0},
		{`umask 777; exec "$0" bob`, exitOK, 1},
		{`TMPDIR=/nonexistent exec "$0" bob`, exitCantCreat, 0},
		{`MAIL_CONFIG=/nonexistent exec "$0" bob`, exitConfig, 0},
		{`exec -a "" "$0" bob`, exitOK, 1},
		{`exec "$0" -bp >/dev/full`, exitUnavailable, 0},
	} {
		dir := home(t)
		cmd := command(dir, "sendmail")
		cmd.Path, cmd.Args = bash, []string{"bash", "-c", tt.script, os.Args[0]}
		r := run1(t, cmd, "Subject: x\n\n"+strings.Repeat("x\n", 50000))
		assert.Equal(t, tt.code, r.code, "%s: %s", tt.script, r.stderr)
		assert.Len(t, dropped(t, dir), tt.left, tt.script)
	}
}

// TestTogether: many at once, each message once.
func TestTogether(t *testing.T) {
	t.Parallel()
	dir := home(t)
	var group sync.WaitGroup
	for i := range 30 {
		group.Go(func() {
			r := sendmail(t, dir, "Subject: "+strconv.Itoa(i)+"\n\n", "-f", "a@b", "bob")
			assert.Equal(t, 0, r.code, r.stderr)
		})
	}
	group.Wait()
	texts := dropped(t, dir)
	slices.Sort(texts)
	assert.Len(t, slices.Compact(texts), 30)
}

// A sender who is interrupted sends nothing.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	dir := home(t)
	cmd := command(dir, "sendmail", "bob")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = in.Write([]byte("Subject: x\n"))
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	assert.Empty(t, dropped(t, dir))
}

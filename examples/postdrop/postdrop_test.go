package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/memspool"
)

// asProgram makes the test binary behave as the program itself.
const asProgram = "MTAKIT_TEST_AS_POSTDROP"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

func command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = []string{asProgram + "=1"}
	return cmd
}

func maildrop(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o730))
	return dir
}

func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}

func submission(t *testing.T, message string, attrs map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	env := &mtakit.Envelope{Sender: "a", Recipients: []mtakit.Recipient{{Address: "b"}}, Attrs: attrs}
	require.NoError(t, queue.WriteSubmission(&b, env, int64(len(message)), strings.NewReader(message)))
	return b.String()
}

func TestPostdrop(t *testing.T) {
	t.Parallel()
	good := submission(t, "Subject: x\n\nHi\n", map[string]string{queue.AttrFullName: "A"})
	for _, tt := range []struct {
		name, stdin string
		args        []string
		code        int
		text        string
	}{
		{"good", good, nil, exitOK, ""},
		{"cut off", good[:len(good)-1], nil, exitDataErr, "cut off"},
		{"too much", good + "x", nil, exitDataErr, "longer"},
		{"no length", "sender: a\nrecipient: b\n\nHi\n", nil, exitDataErr, "length"},
		{"nothing", "", nil, exitDataErr, "no empty line"},
		{"huge", submission(t, strings.Repeat("x", 10240001), nil), nil, exitDataErr, "more than 10240000 bytes"},
		{"endless", strings.Repeat("x", 1<<20), nil, exitDataErr, "a line of more"},
		{"terminal", "x\x1b[2J\n\n", nil, exitDataErr, "bad line"},
		{"later", "version: 2\n" + good, nil, exitTempFail, "version"},
		{"usage", good, []string{"a", "b"}, exitUsage, "usage"},
		{"absent", good, []string{"/nonexistent/maildrop"}, exitConfig, "no such file"},
		{"open to all", good, []string{"/tmp"}, exitNoPerm, "open to everybody"},
	} {
		dir := maildrop(t)
		args := tt.args
		if args == nil {
			args = []string{dir}
		}
		cmd := command(args...)
		var stdout, stderr bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(tt.stdin), &stdout, &stderr
		_ = cmd.Run()
		assert.Equal(t, tt.code, cmd.ProcessState.ExitCode(), "%s: %s", tt.name, stderr.String())
		assert.Contains(t, stderr.String(), tt.text, tt.name)
		assert.NotContains(t, stderr.String(), "\x1b")
		if tt.code == exitOK {
			assert.Equal(t, []string{strings.TrimSpace(stdout.String())}, names(t, dir))
		} else {
			assert.Empty(t, names(t, dir), tt.name)
		}
	}
}

// TestPostdropSlow: a slow writer is waited for, and one that is interrupted
// leaves nothing.
func TestPostdropSlow(t *testing.T) {
	t.Parallel()
	text := submission(t, "Subject: x\n\n"+strings.Repeat("x", 100000), nil)
	for _, sig := range []os.Signal{nil, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
		dir := maildrop(t)
		cmd := command(dir)
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = io.WriteString(in, text[:90000])
		require.NoError(t, err)
		require.Eventually(t, func() bool { return len(names(t, dir)) == 1 }, 20*time.Second, time.Millisecond)
		assert.True(t, strings.HasPrefix(names(t, dir)[0], "tmp."))
		if sig != nil {
			require.NoError(t, cmd.Process.Signal(sig))
			_ = cmd.Wait()
			assert.Equal(t, exitTempFail, cmd.ProcessState.ExitCode())
			assert.Empty(t, names(t, dir))
			continue
		}
		_, err = io.WriteString(in, text[90000:])
		require.NoError(t, err)
		require.NoError(t, in.Close())
		require.NoError(t, cmd.Wait())
		require.Len(t, names(t, dir), 1)
		n, err := (&queue.Maildrop{Dir: dir, Queue: new(memspool.Spool)}).Look(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 1, n)
	}
}

// TestPostdropLimits: what a caller can set up does not leave half a file.
func TestPostdropLimits(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is missing: apt-get install bash")
	}
	for _, tt := range []struct {
		script string
		code   int
		left   int
	}{
		{`ulimit -f 4; exec "$0" "$1"`, exitTempFail, 0},         // SIGXFSZ
		{`umask 777; exec "$0" "$1"`, exitOK, 1},                 // a file that nobody may read
		{`umask 0; exec "$0" "$1" >&- 2>&-`, exitOK, 1},          // no standard output
		{`exec "$0" "$1" > >(true)`, exitOK, 1},                  // one that nobody reads
		{`trap "" TERM HUP INT; exec "$0" "$1"`, exitOK, 1},      // signals that are ignored
		{`cd /; GODEBUG=x=1 TMPDIR=. exec "$0" "$1"`, exitOK, 1}, // environment
	} {
		dir := maildrop(t)
		cmd := exec.Command(bash, "-c", tt.script, os.Args[0], dir)
		cmd.Env = []string{asProgram + "=1"}
		cmd.Stdin = strings.NewReader(submission(t, strings.Repeat("x\n", 50000), nil))
		_ = cmd.Run()
		assert.Equal(t, tt.code, cmd.ProcessState.ExitCode(), tt.script)
		left := names(t, dir)
		require.Len(t, left, tt.left, tt.script)
		for _, name := range left {
			info, err := os.Stat(filepath.Join(dir, name))
			require.NoError(t, err)
			assert.Equal(t, os.FileMode(0o444), info.Mode(), tt.script)
		}
	}
}

// TestPostdropSetgid installs it as its README says, and runs it as somebody who
// has no rights.
func TestPostdropSetgid(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can install it")
	}
	if testing.Short() {
		t.Skip("builds the program")
	}
	const uid, gid, group = 54321, 54321, 54322
	base := t.TempDir()
	require.NoError(t, os.Chmod(base, 0o711))
	require.NoError(t, os.Chmod(filepath.Dir(base), 0o711))
	var fs unix.Statfs_t
	require.NoError(t, unix.Statfs(base, &fs))
	if fs.Flags&unix.ST_NOSUID != 0 {
		t.Skip("the file system of the temporary directory is mounted nosuid")
	}
	drop, program := filepath.Join(base, "maildrop"), filepath.Join(base, "postdrop")
	require.NoError(t, os.Mkdir(drop, 0o700))
	require.NoError(t, os.Chown(drop, 0, group))
	require.NoError(t, os.Chmod(drop, os.ModeSticky|0o730))
	out, err := exec.Command("go", "build", "-ldflags", "-X main.directory="+drop, "-o", program, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, os.Chown(program, 0, group))
	require.NoError(t, os.Chmod(program, os.ModeSetgid|0o755))

	elsewhere := filepath.Join(base, "elsewhere") // where only the group gets
	require.NoError(t, os.Mkdir(elsewhere, 0o700))
	require.NoError(t, os.Chown(elsewhere, 0, group))
	require.NoError(t, os.Chmod(elsewhere, 0o730))
	asUser := func(stdin string, args ...string) (int, string) {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/bin:/bin", "GODEBUG=execerrdot=0", "GOTRACEBACK=crash"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}}
		cmd.Stdin = strings.NewReader(stdin)
		out, _ := cmd.CombinedOutput()
		return cmd.ProcessState.ExitCode(), string(out)
	}
	good := submission(t, "Subject: x\n\nHi\n", nil)
	code, text := asUser(good, program)
	require.Equal(t, exitOK, code, text)
	name := strings.TrimSpace(text)
	for _, refused := range []struct {
		stdin string
		code  int
		args  []string
	}{
		{good, exitUsage, []string{program, elsewhere}},
		{submission(t, "x", map[string]string{"tenant": "root"}), exitDataErr, []string{program}},
		{"", 2, []string{"ls", drop}},
		{"", 1, []string{"cat", filepath.Join(drop, name)}},
		{"", 1, []string{"rm", "-f", filepath.Join(drop, name)}},
		{"", 1, []string{"ln", "-s", "/etc/shadow", filepath.Join(drop, "link")}},
	} {
		code, text := asUser(refused.stdin, refused.args...)
		assert.Equal(t, refused.code, code, "%v: %s", refused.args, text)
	}
	assert.Empty(t, names(t, elsewhere))
	require.Equal(t, []string{name}, names(t, drop))
	info, err := os.Stat(filepath.Join(drop, name))
	require.NoError(t, err)
	assert.Equal(t, uint32(uid), info.Sys().(*syscall.Stat_t).Uid, "the file is the user's")

	s := new(memspool.Spool)
	n, err := (&queue.Maildrop{Dir: drop, Queue: s}).Look(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	for e, err := range s.Entries(t.Context()) {
		require.NoError(t, err)
		m, err := s.Open(t.Context(), e.ID)
		require.NoError(t, err)
		assert.Equal(t, "54321", m.Envelope.Attrs[queue.AttrUID])
		received, _ := m.Message.Header.Get("Received")
		assert.Contains(t, received, "from userid 54321")
	}
}

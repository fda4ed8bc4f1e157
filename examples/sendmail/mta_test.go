package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mta starts examples/mta in dir and waits until it is ready.
func mta(t *testing.T, program, dir string) (stop func()) {
	t.Helper()
	cmd := exec.Command(program, "-dir", dir, "-smtp", "127.0.0.1:0", "-submission", "", "-hostname", "mx.example.test", "-queue-run", "50ms", "-log", "off")
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	ended := false
	stop = func() {
		if !ended {
			ended = true
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(line, "ready "), line)
	return stop
}

// mails waits for so many mails in a mailbox, and returns them.
func mails(t *testing.T, dir, box string, n int) (texts []string) {
	t.Helper()
	pattern := filepath.Join(dir, "mail", "example.test", box, "new", "*")
	require.Eventually(t, func() bool {
		files, _ := filepath.Glob(pattern)
		return len(files) >= n
	}, 30*time.Second, 10*time.Millisecond)
	files, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.Len(t, files, n)
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		texts = append(texts, string(text))
		require.NoError(t, os.Remove(f))
	}
	return texts
}

// TestMTA sends by way of a real server, while it runs and while it does not.
func TestMTA(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds a program")
	}
	base := t.TempDir()
	program, dir := filepath.Join(base, "mta"), filepath.Join(base, "data")
	out, err := exec.Command("go", "build", "-o", program, "../mta").CombinedOutput()
	require.NoError(t, err, string(out))
	mta(t, program, dir)() // it makes its directory

	// Down: it is picked up at the next start.
	r := sendmail(t, dir, "Subject: down\nTo: team\nBcc: bob\n\nHi\n.\nnot this\n", "-t", "-v", "-F", "Alice, the First", "-f", "alice")
	require.Equal(t, 0, r.code, r.stderr)
	require.Contains(t, r.stdout, "left in the maildrop ")
	stop := mta(t, program, dir)
	for _, box := range []string{"alice", "bob", "carol"} {
		text := mails(t, dir, box, 1)[0]
		assert.Contains(t, text, "Return-Path: <alice@example.test>\n")
		assert.Regexp(t, `(?m)^Received: by mx\.example\.test \(mtakit, from userid `+uid()+`\)\n\tid [A-Z2-7]{26}; `, text)
		assert.Contains(t, text, "\nFrom: \"Alice, the First\" <alice@example.test>\n")
		assert.Regexp(t, `\nDate: .*\nMessage-ID: <.*@mx\.example\.test>\n`, text)
		assert.True(t, strings.HasSuffix(text, "Subject: down\nTo: team\n\nHi\n"), text)
	}

	// Up: the answer is its queue ID.
	r = sendmail(t, dir, "From: x@example.test\nSubject: up\n\nHi\n", "-v", "-f", "bob@example.test", "alice@example.test")
	require.Equal(t, 0, r.code, r.stderr)
	id, queued := strings.CutPrefix(strings.TrimSpace(r.stdout), "queued ")
	require.True(t, queued, r.stdout)
	require.Regexp(t, regexp.MustCompile(`^\w+$`), id)
	text := mails(t, dir, "alice", 1)[0]
	assert.Equal(t, 1, strings.Count(text, "\nFrom: "))
	assert.Contains(t, text, "Received: by mx.example.test (mtakit, from userid "+uid()+"); ")
	r = sendmail(t, dir, "Subject: make money fast\n\n", "-f", "bob", "alice")
	assert.Equal(t, exitUnavailable, r.code, r.stderr)

	// Who is there.
	r = sendmail(t, dir, "", "-bv", "team", "alice@example.test")
	assert.Equal(t, 0, r.code, r.stderr)
	for _, box := range []string{"alice", "bob", "carol"} {
		assert.Contains(t, r.stdout, box+"@example.test... deliverable: ")
	}
	r = sendmail(t, dir, "", "-bv", "nobody.is.here")
	assert.Equal(t, exitNoUser, r.code, r.stderr)
	assert.Contains(t, r.stdout, "nobody.is.here@example.test... undeliverable: ")

	r = run1(t, command(dir, "mailq"), "")
	assert.Equal(t, 0, r.code, r.stderr)
	assert.Contains(t, r.stdout, "Mail queue is empty")
	assert.Equal(t, 0, sendmail(t, dir, "", "-q").code)
	r = run1(t, command(dir, "newaliases"), "")
	assert.Equal(t, 0, r.code, r.stdout)
	stop()
}

// TestMail sends with mail(1), as cron jobs and scripts do.
func TestMail(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("bsd-mailx")
	if err != nil {
		message := "bsd-mailx is missing: apt-get install bsd-mailx"
		require.NotEqual(t, "all", os.Getenv("MTAKIT_REQUIRE"), message)
		t.Skip(message)
	}
	dir := home(t)
	rc := filepath.Join(dir, "mailrc")
	require.NoError(t, os.WriteFile(rc, []byte("set sendmail="+os.Args[0]+"\n"), 0o600))
	cmd := exec.Command(program, "-s", "from cron", "-c", "carol@example.net", "bob@example.net")
	cmd.Env = []string{asProgram + "=1", "MAIL_CONFIG=" + dir, "PATH=" + os.Getenv("PATH"), "MAILRC=" + rc, "HOME=" + dir}
	r := run1(t, cmd, "Hi\n.\nstill\n")
	require.Equal(t, 0, r.code, r.stderr)
	var texts []string
	require.Eventually(t, func() bool { // it does not wait for sendmail
		texts = append(texts, dropped(t, dir)...)
		return len(texts) > 0
	}, 20*time.Second, 10*time.Millisecond)
	assert.Contains(t, texts[0], "recipient: <bob@example.net>\n")
	assert.Contains(t, texts[0], "recipient: <carol@example.net>\n")
	assert.Contains(t, texts[0], "Subject: from cron\n")
	assert.True(t, strings.HasSuffix(texts[0], "\nHi\n.\nstill\n"), texts[0])
}

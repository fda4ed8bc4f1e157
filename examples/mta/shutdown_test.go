package main

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// exits waits for the end of the program and returns its exit code.
func (p *program) exits(t *testing.T) int {
	t.Helper()
	overdue := time.AfterFunc(20*time.Second, func() { p.cmd.Process.Kill() })
	defer overdue.Stop()
	p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode() // -1 when it was killed
}

// TestShutdown: idle clients are told to go, open transactions may end.
func TestShutdown(t *testing.T) {
	t.Parallel()
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			p := launch(t, t.TempDir(), "-metrics", "127.0.0.1:0")
			idle, busy := dial(t, p.smtp), dial(t, p.smtp)
			submission := dial(t, p.submission)
			idle.talk("EHLO client.example.net", "250")
			busy.talk("EHLO client.example.net", "250", "MAIL FROM:<friend@example.net>", "250", "RCPT TO:<alice@example.test>", "250", "DATA", "354")
			require.NoError(t, p.cmd.Process.Signal(sig))
			assert.Regexp(t, `^421 4\.3\.2 mx\.example\.test `, idle.reply())
			assert.Regexp(t, `^421 4\.3\.2 mx\.example\.test `, submission.reply())
			idle.gone()
			assert.Regexp(t, queuedAs, busy.say(hello+"."))
			busy.conn.Close()
			assert.Equal(t, 0, p.exits(t))
			_, err := dialError(p.smtp)
			assert.Error(t, err)
			launch(t, p.dir).mails(t, "example.test/alice", 1)
		})
	}
}

// TestShutdownOfSlowPeers: a client in the middle of a message that never ends,
// and a relay host that never answers, hold nothing up for longer than it says.
func TestShutdownOfSlowPeers(t *testing.T) {
	t.Parallel()
	silent := silentServer(t)
	p := launch(t, t.TempDir(), "-relayhost", silent.Addr().String())
	dial(t, p.smtp).send("friend@example.net", "friend@elsewhere.example", hello)
	c := dial(t, p.smtp)
	c.talk("EHLO client.example.net", "250", "MAIL FROM:<friend@example.net>", "250", "RCPT TO:<alice@example.test>", "250", "DATA", "354")
	conn, err := silent.Accept()
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, 0, p.exits(t))
	c.gone()
	assert.Len(t, p.queued(t), 1)
}

// TestReadyLine: one line, and nothing more.
func TestReadyLine(t *testing.T) {
	t.Parallel()
	cmd := command("-dir", t.TempDir(), "-smtp", "127.0.0.1:0", "-submission", "", "-log", "off")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	p := &program{cmd: cmd, stderr: &syncBuffer{}}
	t.Cleanup(func() { cmd.Process.Kill() })
	line := readLine(t, out)
	m := readyLine.FindStringSubmatch(line)
	require.NotNil(t, m, line)
	assert.Empty(t, m[2])
	dial(t, m[1]).send("friend@example.net", "alice@example.test", hello)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	assert.Empty(t, readAll(t, out))
	assert.Equal(t, 0, p.exits(t))
}

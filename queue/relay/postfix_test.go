package relay_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/queue/relay"
)

// sink starts Postfix's smtp-sink(1) at a socket of its own and returns the next
// hop and the directory into which it writes each message.
func sink(t *testing.T, options ...string) (hop, dir string) {
	t.Helper()
	program, err := exec.LookPath("smtp-sink")
	if err != nil {
		program = "/usr/sbin/smtp-sink"
	}
	if _, err := os.Stat(program); err != nil {
		message := "smtp-sink is missing: apt-get install postfix"
		require.NotEqual(t, "all", os.Getenv("MTAKIT_REQUIRE"), message)
		t.Skip(message)
	}
	dir = t.TempDir()
	socket := filepath.Join(dir, "s")
	args := append(options, "-d", filepath.Join(dir, "mail.%M."), "unix:"+socket, "10")
	if os.Getuid() == 0 {
		args = append([]string{"-u", "root"}, args...) // or else it may not write into dir
	}
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond, "smtp-sink does not listen")
	return "unix:" + socket, dir
}

func sunk(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "mail.*"))
	require.NoError(t, err)
	var messages []string
	for _, name := range names {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		messages = append(messages, string(b))
	}
	return messages
}

// TestPostfix: Postfix's own test server takes what we send, by SMTP and LMTP,
// with its features and without, and with refusals.
func TestPostfix(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		options []string
		lmtp    bool
		want    string
		files   int
	}{
		{"ESMTP", nil, false, "relayed 2.0.0", 3},
		{"no EHLO", []string{"-e"}, false, "relayed 2.0.0", 3},
		{"no pipelining", []string{"-p"}, false, "relayed 2.0.0", 3},
		{"LMTP", []string{"-L"}, true, "relayed 2.2.0", 3},
		{"hard rejects of RCPT", []string{"-f", "RCPT"}, false, "bounced 5.3.0", 0},
		{"soft rejects of MAIL", []string{"-r", "MAIL"}, false, "deferred 4.3.0", 0},
		{"disconnects at DATA", []string{"-q", "DATA"}, false, "deferred 4.4.2", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			hop, dir := sink(t, tt.options...)
			a := agent(t, keep, func(a *relay.Agent) { a.LMTP = tt.lmtp })
			for range 3 {
				results := deliver(t, a, delivery(hop, "a@example.org", "b@example.org"))
				for _, r := range results {
					r.DSN = false // newer ones offer it
					assert.Equal(t, tt.want, brief(r), r.Diagnostic)
				}
			}
			messages := sunk(t, dir)
			if tt.files == 0 {
				return // smtp-sink begins a file at MAIL
			}
			assert.Len(t, messages, tt.files)
			for _, m := range messages {
				assert.Contains(t, m, "Subject: hello\n\nHi Alice\n")
			}
		})
	}
}

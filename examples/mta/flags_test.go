package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// failing runs the program and expects one clear line on standard error.
func failing(t *testing.T, args ...string) string {
	t.Helper()
	cmd := command(args...)
	overdue := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer overdue.Stop()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	require.Error(t, err)
	assert.Equal(t, 1, cmd.ProcessState.ExitCode())
	assert.Empty(t, stdout.String(), "%q started", args)
	line, rest, _ := strings.Cut(stderr.String(), "\n")
	assert.Empty(t, rest)
	assert.True(t, strings.HasPrefix(line, "mta: "), line)
	return line
}

func TestBadFlags(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tests := []struct {
		args []string
		says string
	}{
		{[]string{"-nonsense"}, "-nonsense"},
		{[]string{"-lifetime", "soon"}, "-lifetime"},
		{[]string{"-lifetime", "-1s"}, "-lifetime"},
		{[]string{"-min-backoff", "0"}, "-min-backoff"},
		{[]string{"-min-backoff", "2h"}, "-max-backoff"},
		{[]string{"-queue-run", "0s"}, "-queue-run"},
		{[]string{"-timeout", "0s"}, "-timeout"},
		{[]string{"-max-size", "-1"}, "-max-size"},
		{[]string{"-max-size", "big"}, "-max-size"},
		{[]string{"-log", "xml"}, `-log "xml": want text, json or off`},
		{[]string{"-relayhost", "mail.example.org"}, `-relayhost "mail.example.org": want host:port`},
		{[]string{"-relayhost", ":25"}, `-relayhost ":25": want host:port`},
		{[]string{"-relayhost", "mail.example.org:"}, "-relayhost"},
		{[]string{"-relayhost", "mail.example.org:smtq"}, "-relayhost"},
		{[]string{"-hostname", ""}, "-hostname"},
		{[]string{"-hostname", "no name"}, "-hostname"},
		{[]string{"-dir", ""}, "-dir"},
		{[]string{"-smtp", ""}, "-smtp"},
		{[]string{"-smtp", "2525"}, "2525"},
		{[]string{"-submission", "127.0.0.1:nonsense"}, "-submission"},
		{[]string{"-metrics", "127.0.0.1"}, "-metrics"},
		{[]string{"-notify", "bounces"}, "-notify"},
		{[]string{"-templates", "no/such/file"}, "-templates"},
		{[]string{"-templates", "flags.go"}, "line 1: want"},
		{[]string{"serve"}, `unexpected argument "serve"`},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			t.Parallel()
			args := append([]string{"-smtp", "127.0.0.1:0", "-submission", "127.0.0.1:0", "-dir", filepath.Join(dir, "never")}, tt.args...)
			assert.Contains(t, failing(t, args...), tt.says)
		})
	}
	t.Cleanup(func() { assert.NoDirExists(t, filepath.Join(dir, "never"), "made before the flags were looked at") })
}

func TestHelp(t *testing.T) {
	t.Parallel()
	out, err := command("-h").Output()
	require.NoError(t, err)
	for _, flag := range []string{"dir", "smtp", "submission", "hostname", "relayhost", "min-backoff", "max-backoff",
		"lifetime", "warning-after", "queue-run", "timeout", "max-size", "notify", "templates", "log", "metrics", "control", "demo"} {
		assert.Contains(t, string(out), "\n  -"+flag, flag)
	}
}

func TestFlagValues(t *testing.T) {
	t.Parallel()
	c, err := parseFlags(nil, nil)
	require.NoError(t, err)
	assert.Equal(t, config{dir: "mta-data", smtp: "127.0.0.1:2525", submission: "127.0.0.1:2587", hostname: "mx.example.test",
		minBackoff: 300 * time.Second, maxBackoff: 4000 * time.Second, lifetime: 120 * time.Hour, warningAfter: 4 * time.Hour,
		queueRun: time.Second, timeout: 300 * time.Second, maxSize: 10240000, syncfs: "auto", notify: "resource, software", log: "text", control: "control.sock"}, c)

	c, err = parseFlags([]string{"-lifetime", "5d", "-max-backoff", "1w", "-min-backoff", "90", "-warning-after", "1h30m", "-relayhost", "[::1]:25"}, nil)
	require.NoError(t, err)
	assert.Equal(t, []time.Duration{120 * time.Hour, 168 * time.Hour, 90 * time.Second, 90 * time.Minute},
		[]time.Duration{c.lifetime, c.maxBackoff, c.minBackoff, c.warningAfter})
	assert.Equal(t, "[::1]:25", relayhost(c.relayhost))
}

func TestBusyPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for _, flag := range []string{"-smtp", "-submission", "-metrics"} {
		line := failing(t, "-dir", t.TempDir(), "-smtp", "127.0.0.1:0", "-submission", "127.0.0.1:0", flag, l.Addr().String())
		assert.Contains(t, line, flag)
		assert.Contains(t, line, l.Addr().String())
		assert.Contains(t, line, "address already in use")
	}
}

func TestSecondStart(t *testing.T) {
	t.Parallel()
	p := launch(t, t.TempDir())
	line := failing(t, "-dir", p.dir, "-smtp", "127.0.0.1:0", "-submission", "")
	assert.Contains(t, line, p.dir)
	assert.Contains(t, line, "another mta uses")
	dial(t, p.smtp).send("friend@example.net", "alice@example.test", hello) // the first goes on
}

func TestUnusableDirectory(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, dir := range []string{file, filepath.Join(file, "below"), "/proc/mtakit"} {
		assert.Contains(t, failing(t, "-dir", dir, "-smtp", "127.0.0.1:0", "-submission", ""), dir)
	}
	for _, part := range []string{"etc", "etc/domains", "queue", "queue/active", "mail", "tls"} {
		dir := t.TempDir()
		name := filepath.Join(dir, part)
		if part == "etc/domains" {
			require.NoError(t, os.MkdirAll(name, 0o700)) // a directory in the place of a file
		} else {
			write(t, name, "a file in the place of a directory")
		}
		assert.Contains(t, failing(t, "-dir", dir, "-smtp", "127.0.0.1:0", "-submission", ""), name)
	}
}

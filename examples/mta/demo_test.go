package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// demonstrate runs -demo and returns what it printed.
func demonstrate(t *testing.T, args ...string) string {
	t.Helper()
	cmd := command(append([]string{"-demo"}, args...)...)
	cmd.Env = append(cmd.Env, "TMPDIR="+t.TempDir())
	overdue := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer overdue.Stop()
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

// TestDemo: it exits with 0 and says where everything lies, also the second time
// on the same directory.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	for range 2 {
		out := demonstrate(t, "-dir", dir, "-log", "text")
		assert.NotContains(t, out, "lost connection")
		assert.Contains(t, out, "with its files in "+dir+"\n")
		assert.Contains(t, out, "refused    550 5.1.6 <dave@example.test>: Recipient address rejected: User has moved to dave@example.net\n")
		assert.Contains(t, out, "refused    554 5.7.1 <friend@elsewhere.example>: Relay access denied\n")
		assert.Contains(t, out, "refused    550 5.7.1 we have enough\n")
		assert.Regexp(t, `deferred   friend@elsewhere\.example: 127\.0\.0\.1\[127\.0\.0\.1\]:\d+ said: 451 4\.7\.1 Greylisted`, out)
		assert.Regexp(t, `relayed    friend@elsewhere\.example: .* said: 250 2\.0\.0`, out)
		files := regexp.MustCompile(`(?m)^   delivered .*: (/.*)$`).FindAllStringSubmatch(out, -1)
		require.Len(t, files, 5)
		for _, file := range files {
			assert.FileExists(t, file[1])
		}
		for _, q := range []string{"incoming", "active", "deferred", "hold", "corrupt"} {
			assert.Empty(t, glob(t, filepath.Join(dir, "queue", q, "*")), q)
		}
	}
}

// TestDemoKeepsItsDirectory: without -dir it makes one, and prints it.
func TestDemoKeepsItsDirectory(t *testing.T) {
	t.Parallel()
	out := demonstrate(t)
	m := regexp.MustCompile(`with its files in (\S+)\n`).FindStringSubmatch(out)
	require.NotNil(t, m, out)
	assert.FileExists(t, filepath.Join(m[1], "etc", "domains"))
	assert.True(t, strings.HasSuffix(out, "-demo -dir "+m[1]+"\n"), out)
}

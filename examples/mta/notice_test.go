package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestNotices has both ends of a notification be aliases.
func TestNotices(t *testing.T) {
	t.Parallel()
	dir := tablesIn(t, map[string]string{"aliases": "postmaster: alice@example.test\nteam: bob@example.test\n"})
	templates := filepath.Join(dir, "bounce.cf")
	require.NoError(t, os.WriteFile(templates, []byte("failure_template = <<EOF\nSubject: back to you\n\nThis is $myhostname.\nEOF\n"), 0o600))
	p := launch(t, dir, "-relayhost", "127.0.0.1:1", "-lifetime", "0", "-notify", "protocol", "-templates", templates)
	c := dial(t, p.smtp)
	c.send("team@example.test", "friend@elsewhere.example", "Subject: hello\r\n\r\nhello\r\n")
	text := p.mails(t, "example.test/bob", 1)[0]
	assert.Contains(t, text, "\nSubject: back to you\n")
	assert.Contains(t, text, "\n\nThis is mx.example.test.\n")
	assert.Contains(t, text, "\nFinal-Recipient: rfc822; friend@elsewhere.example\n")

	c.talk("FOO bar", "500", "QUIT", "221")
	text = p.mails(t, "example.test/alice", 1)[0]
	assert.Contains(t, text, "\nSubject: mx.example.test SMTP server: errors from unknown[127.0.0.1]\n")
	assert.Contains(t, text, "\n In:  MAIL FROM:<team@example.test>\n Out: 250 2.1.0 Ok\n")
	assert.Contains(t, text, "\n In:  (7 bytes that are no command)\n Out: 500 5.5.2 ")
	assert.NotContains(t, text, "hello")
}

package main

import (
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestCommands has aliases run commands, which no address of a client ever does.
func TestCommands(t *testing.T) {
	t.Parallel()
	me, err := user.Current()
	require.NoError(t, err)
	made := t.TempDir()
	ran, box := filepath.Join(made, "ran"), filepath.Join(made, "box")
	dir := tablesIn(t, map[string]string{"aliases": "postmaster: run\nrun: |cat >" + ran + ", alice, " + box + "\nalias: run\n"})
	p := launch(t, dir, "-commands", me.Username)
	c := dial(t, p.smtp)
	c.talk("MAIL FROM:<bob@second.test>", "250",
		`RCPT TO:<"|touch `+ran+`"@example.test>`, "550",
		"RCPT TO:<"+ran+"@example.test>", "550",
		"RSET", "250")
	c.send("bob@example.test", "alias@example.test", "Subject: hello\r\n\r\nFrom me\r\n")
	text := p.mails(t, "example.test/alice", 1)[0]
	assert.Contains(t, text, "\nX-Original-To: alias@example.test\nDelivered-To: alice@example.test\n")
	p.logged(t, "delivered to 3 destinations")
	assert.NotContains(t, p.stderr.String(), "leads nowhere", "postmaster has a command")
	for name, line := range map[string]string{ran: "\nFrom me\n", box: "\n>From me\n"} {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(string(b), "From bob@example.test "))
		assert.Contains(t, string(b), line)
	}
}

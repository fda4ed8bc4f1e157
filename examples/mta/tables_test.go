package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tableNames are the files of etc/.
var tableNames = []string{"access", "aliases", "authorized_flush_users", "authorized_mailq_users", "authorized_submit_users", "body_checks", "canonical", "domains", "header_checks", "mailboxes",
	"networks", "relocated", "transport", "users", "virtual"}

// TestFirstRun: all that is missing is made, and nothing that is there changes.
func TestFirstRun(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	p := launch(t, dir)
	require.Equal(t, dir, p.dir)
	for _, name := range tableNames {
		text, err := os.ReadFile(filepath.Join(dir, "etc", name))
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(string(text), "# "), "%s has no comment", name)
	}
	for _, name := range []string{"maildrop", "incoming", "active", "deferred", "hold", "corrupt"} {
		assert.DirExists(t, filepath.Join(dir, "queue", name))
	}
	assert.FileExists(t, filepath.Join(dir, "tls", "ca.pem"))
	assert.NotContains(t, p.stderr.String(), "level=WARN")
	dial(t, p.smtp).send("friend@example.net", "team@example.test", hello)
	p.mails(t, "example.test/carol", 1)
	p.kill(t)

	before := tree(t, dir)
	gone := []string{"etc/aliases", "mail/example.test/carol/cur", "queue/hold"}
	for _, name := range gone {
		require.NoError(t, os.RemoveAll(filepath.Join(dir, name)))
	}
	write(t, filepath.Join(dir, "etc", "virtual"), "mine@example.test alice@example.test\n")
	before["etc/virtual"] = "mine@example.test alice@example.test\n"
	launch(t, dir).kill(t)
	after := tree(t, dir)
	for name, text := range before {
		if strings.HasPrefix(name, "etc/") || strings.HasPrefix(name, "tls/") || strings.HasPrefix(name, "mail/") {
			assert.Equal(t, text, after[name], name)
		}
	}
	assert.DirExists(t, filepath.Join(dir, "queue", "hold"))
}

// tree reads all files below a directory.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(name)
		files[strings.TrimPrefix(name, dir+"/")] = string(text)
		return err
	}))
	return files
}

// TestBadLines: each is named in the log, and the rest of its table is in force.
func TestBadLines(t *testing.T) {
	t.Parallel()
	dir := tablesIn(t, map[string]string{
		"domains":       "example.test\n\"second.test\nthird.test\n",
		"mailboxes":     "alice@example.test a/\nbob@example.test\n",
		"networks":      "# comment\n10.0.0.300/8 OK\n127.0.0.1/8 OK\n127.0.0.0/8 OK\n",
		"access":        "\n\nlonely\nFrom:x@example.net REJECT\n",
		"aliases":       "postmaster: alice\nno colon here\nrun: |/bin/sh -c true\nfile: /etc/passwd\nlist: alice,\n  :include:/etc/list\nok: alice\n",
		"header_checks": "/^Subject: (/ REJECT\n/^Subject: bad/ REJECT bad\n",
		"body_checks":   "/x REJECT\nno slash\n/^bad body/ REJECT bad\n",
	})
	p := launch(t, dir)
	for _, where := range []struct {
		table, line, reason string
	}{
		{"domains", "line=2", "unbalanced"}, {"mailboxes", "line=2", "without a value"}, {"networks", "line=2", "10.0.0.300"}, {"networks", "line=3", "127.0.0.1/8"},
		{"access", "line=3", "without a value"}, {"aliases", "line=2", "no colon"}, {"aliases", "line=3", "not enabled"},
		{"aliases", "line=4", "not enabled"}, {"aliases", "line=5", "no such file"},
		{"header_checks", "line=1", ""}, {"body_checks", "line=1", ""}, {"body_checks", "line=2", ""},
	} {
		p.logged(t, "level=WARN", "file="+filepath.Join(p.dir, "etc", where.table)+" ", where.line+" ", where.reason)
	}
	p.logged(t, "postmaster leads nowhere", "postmaster@third.test")
	assert.NotContains(t, p.stderr.String(), "postmaster@example.test")

	c := dial(t, p.smtp)
	c.talk("EHLO client.example.net", "250", "MAIL FROM:<x@example.net>", "250", "RCPT TO:<alice@example.test>", "554 5.7.1 ", "RSET", "250",
		"MAIL FROM:<friend@example.net>", "250", "RCPT TO:<run@example.test>", "451 4.3.0 ", "RCPT TO:<list@example.test>", "451 4.3.0 ",
		"RCPT TO:<elsewhere@example.net>", "250", // from networks
		"RCPT TO:<bob@example.test>", "550 5.1.1 ", "RCPT TO:<ok@example.test>", "250 2.1.5")
	assert.Equal(t, "550 5.7.1 bad", c.data("Subject: bad\r\n\r\n"))
	c.talk("MAIL FROM:<friend@example.net>", "250", "RCPT TO:<ok@example.test>", "250 2.1.5")
	assert.Equal(t, "550 5.7.1 bad", c.data("Subject: good\r\n\r\nbad body\r\n"))
	c.send("friend@example.net", "ok@example.test", hello)
	p.mails(t, "a", 1)
}

// TestReload: SIGHUP reads what has changed, also what is wrong with it, and
// what cannot be read stays in force.
func TestReload(t *testing.T) {
	t.Parallel()
	p := launch(t, tablesIn(t, map[string]string{"networks": "[::1]/128\n"}))
	etc := filepath.Join(p.dir, "etc")
	c := dial(t, p.smtp)
	c.talk("EHLO client.example.net", "250", "MAIL FROM:<friend@example.net>", "250", "RCPT TO:<new@example.test>", "550 5.1.1 ",
		"RCPT TO:<b@elsewhere.example>", "554 5.7.1 ")
	write(t, filepath.Join(etc, "mailboxes"), "new@example.test new/\nalice@example.test a/\n")
	write(t, filepath.Join(etc, "networks"), "127.0.0.0/8\n")
	write(t, filepath.Join(etc, "access"), "From:friend@example.net DUNNO\nfoe@example.net REJECT\n")
	write(t, filepath.Join(etc, "aliases"), "postmaster: nobody\nrun: |true\n")
	require.NoError(t, os.Remove(filepath.Join(etc, "header_checks")))
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGHUP))
	p.logged(t, "bad line in table", "file="+filepath.Join(etc, "aliases")+" line=2 ", "not enabled")
	p.logged(t, "stays as it was", "header_checks")
	p.logged(t, "postmaster leads nowhere", "postmaster@example.test")
	c.talk("RCPT TO:<new@example.test>", "250 2.1.5", "RCPT TO:<b@elsewhere.example>", "250 2.1.5", "RSET", "250",
		"MAIL FROM:<foe@example.net>", "250", "RCPT TO:<new@example.test>", "554 5.7.1 ", "RSET", "250",
		"MAIL FROM:<friend@example.net>", "250", "RCPT TO:<new@example.test>", "250")
	assert.Equal(t, "550 5.7.1 we have enough", c.data("Subject: make money fast\r\n\r\n"))
}

// TestTablesChange: without a word to the server a change is in force when it is
// two seconds old.
func TestTablesChange(t *testing.T) {
	t.Parallel()
	p := launch(t, tablesIn(t, map[string]string{"networks": "[::1]/128\n"}))
	c := dial(t, p.smtp)
	c.talk("EHLO client.example.net", "250", "MAIL FROM:<friend@example.net>", "250", "RCPT TO:<new@example.test>", "550 5.1.1 ",
		"RCPT TO:<b@elsewhere.example>", "554 5.7.1 ")
	past := time.Now().Add(-10 * time.Second) // as if the files had been written then
	for name, text := range map[string]string{
		"mailboxes":     "new@example.test new/\n",
		"networks":      "127.0.0.0/8\n",
		"access":        "From:foe@example.net REJECT\n",
		"header_checks": "/^Subject: new/ REJECT as of now\n",
		"aliases":       "postmaster: new\nrun: |true\n",
		"relocated":     "dave@example.test dave@new.example\n",
	} {
		path := filepath.Join(p.dir, "etc", name)
		write(t, path, text)
		require.NoError(t, os.Chtimes(path, past, past))
	}
	says := func(to, what string) { // a client that is refused too often is made to wait
		eventually(t, func() bool {
			c := dial(t, p.smtp)
			defer c.conn.Close()
			c.talk("EHLO client.example.net", "250", "MAIL FROM:<friend@example.net>", "250")
			return strings.Contains(c.say("RCPT TO:<"+to+">"), what)
		}, p)
	}
	says("new@example.test", "250 2.1.5")
	says("b@elsewhere.example", "250 2.1.5")
	says("dave@example.test", "550 5.1.6 <dave@example.test>: Recipient address rejected: User has moved to dave@new.example")
	says("run@example.test", "451 4.3.0")
	p.logged(t, "bad line in table", "file="+filepath.Join(p.dir, "etc", "aliases")+" line=2 ")
	c.talk("RCPT TO:<new@example.test>", "250 2.1.5")
	assert.Equal(t, "550 5.7.1 as of now", c.data("Subject: new\r\n\r\n"))
}

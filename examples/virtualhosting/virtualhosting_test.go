package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/servertest"
)

// newDatabase starts a MariaDB with an empty database, and returns its DSN.
func newDatabase(t *testing.T) (*servertest.Server, string) {
	t.Helper()
	s := servertest.MariaDB(t)
	dsn := "root@unix(" + s.Socket + ")/"
	db, _, err := openDSN(dsn, newLogger("off", nil))
	require.NoError(t, err)
	defer db.Close()
	execute(t, db, "SET GLOBAL innodb_flush_log_at_trx_commit = 2") // what is committed outlives a kill
	execute(t, db, "CREATE DATABASE mail CHARACTER SET latin1 COLLATE latin1_swedish_ci")
	return s, dsn + "mail"
}

func TestDemo(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out, err strings.Builder
	require.Zero(t, run([]string{"-demo"}, &out, &err), "%s%s", &out, &err)
	assert.Contains(t, out.String(), "refused    550 5.1.1 <nobody@example.test>: Recipient address rejected: User unknown")
	assert.Contains(t, out.String(), "refused    554 5.7.1 <friend@elsewhere.example>: Relay access denied")
	assert.Equal(t, 2, strings.Count(out.String(), "refused    535 5.7.8 "))
	assert.Equal(t, 4, strings.Count(out.String(), "   delivered  "))
	assert.Contains(t, out.String(), "bounced    bob@example.test: 5.2.2 mailbox full: quota exceeded")
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	relay := freeAddr(t)
	h := launch(t, "-relayhost", relay)
	testInstallation(t, h, sink(t, relay))
}

func TestMariaDB(t *testing.T) {
	t.Parallel()
	_, dsn := newDatabase(t)
	relay := freeAddr(t)
	h := launch(t, "-relayhost", relay, "-mysql", dsn, "-init")
	testInstallation(t, h, sink(t, relay))
}

// freeAddr is where nobody listens yet.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

func testInstallation(t *testing.T, h *house, relayed <-chan string) {
	t.Run("recipients", func(t *testing.T) { testRecipients(t, h) })
	t.Run("logins", func(t *testing.T) { testLogins(t, h, relayed) })
	t.Run("injections", func(t *testing.T) { testInjections(t, h) })
	t.Run("quota", func(t *testing.T) { testQuota(t, h) })
}

func testRecipients(t *testing.T, h *house) {
	c := dial(t, h.smtp.Addr())
	c.talk("MAIL FROM:<visitor@example.net>", "250 2.1.0",
		"RCPT TO:<nobody@example.test>", "550 5.1.1 <nobody@example.test>: Recipient address rejected: User unknown in virtual mailbox table",
		"RCPT TO:<friend@elsewhere.example>", "554 5.7.1 <friend@elsewhere.example>: Relay access denied",
		"RCPT TO:<alice@sub.example.test>", "554 5.7.1 ",
		"RCPT TO:<ALICE@Example.TEST>", "250 2.1.5",
		"RCPT TO:<team@example.test>", "250 2.1.5",
		"RCPT TO:<postmaster>", "250 2.1.5", "VRFY alice@example.test", "252 2.0.0", "VRFY nobody@example.test", "550 5.1.1")
	c.data("to all", 0)
	h.await(t, "bob@example.test", mtakit.Delivered, "example.test/bob/Maildir/new/")
	require.Eventually(t, func() bool { return len(h.mails(t, "example.test/alice/Maildir")) == 1 }, patience, patience/1000, "once, by all ways")
	assert.Contains(t, h.mails(t, "example.test/bob/Maildir")[0], "X-Original-To: team@example.test\nDelivered-To: bob@example.test\n")
}

func testLogins(t *testing.T, h *house, relayed <-chan string) {
	c := dial(t, h.smtp.Addr())
	assert.NotContains(t, c.say("EHLO client.example.net"), "AUTH")
	c = dial(t, h.submission.Addr())
	c.talk("MAIL FROM:<alice@example.test>", "530 5.7.0", plain("alice@example.test", samplePassword), "538 5.7.11 ")
	c = h.dialTLS(t)
	assert.Contains(t, c.say("EHLO client.example.net"), "AUTH PLAIN LOGIN")
	c.talk("MAIL FROM:<alice@example.test>", "530 5.7.0 ",
		plain("alice@example.test", "wrong"), "535 5.7.8 ",
		plain("nobody@example.test", samplePassword), "535 5.7.8 ",
		plain("alice@example.test", ""), "535 5.7.8 ",
		plain("alice@example.test", samplePassword), "235 2.7.0 ",
		"MAIL FROM:<alice@example.test>", "250", "RCPT TO:<friend@elsewhere.example>", "250 2.1.5")
	c.data("out", 0)
	assert.Equal(t, "friend@elsewhere.example", <-relayed)
	h.await(t, "friend@elsewhere.example", mtakit.Relayed, "")
	c = h.dialTLS(t)
	c.talk("AUTH LOGIN", "334 ", base64ed("bob@example.test"), "334 ", base64ed(samplePassword), "235 2.7.0 ")
	// Whom the database gives no password nobody logs in as.
	execute(t, h.tables.db, "INSERT INTO passwd (id, pass, home) VALUES ('mute@example.test', '', '/example.test/mute')")
	c = h.dialTLS(t)
	c.talk(plain("mute@example.test", ""), "535 5.7.8 ", plain("mute@example.test", "x"), "535 5.7.8 ")
}

// injections would be somebody, or do harm, if they became part of a statement.
var injections = []string{
	"' OR 1=1 -- ", "' OR '1'='1", "' OR 1=1 #", "x' UNION SELECT pass FROM passwd -- ", "'; DROP TABLE passwd; -- ",
	`\' OR 1=1 -- `, `\`, "'", "''", "%", "alice%", "_lice", "%s", "?", "alice' -- ", "alice/*", "\xbf' OR 1=1 -- ", "alice\u0301", "\u00e1lice",
}

func testInjections(t *testing.T, h *house) {
	for _, s := range injections {
		for _, user := range []string{s, s + "@example.test", "alice@example.test" + s, "alice@" + s} {
			c := h.dialTLS(t)
			c.talk(plain(user, samplePassword), "535 5.7.8 ", plain(user, ""), "535 5.7.8 ")
		}
		c := dial(t, h.smtp.Addr())
		c.talk("MAIL FROM:<visitor@example.net>", "250")
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
		got := c.say(`RCPT TO:<"` + quoted + `"@example.test>`)
		assert.Regexp(t, `^5\d\d 5\.[1567]\.`, got, "%q", s)
	}
	var n int
	require.NoError(t, h.tables.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM passwd").Scan(&n))
	assert.Equal(t, 3, n)
}

func testQuota(t *testing.T, h *house) {
	execute(t, h.tables.db, "UPDATE passwd SET quota = '20000S' WHERE id = 'bob@example.test'")
	c := h.dialTLS(t)
	c.talk(plain("alice@example.test", samplePassword), "235 ")
	before := len(h.mails(t, "example.test/alice/Maildir"))
	for _, outcome := range []mtakit.Outcome{mtakit.Delivered, mtakit.Bounced} {
		c.talk("MAIL FROM:<alice@example.test>", "250", "RCPT TO:<bob@example.test>", "250")
		c.data("long", 12000)
		h.await(t, "bob@example.test", outcome, "")
	}
	c.talk("MAIL FROM:<alice@example.test> SIZE=12000", "250",
		"RCPT TO:<bob@example.test>", "552 5.2.2 <bob@example.test>: Recipient address rejected: mailbox full: quota exceeded",
		"RCPT TO:<team@example.test>", "250", "RSET", "250",
		"MAIL FROM:<alice@example.test> SIZE=120", "250", "RCPT TO:<bob@example.test>", "250")
	h.await(t, "alice@example.test", mtakit.Delivered, "")
	texts := h.mails(t, "example.test/alice/Maildir")
	require.Len(t, texts, before+1)
	assert.Contains(t, strings.Join(texts, ""), "\nStatus: 5.2.2\n")
	sizes, err := os.ReadFile(filepath.Join(h.mail.Name(), "example.test/bob/Maildir/maildirsize"))
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(string(sizes), "20000S\n"), "%s", sizes)
}

// TestOwners: as root the mailboxes belong to the users of the database.
func TestOwners(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	h := launch(t)
	execute(t, h.tables.db, "UPDATE passwd SET uid = 5001, gid = 5002 WHERE id = 'alice@example.test'")
	execute(t, h.tables.db, "UPDATE passwd SET uid = 0 WHERE id = 'bob@example.test'")
	c := dial(t, h.smtp.Addr())
	c.talk("MAIL FROM:<visitor@example.net>", "250", "RCPT TO:<team@example.test>", "250")
	c.data("to both", 0)
	h.await(t, "alice@example.test", mtakit.Delivered, "")
	h.await(t, "bob@example.test", mtakit.Deferred, "4.3.5 mail system configuration error: mailbox owner")
	info, err := os.Stat(filepath.Join(h.mail.Name(), "example.test/alice/Maildir"))
	require.NoError(t, err)
	st := info.Sys().(*syscall.Stat_t)
	assert.Equal(t, [2]uint32{5001, 5002}, [2]uint32{st.Uid, st.Gid})
}

// TestDatabaseDown kills the database in the middle of all of it. Nobody is told
// that he does not exist, no mail is lost, and it goes on when it is back.
func TestDatabaseDown(t *testing.T) {
	t.Parallel()
	database, dsn := newDatabase(t)
	relay := freeAddr(t)
	h := launch(t, "-mysql", dsn, "-init", "-relayhost", relay, "-min-backoff", "300ms", "-max-backoff", "300ms", "-defer-over-quota")
	execute(t, h.tables.db, "UPDATE passwd SET quota = '100S' WHERE id = 'bob@example.test'")
	user := h.dialTLS(t)
	user.talk(plain("alice@example.test", samplePassword), "235 ", "MAIL FROM:<alice@example.test>", "250",
		"RCPT TO:<bob@example.test>", "250", "RCPT TO:<friend@elsewhere.example>", "250")
	user.data("waits", 1200)
	h.await(t, "bob@example.test", mtakit.Deferred, "4.2.2 mailbox full")
	open := dial(t, h.smtp.Addr())
	open.talk("MAIL FROM:<visitor@example.net>", "250", "RCPT TO:<alice@example.test>", "250")

	database.Kill()
	open.talk("RCPT TO:<bob@example.test>", "451 4.3.0 ", "RCPT TO:<nobody@example.test>", "451 4.3.0 ", "RCPT TO:<friend@elsewhere.example>", "451 4.3.0 ", "DATA", "354 ")
	assert.Regexp(t, `^451 4\.3\.0 `, open.say("Subject: late\r\n\r\n."))
	h.dialTLS(t).talk(plain("alice@example.test", samplePassword), "454 4.7.0 ", plain("alice@example.test", "wrong"), "454 4.7.0 ")
	for len(h.news) > 0 {
		<-h.news
	}
	h.await(t, "bob@example.test", mtakit.Deferred, "4.3.0")
	h.await(t, "friend@elsewhere.example", mtakit.Deferred, "4.3.0")

	database.Start()
	require.Eventually(t, func() bool {
		c := dial(t, h.smtp.Addr())
		c.talk("MAIL FROM:<visitor@example.net>", "250")
		return strings.HasPrefix(c.say("RCPT TO:<alice@example.test>"), "250 2.1.5")
	}, patience, patience/100)
	h.dialTLS(t).talk(plain("alice@example.test", samplePassword), "235 2.7.0 ")
	relayed := sink(t, relay)
	execute(t, h.tables.db, "UPDATE passwd SET quota = '0' WHERE id = 'bob@example.test'")
	h.await(t, "bob@example.test", mtakit.Delivered, "")
	assert.Equal(t, "friend@elsewhere.example", <-relayed)
	require.Len(t, h.mails(t, "example.test/bob/Maildir"), 1)
	require.Empty(t, h.mails(t, "example.test/alice/Maildir"), "nothing came back")
}

// TestStartsWithoutDatabase: the server comes up before its database does.
func TestStartsWithoutDatabase(t *testing.T) {
	t.Parallel()
	h := launch(t, "-mysql", "root@unix("+filepath.Join(t.TempDir(), "none")+")/mail")
	c := dial(t, h.smtp.Addr())
	c.talk("MAIL FROM:<visitor@example.net>", "250", "RCPT TO:<alice@example.test>", "451 4.3.0 ")
	h.dialTLS(t).talk(plain("alice@example.test", samplePassword), "454 4.7.0 ")
}

// TestConfigFiles has the table and the files of an old guide, and no more.
func TestConfigFiles(t *testing.T) {
	t.Parallel()
	database, dsn := newDatabase(t)
	db, _, err := openDSN(dsn, newLogger("off", nil))
	require.NoError(t, err)
	defer db.Close()
	execute(t, db, "CREATE TABLE passwd (id CHAR(128) PRIMARY KEY, pass CHAR(128), name CHAR(128), uid INT, gid INT, home CHAR(255), maildir CHAR(255))")
	execute(t, db, "INSERT INTO passwd VALUES ('ann@example.org', '{PLAIN}secret', 'Ann', 5000, 5000, '/', 'example.org/ann/'), ('low@example.org', '', 'Low', 10, 10, '/', 'example.org/low/')")
	cf := t.TempDir()
	text, err := os.ReadFile("../../lookup/testdata/mysql_virt.cf")
	require.NoError(t, err)
	var lines []string
	for line := range strings.Lines(string(text)) {
		for _, name := range []string{"user", "password", "dbname", "hosts"} {
			if strings.HasPrefix(line, name) {
				line = ""
			}
		}
		lines = append(lines, line)
	}
	execute(t, db, "CREATE USER mail REQUIRE X509")
	execute(t, db, "GRANT SELECT ON mail.* TO mail")
	dir := database.Dir
	lines = append(lines, "user = mail\ndbname = mail\nhosts = "+database.Addr+"\ntls_verify_cert = yes\ntls_CAfile = "+database.CA+
		"\ntls_cert_file = "+filepath.Join(dir, "client.pem")+"\ntls_key_file = "+filepath.Join(dir, "client-key.pem")+"\ncharset = latin1\n")
	require.NoError(t, os.WriteFile(filepath.Join(cf, "mysql_virt.cf"), []byte(strings.Join(lines, "")), 0o600))
	h := launch(t, "-cf", cf)
	c := dial(t, h.smtp.Addr())
	c.talk("MAIL FROM:<visitor@example.net>", "250", "RCPT TO:<ann@example.org>", "250 2.1.5", "RCPT TO:<low@example.org>", "550 5.1.1 ",
		"RCPT TO:<bob@example.org>", "550 5.1.1 ", "RCPT TO:<ann@example.net>", "554 5.7.1 ")
	c.data("old", 0)
	h.await(t, "ann@example.org", mtakit.Delivered, "example.org/ann/new/")
	h.dialTLS(t).talk(plain("ann@example.org", "secret"), "235 ")
}

// TestConnections has files that cannot share the connections that mysql_virt.cf
// describes, or that ask for what is not done.
func TestConnections(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ virt, ids, refused string }{
		{"", "", ""},
		{"", "tls_verify_cert = no", ""},
		{"tls_verify_cert = yes", "", ""},
		{"tls_verify_cert = yes", "tls_verify_cert = yes", ""},
		{"", "tls_verify_cert = yes", "tls_verify_cert is another than in "},
		{"", "charset = latin1", "charset is another than in "},
		{"option_file = /etc/mysql/my.cnf", "", "option_file"},
		{"", "option_file = /etc/mysql/my.cnf", "option_file"},
		{"tls_CAfile = /nonexistent", "", "tls_CAfile"},
	} {
		dir, old := t.TempDir(), time.Now().Add(-time.Hour)
		for name, text := range map[string]string{"mysql_virt.cf": c.virt, "ids.cf": c.ids} {
			path := filepath.Join(dir, name)
			require.NoError(t, os.WriteFile(path, []byte("query = SELECT 1\n"+text+"\n"), 0o600))
			require.NoError(t, os.Chtimes(path, old, old)) // what is new may still be being written
		}
		_, err := readConfigs(dir)
		if c.refused == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, "-cf: "+dir)
		require.ErrorContains(t, err, c.refused)
	}
}

func TestFlags(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"x"}, {"-log", "loud"}, {"-dir", ""}, {"-relayhost", "host"}, {"-demo", "-mysql", "x"}, {"-min-backoff", "0"}, {"-mysql", "no dsn", "-dir", t.TempDir()}, {"-cf", "nowhere", "-dir", t.TempDir()}} {
		var out, err strings.Builder
		assert.Equal(t, 1, run(args, &out, &err), "%q", args)
		assert.Regexp(t, `^virtualhosting: [^\n]+\n$`, err.String())
	}
	var out strings.Builder
	assert.Zero(t, run([]string{"-h"}, &out, os.Stderr))
	assert.Contains(t, out.String(), "-mysql")
}

package main

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// users has "correct horse" in every form that the table may hold it in.
var users = map[string]string{
	"plain":       "{PLAIN}correct horse",
	"ssha":        "{SSHA}LhKrkM9Fy+zlstjdD7Kv2s6QvhBzYWx0",
	"sha512crypt": "{SHA512-CRYPT}$6$saltsalt$hRM5XZ86KXEw9UOmjigeVqFgULtFB2sgpC9lXQDfMib3Zgw7mEiUvBJI2EplzfAqxL5Vvwp2scFtv/uamSo5z0",
	"blfcrypt":    "{BLF-CRYPT}$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e",
	"md5crypt":    "{MD5-CRYPT}$1$saltsalt$NuzA7WTAelpl95xgBGWN60",
	"crypt":       "{CRYPT}$5$saltsalt$myjXcpMpE2Ofk7fj9hqyNYSn6lmWG4Mqnjx.KIRRr4/",
	"bare1":       "$1$saltsalt$NuzA7WTAelpl95xgBGWN60",
	"bare5":       "$5$saltsalt$myjXcpMpE2Ofk7fj9hqyNYSn6lmWG4Mqnjx.KIRRr4/",
	"bare6":       "$6$saltsalt$hRM5XZ86KXEw9UOmjigeVqFgULtFB2sgpC9lXQDfMib3Zgw7mEiUvBJI2EplzfAqxL5Vvwp2scFtv/uamSo5z0",
	"bare2y":      "$2y$10$abcdefghijklmnopqrstuu23JPZtHcGhwXSF41f93o/7vBdDut3Xu",
}

func plain(user, password string) string {
	return "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password))
}

func (p *peer) login(user, password string) string {
	p.t.Helper()
	p.talk("AUTH LOGIN", "334 VXNlcm5hbWU6", base64.StdEncoding.EncodeToString([]byte(user)), "334 UGFzc3dvcmQ6")
	return p.say(base64.StdEncoding.EncodeToString([]byte(password)))
}

// TestSubmission sends from a client outside of networks: what it may, it may
// because it has logged in.
func TestSubmission(t *testing.T) {
	t.Parallel()
	table := "broken@example.test {NO-SUCH-SCHEME}x\n"
	for user, secret := range users {
		table += user + "@example.test " + secret + "\n"
	}
	p := launch(t, tablesIn(t, map[string]string{"users": table, "networks": "[::1]/128\n"}), "-relayhost", "127.0.0.1:1")

	t.Run("order", func(t *testing.T) {
		t.Parallel()
		c := dial(t, p.submission)
		c.talk("MAIL FROM:<plain@example.test>", "530 5.7.0 Must issue a STARTTLS command first")
		offers := c.say("EHLO client.example.net")
		assert.Contains(t, offers, "250-STARTTLS")
		assert.NotContains(t, offers, "AUTH")
		c.talk("MAIL FROM:<plain@example.test>", "530 5.7.0 Must issue a STARTTLS command first",
			plain("plain@example.test", "correct horse"), "538 5.7.11 ")
		c.starttls()
		offers = c.say("EHLO client.example.net")
		assert.Contains(t, offers, "AUTH PLAIN LOGIN")
		assert.NotContains(t, offers, "STARTTLS")
		c.talk("MAIL FROM:<plain@example.test>", "530 5.7.0 Authentication required",
			"RCPT TO:<friend@elsewhere.example>", "503 5.5.1 ",
			plain("plain@example.test", "wrong"), "535 5.7.8 ",
			plain("nobody@example.test", "correct horse"), "535 5.7.8 ",
			"AUTH CRAM-MD5", "504 5.5.4 ",
			"AUTH LOGIN", "334 ", "*", "501 5.7.0 ",
			"MAIL FROM:<plain@example.test>", "530 5.7.0 Authentication required")
		assert.Equal(t, "235 2.7.0 Authentication successful", c.say(plain("plain@example.test", "correct horse")))
		c.talk(plain("plain@example.test", "correct horse"), "503 5.5.1 ",
			"MAIL FROM:<plain@example.test>", "250 2.1.0", "RCPT TO:<friend@elsewhere.example>", "250 2.1.5",
			"RCPT TO:<alice@example.test>", "250 2.1.5")
		assert.Regexp(t, queuedAs, c.data("Subject: no more than this\r\n\r\nHello.\r\n"))

		text := p.mails(t, "example.test/alice", 1)[0]
		assert.Contains(t, text, "with ESMTPSA id ")
		for _, field := range []string{"\nDate: ", "\nMessage-Id: <", "\nFrom: plain@example.test"} {
			assert.Contains(t, strings.ReplaceAll(text, "Message-ID", "Message-Id"), field)
		}
		assert.NotContains(t, p.stderr.String(), "correct horse")
	})
	for user := range users {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			c := dial(t, p.submission)
			c.talk("EHLO client.example.net", "250")
			c.starttls()
			c.talk("EHLO client.example.net", "250")
			assert.True(t, strings.HasPrefix(c.login(user+"@example.test", "correct horses"), "535 5.7.8 "))
			assert.Equal(t, "235 2.7.0 Authentication successful", c.login(user+"@example.test", "correct horse"))
		})
	}
	t.Run("broken secret", func(t *testing.T) {
		t.Parallel()
		c := dial(t, p.submission)
		c.talk("EHLO client.example.net", "250")
		c.starttls()
		c.talk("EHLO client.example.net", "250", plain("broken@example.test", "x"), "454 4.7.0 ")
		p.logged(t, "broken@example.test", "SCHEME")
	})
	t.Run("from everywhere", func(t *testing.T) {
		t.Parallel()
		c := dial(t, p.smtp)
		assert.Contains(t, c.say("EHLO client.example.net"), "250-STARTTLS")
		c.starttls()
		assert.NotContains(t, c.say("EHLO client.example.net"), "AUTH")
		c.talk("MAIL FROM:<bob@example.test>", "250 2.1.0", "RCPT TO:<friend@elsewhere.example>", "554 5.7.1 <friend@elsewhere.example>: Relay access denied",
			"RCPT TO:<bob@example.test>", "250 2.1.5")
		require.Regexp(t, queuedAs, c.data(hello))
		assert.Contains(t, p.mails(t, "example.test/bob", 1)[0], "with ESMTPS id ")
	})
}

package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recipients are the addresses that the messages were delivered for.
func recipients(texts []string) (found []string) {
	for _, text := range texts {
		for line := range strings.Lines(text) {
			if to, ok := strings.CutPrefix(line, "Delivered-To: "); ok {
				found = append(found, strings.TrimSpace(to))
			}
		}
	}
	slices.Sort(found)
	return found
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	p := launch(t, tablesIn(t, map[string]string{
		"domains":   "example.test\nsecond.test\n",
		"networks":  "[::1]/128\n",
		"mailboxes": "alice@example.test a/\nbob@second.test b/\nteam@second.test t/\nc@example.test c/\n",
		"virtual":   "sales@example.test alice@example.test\nnodomain@second.test alice\n",
		"aliases":   "postmaster: alice\nteam: alice@example.test, bob@second.test\nsales: c\nbob: alice@example.test\nlocal: c@example.test\nonly@second.test: bob\nalice: c@example.test\n",
		"canonical": "old@example.test alice@example.test\n",
		"relocated": "dave@example.test dave@elsewhere.example\n",
	}))
	c := dial(t, p.smtp)
	c.talk("EHLO client.example.net", "250", "MAIL FROM:<friend@example.net>", "250")
	for _, to := range []string{"<postmaster>", "postmaster@second.test", "alice", "team@example.test", "sales@example.test", "nodomain@second.test",
		"team@second.test", "bob@second.test", "only@second.test", "local@second.test", "old@example.test", "ALICE@EXAMPLE.TEST"} {
		c.talk("RCPT TO:<"+strings.Trim(to, "<>")+">", "250 2.1.5 Ok")
	}
	c.talk("RCPT TO:<only@example.test>", "550 5.1.1 <only@example.test>: Recipient address rejected: User unknown",
		"RCPT TO:<bob@example.test>", "250", // through the alias
		"RCPT TO:<nobody@second.test>", "550 5.1.1 ",
		"RCPT TO:<nobody>", "550 5.1.1 ",
		"RCPT TO:<dave@example.test>", "550 5.1.6 <dave@example.test>: Recipient address rejected: User has moved to dave@elsewhere.example",
		"RCPT TO:<friend@elsewhere.example>", "554 5.7.1 <friend@elsewhere.example>: Relay access denied",
		"RCPT TO:<alice@sub.example.test>", "554 5.7.1 ")
	require.Regexp(t, queuedAs, c.data(hello))
	// Each mailbox has the message once, however many ways lead there; alice's
	// mailbox and bob's win over their aliases, and so does team's.
	assert.Equal(t, []string{"team@second.test"}, recipients(p.mails(t, "t", 1)))
	assert.Equal(t, []string{"c@example.test"}, recipients(p.mails(t, "c", 1)))
	assert.Equal(t, []string{"bob@second.test"}, recipients(p.mails(t, "b", 1)))
	assert.Equal(t, []string{"alice@example.test"}, recipients(p.mails(t, "a", 1)))
}

// TestNetworks: who is in networks may write to everybody, and takes part in
// nothing else.
func TestNetworks(t *testing.T) {
	t.Parallel()
	p := launch(t, tablesIn(t, map[string]string{"networks": "127.0.0.2/32\n!127.0.0.5\n127.0.0.4/31 OK\n"}), "-relayhost", "127.0.0.1:1", "-min-backoff", "1h", "-max-backoff", "1h")
	for from, reply := range map[string]string{"127.0.0.1": "554 5.7.1 ", "127.0.0.2": "250 2.1.5", "127.0.0.4": "250 2.1.5", "127.0.0.5": "554 5.7.1 "} {
		c := dialFrom(t, from, p.smtp)
		c.talk("EHLO client.example.net", "250", "MAIL FROM:<friend@example.net>", "250",
			"RCPT TO:<friend@elsewhere.example>", reply, "RCPT TO:<alice@example.test>", "250 2.1.5")
	}
}

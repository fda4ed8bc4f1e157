package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestLists has a list in a file, whose bounces are its owner's, and one without an
// owner.
func TestLists(t *testing.T) {
	t.Parallel()
	sink, addr := relaySink(t)
	dir := tablesIn(t, map[string]string{"members": "alice, robert # both\n", "virtual": "robert@example.test bob@elsewhere.example\n"})
	write(t, filepath.Join(dir, "etc", "aliases"), "postmaster: alice\nlist: :include:"+filepath.Join(dir, "etc", "members")+"\nowner-list: carol\n"+
		"plain: bob, bob@elsewhere.example\nevil: :include:/etc/passwd\n")
	p := launch(t, dir, "-relayhost", addr)
	p.logged(t, "bad line in table", "line=5", "outside of the directories")
	c := dial(t, p.smtp)
	c.send("x@example.net", "list@example.test", hello)
	text := p.mails(t, "example.test/alice", 1)[0]
	assert.Contains(t, text, "Return-Path: <owner-list@example.test>\n")
	eventually(t, func() bool { return sink.count() == 1 }, p)
	assert.Equal(t, []string{"owner-list@example.test to bob@elsewhere.example"}, sink.envelopes)

	c.send("x@example.net", "plain@example.test", hello)
	assert.Contains(t, p.mails(t, "example.test/bob", 1)[0], "Return-Path: <x@example.net>\n")
	eventually(t, func() bool { return sink.count() == 2 }, p)
	assert.Equal(t, "x@example.net to bob@elsewhere.example", sink.envelopes[1])
	c.talk("MAIL FROM:<x@example.net>", "250", "RCPT TO:<evil@example.test>", "451")
}

// TestOwnName has aliases name themselves and a user's own mailbox: nobody gets the
// mail twice.
func TestOwnName(t *testing.T) {
	t.Parallel()
	p := launch(t, tablesIn(t, map[string]string{"aliases": "postmaster: alice\nloop: loop, alice\nown: \\bob, carol\nboth: own, carol\n"}))
	c := dial(t, p.smtp)
	c.send("alice@example.test", "loop@example.test", hello)
	assert.Contains(t, p.mails(t, "example.test/alice", 2)[0]+p.mails(t, "example.test/alice", 2)[1], "unknown user", "the mail, and what loop has for a mailbox")
	c.send("x@example.net", "own@example.test", hello)
	p.mails(t, "example.test/bob", 1)
	p.mails(t, "example.test/carol", 1)
	p.emptyMailbox(t, "example.test/bob")
	p.emptyMailbox(t, "example.test/carol")
	c.send("x@example.net", "both@example.test", hello)
	p.mails(t, "example.test/bob", 1)
}

// TestCopies has copies made of mail when it comes, not of what is made here.
func TestCopies(t *testing.T) {
	t.Parallel()
	sink, addr := relaySink(t)
	p := launch(t, tablesIn(t, map[string]string{
		"mailboxes":     "alice@example.test alice/\nall@example.test all/\nbob@example.test bob/\ncarol@example.test carol/\n",
		"sender_bcc":    "boss@example.net bob\n",
		"recipient_bcc": "friend@elsewhere.example carol\n",
		"generic":       "alice@example.test Alice.Example@world.example\n",
	}), "-relayhost", addr, "-always-bcc", "all@example.test")
	c := dial(t, p.smtp)
	c.send("boss@example.net", "alice@example.test", hello)
	for _, box := range []string{"alice", "all", "bob"} {
		p.mails(t, box, 1)
		p.emptyMailbox(t, box)
	}
	c.send("alice@example.test", "friend@elsewhere.example", "From: alice@example.test\r\nTo: friend@elsewhere.example\r\nSubject: alice@example.test\r\n\r\nHi\r\n")
	assert.Contains(t, p.mails(t, "carol", 1)[0], "From: alice@example.test\n", "it has not left")
	eventually(t, func() bool { return sink.count() == 1 }, p)
	assert.Equal(t, []string{"Alice.Example@world.example to friend@elsewhere.example"}, sink.envelopes)
	assert.Contains(t, sink.texts[0], "From: Alice.Example@world.example\r\nTo: friend@elsewhere.example\r\nSubject: alice@example.test\r\n")
	p.mails(t, "all", 1)
	p.emptyMailbox(t, "all")

	// The notice that nobody@example.test is unknown is no new mail.
	write(t, filepath.Join(p.dir, "etc", "virtual"), "gone@example.test nobody@example.test\n")
	eventually(t, func() bool {
		c.talk("MAIL FROM:<alice@example.test>", "250")
		known := c.say("RCPT TO:<gone@example.test>")[:3] == "250"
		c.talk("RSET", "250")
		return known
	}, p)
	c.send("alice@example.test", "gone@example.test", hello)
	assert.Contains(t, p.mails(t, "alice", 1)[0], "Subject: Your mail could not be delivered")
	p.mails(t, "all", 1)
}

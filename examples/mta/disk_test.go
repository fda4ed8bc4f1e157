//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestFullDisk fills a small file system with mail until none is taken any more,
// and then makes room: every message that got a 250 arrives.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a file system")
	}
	dir := t.TempDir()
	run1(t, "mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", dir)
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	p := launch(t, dir, "-max-size", "300000", "-min-backoff", "50ms", "-max-backoff", "50ms", "-queue-run", "50ms")
	text := "From: <load@example.net>\r\nSubject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1000)

	// One has begun before the disk is full.
	early := dial(t, p.smtp)
	early.talk("EHLO client.example.net", "250", "MAIL FROM:<early@example.net>", "250", "RCPT TO:<bob@example.test>", "250")
	acked, refused := 0, ""
	for c := dial(t, p.smtp); refused == ""; {
		require.Less(t, acked, 300)
		if reply := c.transaction(text); strings.HasPrefix(reply, "250 2.0.0") {
			acked++
		} else {
			refused = reply
		}
	}
	assert.Regexp(t, `^452 4\.3\.1 `, refused)
	assert.Positive(t, acked)
	fill(t, filepath.Join(dir, "filler"))
	assert.Regexp(t, `^452 4\.3\.1 `, early.message(text))
	assert.Regexp(t, `^452 4\.3\.1 `, dial(t, p.smtp).transaction(text))

	run1(t, "mount", "-o", "remount,size=64m", dir)
	p.mails(t, "example.test/alice", acked)
	eventually(t, func() bool { // how much room there was is remembered for a second
		c := dial(t, p.smtp)
		defer c.conn.Close()
		return queuedAs.MatchString(c.transaction(text))
	}, p)
	for _, mail := range p.mails(t, "example.test/alice", acked+1) {
		assert.True(t, strings.HasSuffix(mail, strings.ReplaceAll(text, "\r\n", "\n")))
	}
	eventually(t, func() bool { return len(p.queued(t)) == 0 }, p)
	assert.NoDirExists(t, filepath.Join(dir, "mail", "example.test", "bob"))
}

// transaction sends a message to alice, and returns the refusal or the last reply.
func (p *peer) transaction(text string) string {
	p.t.Helper()
	for _, line := range []string{"EHLO client.example.net", "MAIL FROM:<load@example.net>", "RCPT TO:<alice@example.test>"} {
		if reply := p.say(line); reply[0] != '2' {
			return reply
		}
	}
	return p.message(text)
}

// message is data that may be refused before it is sent.
func (p *peer) message(text string) string {
	p.t.Helper()
	if reply := p.say("DATA"); reply[0] != '3' {
		return reply
	}
	return p.say(text + ".")
}

// fill takes all the room that there is.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	require.NoError(t, err)
	defer f.Close()
	for block := make([]byte, 1<<16); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			require.ErrorIs(t, err, unix.ENOSPC)
			block = block[:len(block)/2]
		}
	}
}

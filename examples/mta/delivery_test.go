package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emersion/go-message/mail"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/queue/filespool"
)

// report takes a DSN apart: its text, and the fields of the message and of each
// recipient.
func report(t *testing.T, text string) (human string, fields []string) {
	t.Helper()
	r, err := mail.CreateReader(strings.NewReader(text))
	require.NoError(t, err)
	kind, params, err := r.Header.ContentType()
	require.NoError(t, err)
	require.Equal(t, "multipart/report", kind)
	require.Equal(t, "delivery-status", params["report-type"])
	auto, _ := r.Header.Text("Auto-Submitted")
	require.Equal(t, "auto-replied", auto)
	for {
		part, err := r.NextPart()
		if err == io.EOF {
			return human, fields
		}
		require.NoError(t, err)
		b, err := io.ReadAll(part.Body)
		require.NoError(t, err)
		switch part.Header.Get("Content-Type") {
		case "message/delivery-status":
			fields = strings.Split(strings.TrimSpace(strings.ReplaceAll(string(b), "\r\n", "\n")), "\n")
		default:
			if human == "" {
				human = string(b)
			}
		}
	}
}

// TestOneAttempt: -lifetime 0 is one try, and the sender is told.
func TestOneAttempt(t *testing.T) {
	t.Parallel()
	closed := silentServer(t)
	closed.Close()
	p := launch(t, t.TempDir(), "-lifetime", "0", "-relayhost", closed.Addr().String())
	c := dial(t, p.smtp)
	c.talk("EHLO client.example.net", "250", "MAIL FROM:<alice@example.test> RET=HDRS ENVID=abc", "250",
		"RCPT TO:<friend@elsewhere.example>", "250", "RCPT TO:<bob@example.test>", "250")
	require.Regexp(t, queuedAs, c.data(hello))
	text := p.mails(t, "example.test/alice", 1)[0]
	assert.True(t, strings.HasPrefix(text, "Return-Path: <>\n"), text)
	human, fields := report(t, text)
	assert.Contains(t, human, "friend@elsewhere.example")
	assert.NotContains(t, human, "bob@example.test")
	for _, f := range []string{"Reporting-MTA: dns; mx.example.test", "Original-Envelope-Id: abc", "Final-Recipient: rfc822; friend@elsewhere.example", "Action: failed", "Status: 4.4.7"} {
		assert.Contains(t, fields, f)
	}
	assert.NotContains(t, text, "Hello.")
	p.mails(t, "example.test/bob", 1)
	eventually(t, func() bool { return len(p.queued(t)) == 0 }, p)
}

// queued lists what is in the queue, damaged or not yet picked up included.
func (p *program) queued(t *testing.T) (names []string) {
	t.Helper()
	dir := filepath.Join(p.dir, "queue")
	spool, err := filespool.Open(dir, filespool.Options{ReadOnly: true})
	require.NoError(t, err)
	defer spool.Close()
	for e, err := range spool.Entries(t.Context()) {
		names = append(names, fmt.Sprint(e.ID, err))
	}
	return append(append(names, glob(t, filepath.Join(dir, "corrupt", "*"))...), glob(t, filepath.Join(dir, "maildrop", "*"))...)
}

// TestWarning: who is ours is told of a delay, once; others are not.
func TestWarning(t *testing.T) {
	t.Parallel()
	closed := silentServer(t)
	closed.Close()
	p := launch(t, tablesIn(t, map[string]string{"networks": "127.0.0.2/32\n", "transport": "bob@example.test smtp:[127.0.0.1]:1\n"}),
		"-warning-after", "200ms", "-min-backoff", "100ms", "-max-backoff", "100ms", "-queue-run", "50ms", "-relayhost", closed.Addr().String())
	dialFrom(t, "127.0.0.1", p.smtp).send("carol@example.test", "bob@example.test", hello)
	dialFrom(t, "127.0.0.2", p.smtp).send("alice@example.test", "friend@elsewhere.example", hello)
	_, fields := report(t, p.mails(t, "example.test/alice", 1)[0])
	assert.Contains(t, fields, "Action: delayed")
	assert.Contains(t, strings.Join(fields, "\n"), "\nWill-Retry-Until: ")
	for _, to := range []string{"friend@elsewhere.example", "bob@example.test"} {
		p.logged(t, "to="+to, "attempt=6", "status=deferred")
	}
	p.mails(t, "example.test/alice", 1)
	assert.NoDirExists(t, filepath.Join(p.dir, "mail", "example.test", "carol"))
}

// TestBounce: what can never be delivered is refused, and goes back where that is seen
// only when an alias has been followed.
func TestBounce(t *testing.T) {
	t.Parallel()
	p := launch(t, tablesIn(t, map[string]string{"transport": "gone.example error:5.1.2 this domain is no more\nlater.example retry:4.4.3 come again\n",
		"virtual": "moved@example.test friend@gone.example\n"}))
	c := dial(t, p.smtp)
	c.talk("MAIL FROM:<alice@example.test>", "250",
		"RCPT TO:<friend@gone.example>", "550 5.1.2 <friend@gone.example>: Recipient address rejected: this domain is no more",
		"RCPT TO:<friend@later.example>", "450 4.4.3 ", "RSET", "250")
	c.send("alice@example.test", "moved@example.test", hello)
	human, fields := report(t, p.mails(t, "example.test/alice", 1)[0])
	assert.Contains(t, human, "(expanded from <moved@example.test>): this domain is")
	assert.Contains(t, fields, "Status: 5.1.2")
	assert.Contains(t, fields, "Action: failed")
}

// TestMaildrop: what a local program leaves is taken, rewritten and delivered;
// what is no submission is moved away with its reason.
func TestMaildrop(t *testing.T) {
	t.Parallel()
	p := launch(t, t.TempDir(), "-queue-run", "20ms")
	drop := filepath.Join(p.dir, "queue", "maildrop")
	write(t, filepath.Join(drop, ".first"), "") // names that begin with a dot are left alone
	require.NoError(t, os.Remove(filepath.Join(drop, ".first")))
	leave := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(drop, "."+name), []byte(text), 0o600))
		require.NoError(t, os.Rename(filepath.Join(drop, "."+name), filepath.Join(drop, name)))
	}
	leave("bad", "no submission\n")
	leave("refused", "sender: alice@example.test\nrecipient: alice@example.test\n\nSubject: make money fast\n\n")
	leave("good", "sender: alice@example.test\nrecipient: team@example.test\n\nSubject: from the drop\n\nHi\n")
	for _, box := range []string{"alice", "bob", "carol"} {
		assert.True(t, strings.HasSuffix(p.mails(t, "example.test/"+box, 1)[0], "Subject: from the drop\n\nHi\n"))
	}
	for _, name := range []string{"bad", "refused"} {
		eventually(t, func() bool { return len(glob(t, filepath.Join(p.dir, "queue", "corrupt", name+"*.reason"))) == 1 }, p)
	}
	assert.Empty(t, glob(t, filepath.Join(drop, "*")))
}

// TestCorrupt: a damaged message goes to corrupt/ with its reason, and all others
// are delivered.
func TestCorrupt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	closed := silentServer(t)
	closed.Close()
	args := []string{"-relayhost", closed.Addr().String(), "-min-backoff", "1ms", "-max-backoff", "1h", "-queue-run", "20ms"}
	p := launch(t, dir, args...)
	c := dial(t, p.smtp)
	bad := c.send("alice@example.test", "bad@elsewhere.example", hello)
	good := c.send("alice@example.test", "good@elsewhere.example", hello)
	p.logged(t, good, "status=deferred")
	p.logged(t, bad, "status=deferred")
	p.kill(t)
	damage(t, dir, bad)
	write(t, filepath.Join(dir, "queue", "deferred", "what is this"), "not one of ours\n")

	sink, addr := relaySink(t)
	args[1] = addr
	p = launch(t, dir, args...)
	p.logged(t, bad, "corrupt")
	eventually(t, func() bool { return sink.count() == 1 }, p)
	assert.NotEmpty(t, glob(t, filepath.Join(dir, "queue", "corrupt", bad+"*")))
	reasons := glob(t, filepath.Join(dir, "queue", "corrupt", bad+"*reason*"))
	require.NotEmpty(t, reasons, listing(dir))
	dial(t, p.smtp).send("friend@example.net", "bob@example.test", hello)
	p.mails(t, "example.test/bob", 1)
}

// damage changes a byte of a message where it first stands in the journal.
func damage(t *testing.T, dir, id string) {
	t.Helper()
	for _, name := range glob(t, filepath.Join(dir, "queue", "journal", "0*")) {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		if at := bytes.Index(b, []byte(id)); at >= 0 {
			b[at+len(id)+100]++
			require.NoError(t, os.WriteFile(name, b, 0o600))
			return
		}
	}
	require.Fail(t, "not in the journal", id)
}

// TestMaxSize: SIZE in EHLO, at MAIL, and counted.
func TestMaxSize(t *testing.T) {
	t.Parallel()
	p := launch(t, t.TempDir(), "-max-size", "2000", "-timeout", "300ms")
	c := dial(t, p.smtp)
	assert.Contains(t, c.say("EHLO client.example.net"), "250-SIZE 2000\n")
	c.talk("MAIL FROM:<a@example.net> SIZE=2001", "552 5.3.4 ", "MAIL FROM:<a@example.net> SIZE=2000", "250", "RCPT TO:<alice@example.test>", "250")
	assert.True(t, strings.HasPrefix(c.data("Subject: big\r\n\r\n"+strings.Repeat("0123456789\r\n", 200)), "552 5.3.4 "))
	c.send("a@example.net", "alice@example.test", "Subject: full\r\n\r\n"+strings.Repeat("01234567\r\n", 198)+"\r\n")
	p.mails(t, "example.test/alice", 1)

	c.conn.Close()
	slow := dial(t, p.smtp) // -timeout
	assert.Regexp(t, `^421 4\.4\.2 mx\.example\.test Error: timeout exceeded`, slow.reply())
	slow.gone()
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	l := silentServer(t)
	addr := l.Addr().String()
	l.Close()
	p := launch(t, t.TempDir(), "-metrics", addr)
	dial(t, p.smtp).send("friend@example.net", "team@example.test", hello)
	p.mails(t, "example.test/carol", 1)
	eventually(t, func() bool {
		r, err := http.Get("http://" + addr + "/metrics")
		require.NoError(t, err)
		defer r.Body.Close()
		text := readAll(t, r.Body)
		return strings.Contains(text, "\nmtakit_events_total{kind=\"delivered\"} 3\n") && strings.Contains(text, "\nmtakit_events_total{kind=\"received\"} 1\n")
	}, p)
}

func TestLogFormats(t *testing.T) {
	t.Parallel()
	p := launch(t, t.TempDir(), "-log", "json")
	id := dial(t, p.smtp).send("friend@example.net", "alice@example.test", hello)
	p.logged(t, `{"time":`, `"id":"`+id+`"`, `"status":"delivered"`)
	p = launch(t, t.TempDir(), "-log", "off")
	dial(t, p.smtp).send("friend@example.net", "alice@example.test", hello)
	p.mails(t, "example.test/alice", 1)
	p.kill(t)
	assert.Empty(t, p.stderr.String())
}

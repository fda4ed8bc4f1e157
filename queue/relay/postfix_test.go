package relay_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/servertest"
	"github.com/mtakit/mtakit/queue/relay"
)

// sink starts Postfix's smtp-sink(1) at a socket of its own and returns the next
// hop and the directory into which it writes each message.
func sink(t *testing.T, options ...string) (hop, dir string) {
	t.Helper()
	program, err := exec.LookPath("smtp-sink")
	if err != nil {
		program = "/usr/sbin/smtp-sink"
	}
	if _, err := os.Stat(program); err != nil {
		message := "smtp-sink is missing: apt-get install postfix"
		require.NotEqual(t, "all", os.Getenv("MTAKIT_REQUIRE"), message)
		t.Skip(message)
	}
	dir = t.TempDir()
	socket := filepath.Join(dir, "s")
	args := append(options, "-d", filepath.Join(dir, "mail.%M."), "unix:"+socket, "10")
	if os.Getuid() == 0 {
		args = append([]string{"-u", "root"}, args...) // or else it may not write into dir
	}
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, 10*time.Second, 10*time.Millisecond, "smtp-sink does not listen")
	return "unix:" + socket, dir
}

func sunk(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "mail.*"))
	require.NoError(t, err)
	var messages []string
	for _, name := range names {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		messages = append(messages, string(b))
	}
	return messages
}

// TestPostfix: Postfix's own test server takes what we send, by SMTP and LMTP,
// with its features and without, and with refusals.
func TestPostfix(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		options []string
		lmtp    bool
		want    string
		files   int
	}{
		{"ESMTP", nil, false, "relayed 2.0.0", 3},
		{"no EHLO", []string{"-e"}, false, "relayed 2.0.0", 3},
		{"no pipelining", []string{"-p"}, false, "relayed 2.0.0", 3},
		{"LMTP", []string{"-L"}, true, "relayed 2.2.0", 3},
		{"hard rejects of RCPT", []string{"-f", "RCPT"}, false, "bounced 5.3.0", 0},
		{"soft rejects of MAIL", []string{"-r", "MAIL"}, false, "deferred 4.3.0", 0},
		{"disconnects at DATA", []string{"-q", "DATA"}, false, "deferred 4.4.2", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			hop, dir := sink(t, tt.options...)
			a := agent(t, keep, func(a *relay.Agent) { a.LMTP = tt.lmtp })
			for range 3 {
				results := deliver(t, a, delivery(hop, "a@example.org", "b@example.org"))
				for _, r := range results {
					r.DSN = false // newer ones offer it
					assert.Equal(t, tt.want, brief(r), r.Diagnostic)
				}
			}
			messages := sunk(t, dir)
			if tt.files == 0 {
				return // smtp-sink begins a file at MAIL
			}
			assert.Len(t, messages, tt.files)
			for _, m := range messages {
				assert.Contains(t, m, "Subject: hello\n\nHi Alice\n")
			}
		})
	}
}

// queuedAs is what Postfix says of a message that it has taken.
var queuedAs = regexp.MustCompile(`queued as (\w+)`)

// TestPostfixQueues: what a whole Postfix has in its queue is what we were given, byte
// for byte below its Received field.
func TestPostfixQueues(t *testing.T) {
	t.Parallel()
	access := filepath.Join(t.TempDir(), "access")
	require.NoError(t, os.WriteFile(access, []byte("full@example.org 452 full\ngone@example.org 550 gone\n"), 0o644))
	s := servertest.Postfix(t, "local_header_rewrite_clients =", "message_size_limit = 20000000", "smtputf8_enable = yes", "smtpd_relay_restrictions = permit_mynetworks, reject",
		"smtpd_recipient_restrictions = check_recipient_access texthash:"+access)
	a := agent(t, keep)
	for name, text := range map[string]string{
		"plain":    "Subject: hello\r\n\r\nHi\r\n",
		"dots":     "Subject: dots\r\n\r\n.\r\n..\r\n...x\r\n.\r\n",
		"8 bit":    "Subject: gr\xc3\xbc\xc3\x9fe\r\nX-Latin: \xe4\r\n\r\n\xff\xfe\r\n",
		"folded":   "Subject: a\r\n\tb\r\n  c\r\nTo: x@y,\r\n z@y\r\n\r\n\r\n\r\nbody \r\n \r\n",
		"no body":  "Subject: nothing\r\n\r\n",
		"big":      "Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 900)+"\r\n.\r\n", 3000),
		"no final": "Subject: no end of line\r\n\r\nlast",
	} {
		d := delivery(fixed(s.Addr), "a@example.org", "gone@example.org", "d\u00f6mi@example.org", "full@example.org")
		d.Envelope.Options = smtp.MailOptions{EnvelopeID: "id+=", Body: smtp.Body8BitMIME, UTF8: true}
		d.Recipients[0].Options = smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyDelayed, smtp.DSNNotifyFailure},
			OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: "first@example.org"}
		d.Message = mtakit.NewMessage([]byte(text))
		results := deliver(t, a, d)
		require.Equal(t, []string{"relayed 2.0.0 dsn", "bounced 5.7.1", "relayed 2.0.0 dsn", "deferred 4.7.1"}, briefs(results), "%s: %+v", name, results)
		id := queuedAs.FindStringSubmatch(results[0].Reply.Message)
		require.NotNil(t, id, results[0].Reply)
		content := s.Postcat(id[1], "-h", "-b")
		_, got, _ := strings.Cut(content, " (UTC)\n") // behind Postfix's Received
		want := strings.ReplaceAll(text, "\r\n", "\n")
		if !strings.HasSuffix(want, "\n") {
			want += "\n"
		}
		require.Equal(t, want, got, name)
		envelope := s.Postcat(id[1], "-e")
		assert.Contains(t, envelope, "sender: "+d.Envelope.Sender+"\n")
		assert.Contains(t, envelope, "named_attribute: notify_flags=12\nnamed_attribute: dsn_orig_rcpt=rfc822;first@example.org\noriginal_recipient: a@example.org\nrecipient: a@example.org\n", "FAILURE and DELAY")
		assert.Contains(t, envelope, "recipient: d\u00f6mi@example.org\n")
		assert.Contains(t, envelope, "named_attribute: envelope_id=id+=\n")
		assert.NotContains(t, envelope, "gone@")
	}
}

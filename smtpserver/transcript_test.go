package smtpserver_test

import (
	"context"
	"encoding/base64"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/smtpserver"
	"github.com/mtakit/mtakit/smtpserver/smtptest"
)

// reports is a Reporter that keeps what it is told.
type reports struct {
	mu   sync.Mutex
	told []sessionReport
}

type sessionReport struct {
	client     mtakit.Client
	classes    []string
	transcript string
}

func (r *reports) Report(_ context.Context, client mtakit.Client, classes []string, transcript string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = append(r.told, sessionReport{client, classes, transcript})
}

// converse sends each step and reads its reply, then leaves, and returns what
// was reported. A step that begins with "~" has no reply.
func converse(t *testing.T, s *smtpserver.Server, steps ...string) []sessionReport {
	t.Helper()
	got := new(reports)
	s.Reporter = got
	if s.Backend == nil {
		s.Backend = new(mailbox)
	}
	p := dial(t, s)
	for _, step := range steps {
		step, silent := strings.CutPrefix(step, "~")
		p.send(step + "\r\n")
		for more := !silent; more; {
			line, err := p.in.ReadString('\n')
			require.NoError(t, err, step)
			more = len(line) > 3 && line[3] == '-'
		}
	}
	p.Close()
	synctest.Wait()
	return got.told
}

func TestTranscript(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		got := converse(t, &smtpserver.Server{}, "HELO client.example.test", "mail from:<a@example.test> SIZE=10", "RCPT TO:<reject@example.test>",
			"RCPT TO:<b@example.test>", "DATA", "~Subject: secret\r\n\r\nbody", ".", "FOO bar")
		require.Len(t, got, 1)
		assert.Equal(t, []string{"policy", "protocol"}, got[0].classes)
		assert.Equal(t, "client.example.test", got[0].client.HELO)
		assert.Equal(t, strings.TrimPrefix(`
 Out: 220 mx.example.test ESMTP mtakit
 In:  HELO client.example.test
 Out: 250 mx.example.test
 In:  MAIL from:<a@example.test> SIZE=10
 Out: 250 2.1.0 Ok
 In:  RCPT TO:<reject@example.test>
 Out: 550-5.7.1 <reject@example.test>: rejected
 Out: 550 5.7.1 second line
 In:  RCPT TO:<b@example.test>
 Out: 250 2.1.5 Ok
 In:  DATA
 Out: 354 End data with <CR><LF>.<CR><LF>
 Out: 250 2.0.0 Ok: queued as 3K2x9
 In:  (7 bytes that are no command)
 Out: 500 5.5.2 Error: command not recognized
The client has closed the connection.
`, "\n"), got[0].transcript)
	})
}

func TestClassesOfTrouble(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		steps []string
		want  string
	}{
		{[]string{"EHLO x", "QUIT"}, ""},
		{[]string{"NOOP"}, ""}, // and leaves
		{[]string{"MAIL FROM:<fault@example.test>"}, "software"},
		{[]string{"~MAIL FROM:<panic@example.test>"}, "software"},
		{[]string{"MAIL FROM:<defer@example.test>"}, "policy"},
		{[]string{"MAIL FROM:<a@example.test>", "RCPT TO:<full@example.test>", "DATA"}, "resource"},
		{[]string{"MAIL FROM:<a@example.test> SIZE=2000"}, "policy"},
		{[]string{"MAIL FROM:<a@example.test>", "RCPT TO:<b@example.test>", "DATA", "01234567890123456789\r\n."}, "data"},
		{[]string{"DATA"}, "protocol"},
		{[]string{"MAIL FROM:a b"}, "protocol"},
		{[]string{"RCPT TO:<a@x>", "MAIL FROM:<reject@x>", "MAIL FROM:<fault@x>"}, "policy protocol software"},
		{[]string{"AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00broken\x00x"))}, "software"},
		{[]string{"AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00user\x00x"))}, "policy"},
	} {
		synctest.Test(t, func(t *testing.T) {
			got := converse(t, &smtpserver.Server{AllowInsecureAuth: true, MaxSize: 1000, MaxBodyLine: 10}, tt.steps...)
			if tt.want == "" {
				assert.Empty(t, got, tt.steps)
			} else if assert.Len(t, got, 1, tt.steps) {
				assert.Equal(t, tt.want, strings.Join(got[0].classes, " "), tt.steps)
			}
		})
	}
}

// What a client sends to log in is in no transcript, however wrong it does it.
func TestTranscriptHasNoSecrets(t *testing.T) {
	t.Parallel()
	const secret = "AHVzZXIAaHVudGVyMg=="
	for _, steps := range [][]string{
		{"AUTH PLAIN " + secret},
		{"auth  plain\t" + secret},
		{"AUTH PLAIN", secret},
		{"AUTH TWOSTEP", secret, "="},
		{"AUTH " + secret},
		{"AUTH LOGIN", secret}, // refused, and the client goes on
		{"AUTH NOSUCH " + secret},
		{secret},
		{"NOOP " + secret},
		{"QUIT " + secret},
		{"HELP " + secret},
		{"STARTTLS " + secret},
		{"MAIL " + secret},
		{"RCPT " + secret},
		{"DATA", secret}, // refused, and the client goes on
	} {
		synctest.Test(t, func(t *testing.T) {
			got := converse(t, &smtpserver.Server{AllowInsecureAuth: true, MaxJunk: 100}, append(steps, "FOO")...)
			require.Len(t, got, 1, steps)
			assert.NotContains(t, got[0].transcript, secret, steps)
			assert.NotContains(t, strings.ToUpper(got[0].transcript), strings.ToUpper(secret), steps)
		})
	}
}

// Messages are in no transcript, and each is bounded, in all dialogues that we have.
func TestTranscriptsOfDialogues(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.smtp")
	require.NoError(t, err)
	all := settings(t)
	for _, file := range files {
		set := all[strings.TrimSuffix(filepath.Base(file), ".smtp")]
		if set == nil {
			set = &setting{}
		}
		got := new(reports)
		set.server.Reporter = got
		t.Run(filepath.Base(file), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { set.play(t, file) })
			for _, r := range got.told {
				assert.Less(t, len(r.transcript), 32<<10)
				assert.NotEmpty(t, r.classes)
				for _, mail := range set.backend.all() {
					for line := range strings.Lines(mail.Body) {
						if line = strings.TrimSpace(line); len(line) > 3 {
							assert.NotContains(t, r.transcript, line)
						}
					}
				}
			}
		})
	}
}

func TestLongTranscript(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		steps := []string{"HELO first.test"}
		for range 3000 {
			steps = append(steps, "ETRN "+strings.Repeat("\x80x", 900))
		}
		got := converse(t, &smtpserver.Server{MaxErrors: 1 << 20, SoftErrors: 1 << 20, MaxJunk: 1 << 20}, append(steps, "HELO last.test", "FOO")...)
		require.Len(t, got, 1)
		transcript := got[0].transcript
		assert.Less(t, len(transcript), 32<<10)
		assert.Contains(t, transcript, "first.test")
		assert.Contains(t, transcript, "\n ...\n ")
		assert.Contains(t, transcript, "last.test")
		for line := range strings.Lines(transcript) {
			assert.Less(t, len(line), 600)
			assert.True(t, strings.HasPrefix(line, " In:  ") || strings.HasPrefix(line, " Out: ") || line == " ...\n" ||
				strings.HasPrefix(line, "The client"), line)
		}
	})
}

func TestReporterPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &smtpserver.Server{Backend: new(mailbox), Hostname: "mx.example.test"}
		s.Reporter = smtpserver.ReporterFunc(func(context.Context, mtakit.Client, []string, string) { panic("oops") })
		p := dial(t, s)
		p.ask("FOO", "500 5.5.2 Error: command not recognized")
		p.Close()
		synctest.Wait()
		dial(t, s).ask("NOOP", "250 2.0.0 Ok")
	})
}

// A session in TLS is one report, of both of its parts.
func TestTranscriptOfSTARTTLS(t *testing.T) {
	t.Parallel()
	got := new(reports)
	s := &smtpserver.Server{Backend: new(mailbox), Hostname: "mx.example.test", TLSConfig: certificate(t), MaxSize: 1000000, Reporter: got}
	dialer := smtptest.Pipe(t, func(c net.Conn) { s.ServeConn(c) })
	smtptest.Run(t, dialer, filepath.Join("testdata", "starttls-forgets.smtp"))
	require.NoError(t, s.Shutdown(t.Context()))
	for _, r := range got.told {
		assert.Equal(t, 1, strings.Count(r.transcript, "220 mx.example.test ESMTP"))
	}
}

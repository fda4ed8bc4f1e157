package smtpserver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/smtpserver"
)

// secure turns TLS on after STARTTLS was answered.
func (p *peer) secure() {
	p.t.Helper()
	c := tls.Client(p.Conn, insecure())
	require.NoError(p.t, c.Handshake())
	p.Conn, p.in = c, bufio.NewReader(c)
}

const ready = "220 2.0.0 Ready to start TLS"

// What comes through the wire in one piece with STARTTLS is not run, whether it
// was in our buffer or not (CVE-2011-0411).
func TestCommandInjectionBehindSTARTTLS(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	addr := start(t, &smtpserver.Server{Backend: b, Hostname: "mx.example.test", TLSConfig: certificate(t)})
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	p := &peer{Conn: c, t: t, in: bufio.NewReader(c)}
	p.want("220 mx.example.test ESMTP mtakit")
	p.send("STARTTLS\r\nMAIL FROM:<evil@example.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\nx\r\n.\r\n")
	got, err := io.ReadAll(p.in)
	require.NoError(t, err)
	require.Equal(t, "554 5.5.0 Error: SMTP protocol synchronization\r\n", string(got))
	require.Empty(t, b.all())
}

// A handshake that fails is the end: nothing goes on in plain text.
func TestHandshakeFails(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	p := dial(t, &smtpserver.Server{Backend: b, TLSConfig: certificate(t)})
	p.ask("STARTTLS", ready)
	go io.WriteString(p.Conn, "MAIL FROM:<a@example.test>\r\n")
	got, _ := io.ReadAll(p.in)
	require.NotContains(t, string(got), "250")
}

func TestHandshakeTakesTooLong(t *testing.T) {
	t.Parallel()
	config := certificate(t)
	synctest.Test(t, func(t *testing.T) {
		p := dial(t, &smtpserver.Server{Backend: &mailbox{}, TLSConfig: config})
		time.Sleep(299 * time.Second)
		p.ask("STARTTLS", ready)
		began := time.Now()
		io.ReadAll(p.in)
		require.InDelta(t, 300, time.Since(began).Seconds(), 6)
	})
}

// A Backend that refuses the second session says so to the next command.
func TestRefusedAfterSTARTTLS(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	p := dial(t, &smtpserver.Server{TLSConfig: certificate(t),
		Backend: smtpserver.BackendFunc(func(ctx context.Context, c *smtpserver.Conn) (smtp.Session, error) {
			if c.Client().TLS.On() {
				return nil, &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "not with these ciphers"}
			}
			return b.NewSession(ctx, c)
		})})
	p.ask("STARTTLS", ready)
	p.secure()
	p.ask("EHLO client.example.test", "554 5.7.1 not with these ciphers")
	p.wantEOF()
	require.Equal(t, b.sessions, b.logouts)
}

// Shutdown reaches clients inside TLS too.
func TestShutdownInsideTLS(t *testing.T) {
	t.Parallel()
	s := &smtpserver.Server{Backend: &mailbox{}, TLSConfig: certificate(t)}
	p := dial(t, s)
	p.ask("STARTTLS", ready)
	p.secure()
	p.ask("NOOP", "250 2.0.0 Ok")
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(t.Context()) }()
	p.want("421 4.3.2 mx.example.test Error: service shutting down")
	p.wantEOF()
	require.NoError(t, <-done)
}

// An initial response may be longer than a command line, and than our buffer.
func TestLongInitialResponse(t *testing.T) {
	t.Parallel()
	s := &smtpserver.Server{Backend: &mailbox{}, AllowInsecureAuth: true}
	p := dial(t, s)
	long := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("u", 9000)))
	p.ask("AUTH TWOSTEP "+long, "334 d2VsY29tZQ==", "", "235 2.7.0 Authentication successful")
	p = dial(t, s)
	p.ask("AUTH TWOSTEP "+strings.Repeat("A", 12288), "500 5.5.2 Error: line too long", "NOOP", "250 2.0.0 Ok")
}

// A name with a line end in it is nobody's: it would go to logs and headers.
func TestLoginWithControlCharacters(t *testing.T) {
	t.Parallel()
	p := dial(t, &smtpserver.Server{Backend: &mailbox{}, AllowInsecureAuth: true})
	evil := base64.StdEncoding.EncodeToString([]byte("a\r\nX-Evil: yes"))
	p.ask("AUTH TWOSTEP "+evil, "334 d2VsY29tZQ==", "", "535 5.7.8 Error: authentication failed: authentication failure")
}

// A session that was authenticated in plain text is nobody after STARTTLS.
func TestSTARTTLSForgetsLogin(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	p := dial(t, &smtpserver.Server{Backend: b, AllowInsecureAuth: true, TLSConfig: certificate(t)})
	p.ask("EHLO edit.test", "250-mx.example.test")
	p.want("250-XONE")
	p.want("250 XTWO two")
	p.ask("AUTH PLAIN AHVzZXIAc2VjcmV0", "235 2.7.0 Authentication successful", "STARTTLS", ready)
	p.secure()
	p.begin()
	p.ask("DATA", goAhead, ".", "250 2.0.0 Ok: queued as 3K2x9")
	require.Empty(t, b.clients[0].Login)
	require.Empty(t, b.clients[0].HELO)
	require.Empty(t, b.clients[0].Protocol)
}

// The networks of BareNewlineAllowed may be sloppy, but even there a dot between
// bare LFs ends nothing.
func TestBareNewlineAllowed(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	s := &smtpserver.Server{Backend: b, Hostname: "mx.example.test", BareNewline: smtpserver.RejectNewlines,
		BareNewlineAllowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	c, err := net.Dial("tcp", start(t, s))
	require.NoError(t, err)
	defer c.Close()
	p := &peer{Conn: c, t: t, in: bufio.NewReader(c)}
	p.want("220 mx.example.test ESMTP mtakit")
	p.send("MAIL FROM:<a@example.test>\nRCPT TO:<b@example.test>\nDATA\n")
	p.want("250 2.1.0 Ok")
	p.want("250 2.1.5 Ok")
	p.want(goAhead)
	p.send("one\n.\nMAIL FROM:<evil@example.test>\n\r\n.\r\n")
	p.want("250 2.0.0 Ok: queued as 3K2x9")
	require.Equal(t, "one\r\nMAIL FROM:<evil@example.test>\r\n\r\n", b.all()[0].Body)
}

// No variant of a fake end of data lets a second message through.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n.\r", "\r.\r\n", "\r\n\x00.\r\n", "\n\n.\r\n", "\r\n.\r\r\n", "\r\r\n.\n"} {
		b := &mailbox{}
		p := dial(t, &smtpserver.Server{Backend: b})
		p.begin()
		p.ask("DATA", goAhead)
		p.send("Subject: outer\r\n\r\nouter" + end + "MAIL FROM:<evil@example.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\nSubject: inner\r\n\r\ninner\r\n.\r\n")
		p.want("250 2.0.0 Ok: queued as 3K2x9")
		p.ask("NOOP", "250 2.0.0 Ok")
		require.Len(t, b.all(), 1, "%q", end)
		require.Contains(t, b.all()[0].Body, "inner", "%q", end)
		require.NotContains(t, strings.ReplaceAll(b.all()[0].Body, "\r\n", ""), "\r")
		require.NotContains(t, strings.ReplaceAll(b.all()[0].Body, "\r\n", ""), "\n")
	}
}

package smtpserver_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/smtpserver"
)

// The tests of this file are named after what go-smtp's own server (v0.25.1) gets
// wrong; together with testdata they show that ours does not.

// peer is a client that is as rude as it wants.
type peer struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func dial(t *testing.T, s *smtpserver.Server) *peer {
	if s.Hostname == "" {
		s.Hostname = "mx.example.test"
	}
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); s.ServeConn(server) }()
	t.Cleanup(func() { client.Close(); <-done })
	p := &peer{Conn: client, t: t, in: bufio.NewReader(client)}
	p.want("220 mx.example.test ESMTP mtakit")
	return p
}

// want reads a line.
func (p *peer) want(line string) {
	p.t.Helper()
	got, err := p.in.ReadString('\n')
	require.NoError(p.t, err)
	require.Equal(p.t, line+"\r\n", got)
}

// wantEOF reads the end.
func (p *peer) wantEOF() {
	p.t.Helper()
	rest, err := io.ReadAll(p.in)
	require.NoError(p.t, err)
	require.Empty(p.t, string(rest))
}

func (p *peer) send(text string) {
	p.t.Helper()
	_, err := io.WriteString(p.Conn, text)
	require.NoError(p.t, err)
}

// ask sends lines and reads an answer for each.
func (p *peer) ask(pairs ...string) {
	p.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		p.send(pairs[i] + "\r\n")
		p.want(pairs[i+1])
	}
}

// begin opens a transaction.
func (p *peer) begin() {
	p.t.Helper()
	p.ask("MAIL FROM:<a@example.test>", "250 2.1.0 Ok", "RCPT TO:<b@example.test>", "250 2.1.5 Ok")
}

const goAhead = "354 End data with <CR><LF>.<CR><LF>"

// a BDAT chunk cut off by a disconnect is no complete message
func TestFaultBDATCutOff(t *testing.T) {
	t.Parallel()
	for _, chunk := range []string{"BDAT 100 LAST\r\nhalf", "BDAT 4\r\nhalf", "BDAT 100\r\nhalf", "BDAT 0\r\n", "BDAT 100 LAST\r\n"} {
		b := &mailbox{}
		s := &smtpserver.Server{Backend: b}
		p := dial(t, s)
		p.begin()
		p.send(chunk)
		if strings.HasPrefix(chunk, "BDAT 4") {
			p.want("250 2.0.0 Ok: 4 bytes")
		} else if strings.HasPrefix(chunk, "BDAT 0") {
			p.want("250 2.0.0 Ok: 0 bytes")
		}
		p.Close()
		s.Close()
		require.Empty(t, b.all(), chunk)
		require.Len(t, b.failed(), 1)
		require.ErrorIs(t, b.failed()[0], io.ErrUnexpectedEOF)
		require.NotErrorIs(t, b.failed()[0], io.EOF)
	}
}

// the same for DATA
func TestFaultDATACutOff(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "half", "whole line\r\n", "line\r\n.", "line\r\n.\r", "line\r"} {
		b := &mailbox{}
		s := &smtpserver.Server{Backend: b}
		p := dial(t, s)
		p.begin()
		p.ask("DATA", goAhead)
		if text != "" {
			p.send(text)
		}
		p.Close()
		s.Close()
		require.Empty(t, b.all(), text)
		require.ErrorIs(t, b.failed()[0], io.ErrUnexpectedEOF)
	}
}

// after a read timeout inside DATA the rest of the body is not run as commands
func TestFaultTimeoutInsideData(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &mailbox{}
		p := dial(t, &smtpserver.Server{Backend: b})
		p.begin()
		p.ask("DATA", goAhead)
		p.send("Subject: slow\r\n\r\n")
		time.Sleep(301 * time.Second)
		p.want("421 4.4.2 mx.example.test Error: timeout exceeded")
		p.wantEOF()
		require.Empty(t, b.all())
		require.ErrorIs(t, b.failed()[0], os.ErrDeadlineExceeded)
		require.ErrorIs(t, b.failed()[0], io.ErrUnexpectedEOF)
	})
}

// a client that sends too little for too long, or for longer than DataTimeout
func TestSlowData(t *testing.T) {
	t.Parallel()
	for name, server := range map[string]*smtpserver.Server{
		"rate": {MinDataRate: 100}, "total": {MinDataRate: -1, DataTimeout: 400 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &mailbox{}
				server.Backend = b
				p := dial(t, server)
				p.begin()
				p.ask("DATA", goAhead)
				began := time.Now()
				for {
					if _, err := io.WriteString(p.Conn, "0123456789"); err != nil {
						break
					}
					time.Sleep(time.Second)
					if time.Since(began) > 2*time.Hour {
						break
					}
				}
				took := time.Since(began).Round(time.Second)
				if name == "rate" {
					// 10 of 100 bytes a second: 300 s and a tenth of the time.
					require.InDelta(t, 338, took.Seconds(), 2, "and 5 s to say so")
				} else {
					require.InDelta(t, 405, took.Seconds(), 2)
				}
				require.Empty(t, b.all())
			})
		})
	}
}

// a client at the minimum rate may take its time
func TestSteadyData(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &mailbox{}
		p := dial(t, &smtpserver.Server{Backend: b})
		p.begin()
		p.ask("DATA", goAhead)
		for range 3000 {
			p.send(strings.Repeat("x", 508) + "\r\n")
			time.Sleep(time.Second)
		}
		p.ask(".", "250 2.0.0 Ok: queued as 3K2x9")
	})
}

// the end of data after CR CR LF is seen
func TestFaultEndAfterCRCRLF(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	p := dial(t, &smtpserver.Server{Backend: b})
	p.begin()
	p.ask("DATA", goAhead)
	p.send("x\r\r\n.\r\n")
	p.want("250 2.0.0 Ok: queued as 3K2x9")
	require.Equal(t, "x \r\n", b.all()[0].Body)
}

// the byte behind a stuffed dot is not lost when it is a CR
func TestFaultDotCR(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	p := dial(t, &smtpserver.Server{Backend: b})
	p.begin()
	p.ask("DATA", goAhead)
	p.send(".\rx\r\n..\r\n.\r\n")
	p.want("250 2.0.0 Ok: queued as 3K2x9")
	require.Equal(t, " x\r\n.\r\n", b.all()[0].Body)
}

// a message of exactly the size limit is taken, also by BDAT
func TestFaultExactSize(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	p := dial(t, &smtpserver.Server{Backend: b, MaxSize: 100000})
	line := strings.Repeat("x", 98) + "\r\n"
	for _, c := range []struct {
		extra, want string
	}{{"", "250 2.0.0 Ok: queued as 3K2x9"}, {"\r\n", "552 5.3.4 Error: message file too big"}} {
		p.begin()
		p.ask("DATA", goAhead)
		p.send(strings.Repeat(line, 1000) + c.extra)
		p.ask(".", c.want)
		p.begin()
		p.send(fmt.Sprintf("BDAT %d LAST\r\n", 100000+len(c.extra)) + strings.Repeat(line, 1000) + c.extra)
		p.want(strings.Replace(c.want, "Error: message file too big", "Chunk exceeds message size limit", 1))
	}
	require.Len(t, b.all(), 2)
}

// a nested MAIL is refused
func TestFaultNestedMAIL(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	p := dial(t, &smtpserver.Server{Backend: b})
	p.begin()
	p.ask("MAIL FROM:<other@example.test>", "503 5.5.1 Error: nested MAIL command", "DATA", goAhead, "x\r\n.", "250 2.0.0 Ok: queued as 3K2x9")
	require.Equal(t, "a@example.test", b.all()[0].From)
}

// a command that ends in a bare LF is refused
func TestFaultBareLFCommand(t *testing.T) {
	t.Parallel()
	p := dial(t, &smtpserver.Server{Backend: &mailbox{}})
	p.send("MAIL FROM:<a@example.test>\n")
	p.want("550 5.5.2 mx.example.test Error: bare <LF> received")
	p.ask("RCPT TO:<b@example.test>", "503 5.5.1 Error: need MAIL command")
}

// local parts come out quoted, so that nobody's client is made to inject parameters
func TestFaultUnquotedLocalPart(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	p := dial(t, &smtpserver.Server{Backend: b})
	p.ask(`MAIL FROM:<"a> SIZE=1"@example.test>`, "250 2.1.0 Ok",
		`RCPT TO:<"b> NOTIFY=NEVER \"x"@example.test>`, "250 2.1.5 Ok", "DATA", goAhead, ".", "250 2.0.0 Ok: queued as 3K2x9")
	require.Equal(t, `"a> SIZE=1"@example.test`, b.all()[0].From)
	require.Equal(t, []string{`"b> NOTIFY=NEVER \"x"@example.test`}, b.all()[0].To)
}

// a plain Go error is temporary, and its text stays here
func TestFaultPlainErrorIsTemporary(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	p := dial(t, &smtpserver.Server{Backend: b})
	p.ask("MAIL FROM:<fault@example.test>", "451 4.3.0 Error: temporary failure, try again later",
		"MAIL FROM:<a@example.test>", "250 2.1.0 Ok", "RCPT TO:<fault@late.test>", "250 2.1.5 Ok",
		"DATA", goAhead, ".", "451 4.3.0 Error: temporary failure, try again later")
}

// writes counts the writes of a connection.
type writes struct {
	net.Conn
	n *int
}

func (w writes) Write(p []byte) (int, error) { *w.n++; return w.Conn.Write(p) }

// MAIL + 50 RCPT + DATA in one group is answered in one write
func TestFaultOneWritePerGroup(t *testing.T) {
	t.Parallel()
	client, server := net.Pipe()
	n := 0
	s := &smtpserver.Server{Backend: &mailbox{}, Hostname: "mx.example.test"}
	done := make(chan struct{})
	go func() { defer close(done); s.ServeConn(writes{server, &n}) }()
	p := &peer{Conn: client, t: t, in: bufio.NewReader(client)}
	p.want("220 mx.example.test ESMTP mtakit")
	p.send("MAIL FROM:<a@example.test>\r\n" + strings.Repeat("RCPT TO:<b@example.test>\r\n", 50) + "DATA\r\n")
	p.want("250 2.1.0 Ok")
	for range 50 {
		p.want("250 2.1.5 Ok")
	}
	p.want(goAhead)
	p.send("x\r\n.\r\nQUIT\r\n")
	p.want("250 2.0.0 Ok: queued as 3K2x9")
	p.want("221 2.0.0 Bye")
	p.wantEOF()
	<-done
	require.Equal(t, 3, n, "greeting, the group, the end")
}

// HELO and EHLO are told apart, and a second EHLO is told too
func TestFaultHELO(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	p := dial(t, &smtpserver.Server{Backend: b})
	p.ask("HELO one.test", "250 mx.example.test")
	p.send("EHLO edit.test\r\n")
	p.want("250-mx.example.test")
	p.want("250-XONE")
	p.want("250 XTWO two")
	p.begin()
	p.ask("DATA", goAhead, ".", "250 2.0.0 Ok: queued as 3K2x9")
	require.Equal(t, []string{"HELO one.test", "EHLO edit.test"}, b.helos)
	require.Equal(t, "ESMTP", b.clients[0].Protocol)
	require.Equal(t, "edit.test", b.clients[0].HELO)
}

// parameters that go-smtp has no field for reach the session
func TestFaultUnknownParameters(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	p := dial(t, &smtpserver.Server{Backend: b})
	p.ask("MAIL FROM:<a@example.test> xverp=+= SIZE=8589934592", "250 2.1.0 Ok",
		"RCPT TO:<b@example.test> NOTIFY=SUCCESS,DELAY ORCPT=utf-8;b\\x{20AC}@x.test", "250 2.1.5 Ok", "DATA", goAhead, ".", "250 2.0.0 Ok: queued as 3K2x9")
	m := b.all()[0]
	require.Equal(t, int64(8589934592), m.Opts.Size)
	require.Equal(t, smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyDelayed},
		OriginalRecipientType: smtp.DSNAddressTypeUTF8, OriginalRecipient: "b€@x.test"}, m.Rcpts[0])
}

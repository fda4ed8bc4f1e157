package smtpserver_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/smtpserver"
	"github.com/mtakit/mtakit/smtpserver/auth"
)

// goServer runs an Intake under go-smtp's own server and returns its address.
// closeAll ends the server and waits for its connections.
func goServer(t *testing.T, in *smtpserver.Intake, timeout time.Duration) (address string, closeAll func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := smtp.NewServer(smtp.BackendFunc(in.GoSMTP))
	s.Domain, s.AllowInsecureAuth, s.ReadTimeout = "mx.example.test", true, timeout
	s.EnableSMTPUTF8, s.EnableDSN = true, true
	s.ErrorLog = log.New(io.Discard, "", 0)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(smtpserver.GoSMTPListener(l))
	}()
	closeAll = func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		assert.NoError(t, s.Shutdown(ctx))
		<-done
	}
	return l.Addr().String(), closeAll
}

func TestGoSMTP(t *testing.T) {
	t.Parallel()
	q := &memory{}
	users := auth.TableFunc(func(_ context.Context, user string) (string, bool, error) {
		if user == "down" {
			return "", false, errors.New("table down")
		}
		return "{PLAIN}secret", user == "alice", nil
	})
	in := &smtpserver.Intake{Queue: q, Hostname: "mx.example.test", RequireAuth: true,
		Authenticator: &auth.SASL{Verifier: &auth.Passwd{Table: users}},
		Restrictions:  at(mtakit.StageRcpt, mtakit.Verdict{}, nil)}
	address, closeAll := goServer(t, in, time.Minute)
	c, err := smtp.Dial(address)
	require.NoError(t, err)
	require.NoError(t, c.Hello("client.example.org"))

	var reply *smtp.SMTPError
	require.ErrorAs(t, c.Mail("a@example.org", nil), &reply)
	assert.Equal(t, 530, reply.Code)
	require.ErrorAs(t, c.Auth(sasl.NewPlainClient("", "alice", "wrong")), &reply)
	assert.Equal(t, 535, reply.Code)
	require.ErrorAs(t, c.Auth(sasl.NewPlainClient("", "down", "x")), &reply)
	assert.Equal(t, 454, reply.Code)
	assert.NotContains(t, reply.Message, "table")
	require.NoError(t, c.Auth(sasl.NewLoginClient("alice", "secret")))

	require.NoError(t, c.SendMail(`a@example.org`, []string{`"odd user"@example.net`}, strings.NewReader("Subject: x\r\n\r\nbody\r\n")))
	require.NoError(t, c.Quit())
	closeAll()
	require.Len(t, q.all(), 1)
	m := q.all()[0]
	assert.Equal(t, `"odd user"@example.net`, m.env.Recipients[0].Address, "go-smtp takes the quotes away")
	assert.Equal(t, "alice", m.env.Client.Login)
	assert.Equal(t, "ESMTPA", m.env.Client.Protocol)
	assert.Equal(t, "client.example.org", m.env.Client.HELO)
	assert.True(t, m.env.Client.Addr.Addr().IsLoopback())
	assert.Regexp(t, `(?s)^Received: from client\.example\.org \(unknown \[127\.0\.0\.1\]\).*for <"odd user"@example\.net>.*body\r\n$`, m.raw)
	assert.Zero(t, q.opened())
}

// A fault is a temporary failure without its cause, under a server that would
// make it a permanent one with it.
func TestGoSMTPFaults(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]*smtpserver.Intake{
		"restriction": {Queue: &memory{}, Restrictions: at(mtakit.StageRcpt, mtakit.Verdict{}, errors.New("disk on fire"))},
		"commit":      {Queue: &memory{takeErr: errors.New("disk on fire")}, Restrictions: smtpserver.RestrictionFunc(permitAll)},
		"connect":     {Queue: &memory{}, Restrictions: at(mtakit.StageConnect, mtakit.Verdict{}, errors.New("disk on fire"))},
		"HELO":        {Queue: &memory{}, Restrictions: at(mtakit.StageHELO, mtakit.Verdict{}, errors.New("disk on fire"))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, closeAll := goServer(t, in, time.Minute)
			c, err := smtp.Dial(address)
			require.NoError(t, err)
			defer c.Close()
			err = c.SendMail("a@example.org", []string{"b@example.net"}, strings.NewReader("x\r\n"))
			var reply *smtp.SMTPError
			require.ErrorAs(t, err, &reply)
			assert.True(t, reply.Temporary(), reply)
			assert.NotContains(t, reply.Message, "fire")
			c.Close()
			closeAll()
		})
	}
}

// raw speaks to a server by hand.
func raw(t *testing.T, address string) (net.Conn, *textproto.Conn) {
	t.Helper()
	nc, err := net.Dial("tcp", address)
	require.NoError(t, err)
	c := textproto.NewConn(nc)
	_, _, err = c.ReadResponse(220)
	require.NoError(t, err)
	for _, command := range []string{"EHLO c", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>"} {
		require.NoError(t, c.PrintfLine("%s", command))
		_, _, err = c.ReadResponse(250)
		require.NoError(t, err)
	}
	return nc, c
}

// A message that was cut off is never queued, whoever the host is.
func TestCutOffIsNotQueued(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string]string{
		"BDAT":             "BDAT 100 LAST\r\nSubject: x\r\n\r\nhalf",
		"second BDAT":      "BDAT 14\r\nSubject: x\r\n\r\nBDAT 100 LAST\r\nhalf",
		"BDAT without end": "BDAT 14\r\nSubject: x\r\n\r\n",
		"DATA":             "DATA\r\nSubject: x\r\n\r\nhalf\r\n",
	} {
		for _, host := range []string{"ours", "go-smtp"} {
			t.Run(host+" "+name, func(t *testing.T) {
				t.Parallel()
				q := &memory{}
				in := &smtpserver.Intake{Queue: q, Restrictions: smtpserver.RestrictionFunc(permitAll)}
				serve := ourServer
				if host == "go-smtp" {
					serve = goServer
				}
				address, closeAll := serve(t, in, time.Minute)
				nc, _ := raw(t, address)
				_, err := io.WriteString(nc, sent)
				require.NoError(t, err)
				require.NoError(t, nc.(*net.TCPConn).CloseWrite())
				io.Copy(io.Discard, nc)
				nc.Close()
				closeAll()
				if host == "go-smtp" { // it does not wait for a session's Data under BDAT
					require.Eventually(t, func() bool { return q.opened() == 0 }, 10*time.Second, time.Millisecond)
				}
				assert.Zero(t, q.opened())
				assert.Empty(t, q.all())
			})
		}
	}
}

func ourServer(t *testing.T, in *smtpserver.Intake, timeout time.Duration) (address string, closeAll func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &smtpserver.Server{Backend: in, Hostname: "mx.example.test", IdleTimeout: timeout}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(l)
	}()
	return l.Addr().String(), func() {
		assert.NoError(t, s.Shutdown(context.Background()))
		<-done
	}
}

// After a timeout inside DATA that server would go on with the rest of the
// message as commands: here, with a message of its own.
func TestGoSMTPTimeoutInsideData(t *testing.T) {
	t.Parallel()
	q := &memory{}
	in := &smtpserver.Intake{Queue: q, Restrictions: smtpserver.RestrictionFunc(permitAll)}
	address, closeAll := goServer(t, in, 200*time.Millisecond)
	nc, c := raw(t, address)
	defer nc.Close()
	require.NoError(t, c.PrintfLine("DATA"))
	_, _, err := c.ReadResponse(354)
	require.NoError(t, err)
	_, err = io.WriteString(nc, "Subject: x\r\n\r\n")
	require.NoError(t, err)
	code, text, err := c.ReadResponse(0)
	require.NoError(t, err)
	assert.Equal(t, 451, code, text)
	io.WriteString(nc, "MAIL FROM:<evil@example.org>\r\nRCPT TO:<b@example.net>\r\nBDAT 4 LAST\r\nevil")
	rest, _ := io.ReadAll(nc)
	assert.NotContains(t, string(rest), "\n250 ")
	assert.False(t, strings.HasPrefix(string(rest), "250"))
	closeAll()
	assert.Empty(t, q.all())
	assert.Zero(t, q.opened())
}

// That server mixes up the results of a message that was reset between its
// chunks and of the next one, so there is no next one on the connection.
func TestGoSMTPResets(t *testing.T) {
	t.Parallel()
	q := &memory{}
	in := &smtpserver.Intake{Queue: q, Restrictions: smtpserver.RestrictionFunc(permitAll)}
	address, closeAll := goServer(t, in, time.Minute)
	for range 5 {
		nc, _ := raw(t, address)
		_, err := io.WriteString(nc, "BDAT 4\r\nA: 1RSET\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nBDAT 4 LAST\r\nA: 1")
		require.NoError(t, err)
		rest, _ := io.ReadAll(nc)
		assert.Contains(t, string(rest), "421 4.4.2")
		nc.Close()
	}
	nc, c := raw(t, address)
	defer nc.Close()
	for _, chunk := range []string{"BDAT 6\r\nA: 1\r\n", "BDAT 6 LAST\r\n\r\nend\n"} {
		_, err := io.WriteString(nc, chunk)
		require.NoError(t, err)
		_, _, err = c.ReadResponse(250)
		require.NoError(t, err)
	}
	nc.Close()
	closeAll()
	require.Len(t, q.all(), 1)
	assert.True(t, strings.HasSuffix(q.all()[0].raw, "A: 1\r\n\r\nend\n"))
	assert.Zero(t, q.opened())
}

// That server gives up a message at a line that is too long for it, with the
// rest still in its buffer.
func TestGoSMTPLongLineSmugglesNothing(t *testing.T) {
	t.Parallel()
	q := &memory{}
	in := &smtpserver.Intake{Queue: q, Restrictions: smtpserver.RestrictionFunc(permitAll)}
	address, closeAll := goServer(t, in, time.Minute)
	nc, _ := raw(t, address)
	defer nc.Close()
	_, err := io.WriteString(nc, "DATA\r\n"+strings.Repeat("x", 5000)+
		"\r\nMAIL FROM:<evil@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\nevil\r\n.\r\nQUIT\r\n")
	require.NoError(t, err)
	nc.(*net.TCPConn).CloseWrite()
	rest, _ := io.ReadAll(nc)
	assert.NotContains(t, string(rest), "queued")
	nc.Close()
	closeAll()
	assert.Empty(t, q.all())
	assert.Zero(t, q.opened())
}

func TestGoSMTPServerClosesInsideData(t *testing.T) {
	t.Parallel()
	q := &memory{}
	over := make(chan struct{})
	in := &smtpserver.Intake{Queue: q, Restrictions: smtpserver.RestrictionFunc(permitAll),
		Observer: mtakit.ObserverFunc(func(_ context.Context, e mtakit.Event) {
			if e.Kind == mtakit.EventDisconnected {
				close(over)
			}
		})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := smtp.NewServer(smtp.BackendFunc(in.GoSMTP))
	s.ErrorLog = log.New(io.Discard, "", 0)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(smtpserver.GoSMTPListener(l))
	}()
	nc, c := raw(t, l.Addr().String())
	defer nc.Close()
	require.NoError(t, c.PrintfLine("DATA"))
	_, _, err = c.ReadResponse(354)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	io.Copy(io.Discard, nc)
	<-done
	<-over
	assert.Empty(t, q.all())
	assert.Zero(t, q.opened())
}

// Without the listener there is no protection, so there is no service.
func TestGoSMTPWantsItsListener(t *testing.T) {
	t.Parallel()
	in := &smtpserver.Intake{Queue: &memory{}, Restrictions: smtpserver.RestrictionFunc(permitAll)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := smtp.NewServer(smtp.BackendFunc(in.GoSMTP))
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(l)
	}()
	c, err := smtp.Dial(l.Addr().String())
	require.NoError(t, err)
	var reply *smtp.SMTPError
	require.ErrorAs(t, c.Hello("c"), &reply)
	assert.Equal(t, 421, reply.Code)
	c.Close()
	require.NoError(t, s.Shutdown(t.Context()))
	<-done
}

package smtpserver_test

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/smtpserver"
)

const unknownCommand = "500 5.5.2 Error: command not recognized"

// After SoftErrors each reply takes ErrorDelay, good ones too.
func TestErrorDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := dial(t, &smtpserver.Server{Backend: &mailbox{}, SoftErrors: 3, ErrorDelay: 7 * time.Second})
		began := time.Now()
		p.ask("FOO", unknownCommand, "FOO", unknownCommand, "FOO", unknownCommand)
		require.Zero(t, time.Since(began))
		p.ask("FOO", unknownCommand, "NOOP", "250 2.0.0 Ok")
		require.Equal(t, 14*time.Second, time.Since(began))
	})
}

// Shutdown does not wait for a delay.
func TestShutdownDuringErrorDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &smtpserver.Server{Backend: &mailbox{}, SoftErrors: 1, ErrorDelay: 24 * time.Hour}
		p := dial(t, s)
		p.ask("FOO", unknownCommand)
		p.send("FOO\r\n")
		synctest.Wait()
		done := make(chan error, 1)
		began := time.Now()
		go func() { done <- s.Shutdown(t.Context()) }()
		p.want(unknownCommand)
		p.want("421 4.3.2 mx.example.test Error: service shutting down")
		require.NoError(t, <-done)
		require.Less(t, time.Since(began), time.Minute)
	})
}

// A long list runs into the limit in good faith: the first thousand refusals are
// no errors, those after them are.
func TestRecipientOvershoot(t *testing.T) {
	t.Parallel()
	p := dial(t, &smtpserver.Server{Backend: &mailbox{}, MaxRecipients: 1, ErrorDelay: -1, MaxErrors: 5})
	p.begin()
	for range 1005 {
		p.ask("RCPT TO:<c@example.test>", "452 4.5.3 Error: too many recipients")
	}
	p.want("421 4.7.0 mx.example.test Error: too many errors")
	p.wantEOF()
}

// The error limit holds between the chunks of a message too, and the message is
// not taken.
func TestErrorsBetweenChunks(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	p := dial(t, &smtpserver.Server{Backend: b, ErrorDelay: -1, MaxErrors: 3})
	p.begin()
	p.ask("BDAT 0", "250 2.0.0 Ok: 0 bytes")
	p.ask("FOO", unknownCommand, "MAIL FROM:<>", "503 5.5.1 Error: MAIL after BDAT", "DATA", "503 5.5.1 Error: DATA after BDAT")
	p.want("421 4.7.0 mx.example.test Error: too many errors")
	p.wantEOF()
	require.Empty(t, b.all())
	require.ErrorIs(t, b.failed()[0], io.ErrUnexpectedEOF)
}

// A line that ends in a bare LF between two chunks is no command either.
func TestBareLFBetweenChunks(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	p := dial(t, &smtpserver.Server{Backend: b})
	p.begin()
	p.ask("BDAT 0", "250 2.0.0 Ok: 0 bytes")
	p.send("BDAT 0 LAST\n")
	p.want("550 5.5.2 mx.example.test Error: bare <LF> received")
	p.ask("BDAT 0 LAST", "250 2.0.0 Ok: queued as 3K2x9")
}

// A client that leaves a message between two chunks tells the session.
func TestChunksGivenUp(t *testing.T) {
	t.Parallel()
	for cmd, want := range map[string]string{"RSET": "250 2.0.0 Ok", "QUIT": "221 2.0.0 Bye", "HELO x": "250 mx.example.test"} {
		b := &mailbox{}
		p := dial(t, &smtpserver.Server{Backend: b})
		p.begin()
		p.ask("BDAT 0", "250 2.0.0 Ok: 0 bytes", cmd, want)
		require.Empty(t, b.all())
		require.ErrorIs(t, b.failed()[0], smtp.ErrDataReset)
		require.ErrorIs(t, b.failed()[0], io.ErrUnexpectedEOF)
	}
}

// panicker panics where it is told to.
type panicker struct {
	*session
	where string
}

func (p *panicker) Reset() {
	if p.where == "Reset" {
		panic(p.where)
	}
}

func (p *panicker) Logout() error {
	if p.where == "Logout" {
		panic(p.where)
	}
	return p.session.Logout()
}

// A panic anywhere ends one connection.
func TestPanics(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"NewSession", "Reset", "Logout"} {
		b := &mailbox{}
		var log strings.Builder
		s := &smtpserver.Server{Hostname: "mx.example.test", Logger: slog.New(slog.NewTextHandler(&log, nil)),
			Backend: smtpserver.BackendFunc(func(_ context.Context, c *smtpserver.Conn) (smtp.Session, error) {
				if where == "NewSession" {
					panic(where)
				}
				return &panicker{&session{b: b, c: c}, where}, nil
			})}
		client, done := pipeFor(t, s)
		go io.WriteString(client, "RSET\r\nQUIT\r\n")
		got, err := io.ReadAll(client)
		require.NoError(t, err)
		<-done
		if where == "Logout" {
			require.Contains(t, string(got), "221 2.0.0 Bye")
		} else {
			require.Contains(t, string(got), "421 4.3.0 mx.example.test Error: internal error")
		}
		require.Contains(t, log.String(), "panicked")
	}
}

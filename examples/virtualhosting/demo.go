package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/tlsutil"
)

// samplePassword is that of the users in sample.sql.
const samplePassword = "correct horse"

// letter is one message of the demonstration and what should become of it.
type letter struct {
	title    string
	to       string
	login    string // "" sends to the port for everybody
	password string
	size     int // bytes of the body
	results  int // recipients that have a result in the end
	outcome  mtakit.Outcome
	refused  string // the enhanced status code of the refusal; "" means that it is taken
}

var script = []letter{
	{title: "To a user in the database", to: "alice@example.test", results: 1, outcome: mtakit.Delivered},
	{title: "To an alias in the database", to: "team@example.test", results: 2, outcome: mtakit.Delivered},
	{title: "To nobody", to: "nobody@example.test", refused: "5.1.1"},
	{title: "To somebody elsewhere, from a stranger", to: "friend@elsewhere.example", refused: "5.7.1"},
	{title: "A user logs in with a wrong password", to: "bob@example.test", login: "alice@example.test", password: "wrong", refused: "5.7.8"},
	{title: "The name of a user who would like to be all of them", to: "bob@example.test", login: "' OR 1=1 -- ", password: samplePassword, refused: "5.7.8"},
	{title: "A user logs in and writes to another", to: "bob@example.test", login: "alice@example.test", password: samplePassword, results: 1, outcome: mtakit.Delivered},
	{title: "More than bob's quota of 10000 bytes: it comes back to alice", to: "bob@example.test", login: "alice@example.test", password: samplePassword, size: 12000, results: 1, outcome: mtakit.Bounced},
}

// demoTime is how long all of it may take.
const demoTime = 9 * time.Second

// demo starts the server on free ports with a new SQLite file, sends the letters
// through it, and says what became of each.
func demo(ctx context.Context, c config, out io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	if c.dir, err = os.MkdirTemp("", "virtualhosting-demo-"); err != nil {
		return err
	}
	c.smtp, c.submission, c.relayhost = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:1" // nothing goes out
	d := demonstration{out: out, news: make(chan mtakit.Event, 100)}
	observer := mtakit.ObserverFunc(func(_ context.Context, e mtakit.Event) {
		if e.Recipient == "" || e.Result == nil {
			return
		}
		select {
		case d.news <- e:
		case <-ctx.Done():
		}
	})
	s, err := open(ctx, c, newLogger("off", nil), observer)
	if err != nil {
		return err
	}
	running.Go(func() { s.serve(ctx) })
	if d.tls, err = trust(filepath.Join(s.dir, "tls", "ca.pem")); err != nil {
		return err
	}
	d.smtp, d.submission, d.mail = s.smtp.Addr().String(), s.submission.Addr().String(), s.mail.Name()
	fmt.Fprintf(out, "A mail server runs on %s and %s, with its users in %s\n", d.smtp, d.submission, filepath.Join(s.dir, "mail.db"))
	for i, l := range script {
		fmt.Fprintf(out, "\n%d. %s: %s\n", i+1, l.title, l.to)
		if err := d.send(ctx, l); err != nil {
			return fmt.Errorf("letter %d, %s: %w", i+1, l.to, err)
		}
	}
	fmt.Fprintf(out, "\nAll %d as expected. Have a look at the files in %s, or start it there:\n  go run ./examples/virtualhosting -dir %s\n", len(script), d.mail, s.dir)
	return nil
}

// trust is what a client does with our CA's certificate.
func trust(file string) (*tls.Config, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	t := tlsutil.ClientVerify(roots)
	t.ServerName = "localhost"
	return t, nil
}

type demonstration struct {
	out                    io.Writer
	news                   chan mtakit.Event
	smtp, submission, mail string
	tls                    *tls.Config // trusts our CA
}

// send sends one letter and follows it to its end.
func (d *demonstration) send(ctx context.Context, l letter) error {
	reply, err := d.submit(ctx, l)
	var refusal *smtp.SMTPError
	switch {
	case errors.As(err, &refusal):
		fmt.Fprintf(d.out, "   refused    %d %s %s\n", refusal.Code, code(refusal.EnhancedCode), refusal.Message)
		if got := code(refusal.EnhancedCode); got != l.refused {
			return fmt.Errorf("refused with %s, expected %q", got, l.refused)
		}
		return nil
	case err != nil:
		return err
	}
	fmt.Fprintf(d.out, "   accepted   250 %s\n", reply)
	if l.refused != "" {
		return fmt.Errorf("accepted, expected a refusal with %s", l.refused)
	}
	return d.follow(ctx, strings.TrimPrefix(reply, "2.0.0 Ok: queued as "), l)
}

// follow prints what happens to the message until all recipients have a result.
func (d *demonstration) follow(ctx context.Context, id string, l letter) error {
	for n := l.results; n > 0; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-d.news:
			if e.ID != id {
				continue
			}
			text := strings.Replace(e.Result.Diagnostic, "delivered to maildir ", d.mail+"/", 1)
			fmt.Fprintf(d.out, "   %-10s %s: %s %s\n", e.Result.Outcome, e.Recipient, code(e.Result.Status), text)
			if e.Result.Outcome != l.outcome {
				return fmt.Errorf("expected %s", l.outcome)
			}
			n--
		}
	}
	return nil
}

func code(c smtp.EnhancedCode) string { return fmt.Sprintf("%d.%d.%d", c[0], c[1], c[2]) }

// submit speaks SMTP and returns the text of the last reply.
func (d *demonstration) submit(ctx context.Context, l letter) (string, error) {
	c, err := d.dial(ctx, l)
	if err != nil {
		return "", err
	}
	defer c.Close()
	defer c.Quit() // also after a refusal
	if l.login != "" {
		if err := c.Auth(sasl.NewPlainClient("", l.login, l.password)); err != nil {
			return "", err
		}
	}
	from := cmp.Or(l.login, "visitor@example.net")
	if err := c.Mail(from, nil); err != nil {
		return "", err
	}
	if err := c.Rcpt(l.to, nil); err != nil {
		return "", err
	}
	w, err := c.Data()
	if err != nil {
		return "", err
	}
	fmt.Fprintf(w, "From: <%s>\r\nTo: <%s>\r\nSubject: %s\r\n\r\nA letter of the demonstration.\r\n%s\r\n",
		from, l.to, l.title, strings.Repeat(strings.Repeat("x", 70)+"\r\n", l.size/72))
	response, err := w.CloseWithResponse()
	if err != nil {
		return "", err
	}
	return response.StatusText, nil
}

// dial connects, with STARTTLS where the letter's sender logs in.
func (d *demonstration) dial(ctx context.Context, l letter) (*smtp.Client, error) {
	addr := d.smtp
	if l.login != "" {
		addr = d.submission
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	if l.login == "" {
		return smtp.NewClient(conn), nil
	}
	return smtp.NewClientStartTLS(conn, d.tls)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// sample is one message of the demonstration and what should become of it.
type sample struct {
	title    string
	to       string
	subject  string
	stranger bool   // sent from an address outside of networks
	results  int    // recipients that are delivered or relayed in the end
	refused  string // the enhanced status code of the refusal; "" means that it is taken
}

var script = []sample{
	{title: "To a mailbox", to: "alice@example.test", results: 1},
	{title: "To an alias that stands for three", to: "team@example.test", results: 3},
	{title: "To a virtual address", to: "sales@example.test", results: 1},
	{title: "To a user who has moved", to: "dave@example.test", refused: "5.1.6"},
	{title: "A stranger tries to relay", to: "friend@elsewhere.example", stranger: true, refused: "5.7.1"},
	{title: "A subject that header_checks refuses", to: "alice@example.test", subject: "make money fast", refused: "5.7.1"},
	{title: "Relayed to a server that says 451 at first", to: "friend@elsewhere.example", results: 1},
}

// demoTime is how long all of it may take.
const demoTime = 9 * time.Second

// demo starts the server on free ports, sends the samples through it, and says
// what became of each.
func demo(ctx context.Context, c config, out, logTo io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	if !c.dirGiven {
		dir, err := os.MkdirTemp("", "mta-demo-")
		if err != nil {
			return err
		}
		c.dir = dir
	}
	sinkListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	c.smtp, c.submission = "127.0.0.1:0", ""
	c.relayhost = sinkListener.Addr().String()
	c.minBackoff, c.maxBackoff, c.queueRun = time.Second, time.Second, 100*time.Millisecond

	news := make(chan mtakit.Event, 100)
	format := c.log
	if !c.logGiven { // the demonstration tells what the log would
		format = "off"
	}
	s, err := open(c, newLogger(format, logTo), observer(ctx, news))
	if err != nil {
		return errors.Join(err, sinkListener.Close())
	}
	running.Go(func() { new(sink).serve(ctx, sinkListener) })
	running.Go(func() { s.serve(ctx) })
	strangers, err := s.listenAs(netip.MustParseAddr("192.0.2.99"))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "A mail server runs on %s, with its files in %s\n", s.smtpAddr(), s.dir)
	d := demonstration{out: out, news: news, mail: filepath.Join(s.dir, "mail")}
	for i, sample := range script {
		addr := s.smtpAddr()
		if sample.stranger {
			addr = strangers
		}
		fmt.Fprintf(out, "\n%d. %s: %s\n", i+1, sample.title, sample.to)
		if err := d.send(ctx, addr, sample); err != nil {
			return fmt.Errorf("sample %d, %s: %w", i+1, sample.to, err)
		}
	}
	fmt.Fprintf(out, "\nAll %d as expected. Have a look at the files, or run it again with:\n  go run ./examples/mta -demo -dir %s\n", len(script), s.dir)
	return nil
}

func observer(ctx context.Context, news chan<- mtakit.Event) mtakit.Observer {
	return mtakit.ObserverFunc(func(_ context.Context, e mtakit.Event) {
		if e.Recipient == "" || e.Result == nil {
			return
		}
		e.Attrs = nil
		select {
		case news <- e:
		case <-ctx.Done():
		}
	})
}

type demonstration struct {
	out  io.Writer
	news <-chan mtakit.Event
	mail string
}

// send sends one sample and follows it to its end.
func (d *demonstration) send(ctx context.Context, addr string, s sample) error {
	reply, err := submit(ctx, addr, s)
	if refusal, ok := mtakit.AsReply(err); ok {
		fmt.Fprintf(d.out, "   refused    %d %s %s\n", refusal.Code, code(refusal.EnhancedCode), refusal.Message)
		if got := code(refusal.EnhancedCode); got != s.refused {
			return fmt.Errorf("refused with %s, expected %q: do the tables in etc/ say so?", got, s.refused)
		}
		return nil
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "   accepted   250 %s\n", reply)
	if s.refused != "" {
		return fmt.Errorf("accepted, expected a refusal with %s: do the tables in etc/ say so?", s.refused)
	}
	return d.follow(ctx, strings.TrimPrefix(reply, "2.0.0 Ok: queued as "), s.results)
}

// follow prints what happens to the message until it has reached n recipients.
func (d *demonstration) follow(ctx context.Context, id string, n int) error {
	for n > 0 {
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return errors.New("took too long")
			}
			return errors.New("interrupted")
		case e := <-d.news:
			if e.ID != id {
				continue
			}
			fmt.Fprintf(d.out, "   %-10s %s: %s\n", e.Result.Outcome, e.Recipient, d.describe(e.Result))
			switch e.Result.Outcome {
			case mtakit.Bounced:
				return errors.New("bounced")
			case mtakit.Delivered, mtakit.Relayed:
				n--
			}
		}
	}
	return nil
}

// describe names the file of a delivery, or the server and its answer.
func (d *demonstration) describe(r *mtakit.Result) string {
	if file, ok := strings.CutPrefix(r.Diagnostic, "delivered to maildir "); ok {
		return filepath.Join(d.mail, file)
	}
	text := r.Diagnostic
	if r.Reply != nil {
		text = fmt.Sprintf("%d %s %s", r.Reply.Code, code(r.Reply.EnhancedCode), r.Reply.Message)
	}
	if r.Remote != "" {
		text = r.Remote + " said: " + text
	}
	return text
}

func code(c smtp.EnhancedCode) string { return fmt.Sprintf("%d.%d.%d", c[0], c[1], c[2]) }

// submit speaks SMTP and returns the text of the last reply.
func submit(ctx context.Context, addr string, s sample) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c := smtp.NewClient(conn)
	defer c.Close()
	defer c.Quit() // also after a refusal
	if err := c.Hello("client.example.net"); err != nil {
		return "", err
	}
	if err := c.Mail("visitor@example.net", nil); err != nil {
		return "", err
	}
	if err := c.Rcpt(s.to, nil); err != nil {
		return "", err
	}
	w, err := c.Data()
	if err != nil {
		return "", err
	}
	subject := s.subject
	if subject == "" {
		subject = s.title
	}
	fmt.Fprintf(w, "From: Visitor <visitor@example.net>\r\nTo: <%s>\r\nSubject: %s\r\nDate: %s\r\n\r\nThis is a sample message of the demonstration.\r\n",
		s.to, subject, time.Now().Format(time.RFC1123Z))
	response, err := w.CloseWithResponse()
	if err != nil {
		return "", err
	}
	return response.StatusText, nil
}

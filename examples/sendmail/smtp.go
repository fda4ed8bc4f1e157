package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/memspool"
	"github.com/mtakit/mtakit/smtpserver"
)

// smtp speaks SMTP on standard input and output. Its queue is whoever takes the
// message: a 250 means what it means elsewhere.
func (o *options) smtp(ctx context.Context, stdin, stdout *os.File) error {
	hostname, err := os.Hostname()
	if err != nil {
		return fail(exitOSErr, "%w", err)
	}
	most, err := mostBytes()
	if err != nil {
		return err
	}
	host := cmp.Or(hostname, "localhost")
	server := &smtpserver.Server{Hostname: host, MaxSize: most, Backend: &smtpserver.Intake{
		Queue: handOver{o}, Hostname: host, DisableVRFY: true,
		Restrictions: smtpserver.RestrictionFunc(func(context.Context, *mtakit.Session) (mtakit.Verdict, error) {
			return mtakit.Verdict{Action: mtakit.Permit}, nil // the server has the last word
		}),
	}}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ServeConn(&stdio{stdin, stdout}); err != nil {
		return fail(exitTempFail, "%w", err)
	}
	return nil
}

// stdio is standard input and output as a connection.
type stdio struct{ in, out *os.File }

func (s *stdio) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *stdio) Write(b []byte) (int, error) { return s.out.Write(b) }

// Close closes both.
func (s *stdio) Close() error { return errors.Join(s.in.Close(), s.out.Close()) }

// LocalAddr and RemoteAddr are nowhere.
func (s *stdio) LocalAddr() net.Addr  { return &net.UnixAddr{Name: "stdio", Net: "unix"} }
func (s *stdio) RemoteAddr() net.Addr { return s.LocalAddr() }

// SetDeadline does what a file can: pipes and sockets have deadlines, others wait.
func (s *stdio) SetDeadline(t time.Time) error {
	return cmp.Or(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

func (s *stdio) SetReadDeadline(t time.Time) error  { return without(s.in.SetReadDeadline(t)) }
func (s *stdio) SetWriteDeadline(t time.Time) error { return without(s.out.SetWriteDeadline(t)) }

func without(err error) error {
	if errors.Is(err, os.ErrNoDeadline) {
		return nil
	}
	return err
}

// handOver is a queue that keeps nothing.
type handOver struct{ o *options }

// Begin starts a message in memory: the server bounds it.
func (h handOver) Begin(ctx context.Context, size int64) (mtakit.Draft, error) {
	d, err := new(memspool.Spool).Begin(ctx, size)
	return &draft{d, h.o}, err
}

type draft struct {
	mtakit.Draft
	o *options
}

// Commit hands the message over.
func (d *draft) Commit(ctx context.Context, env *mtakit.Envelope, m *mtakit.Message) (string, error) {
	defer d.Discard()
	var err error
	if m == nil {
		if m, err = d.Message(ctx); err != nil {
			return "", err
		}
	}
	said, err := d.o.submit(ctx, &letter{env: submittable(env), size: m.Size(), open: func() (io.ReadCloser, error) { return m.Open() }})
	if f, ok := errors.AsType[*failure](err); ok {
		return "", reply(f)
	}
	return said.id, err
}

// submittable is what a submission can carry of an envelope.
func submittable(env *mtakit.Envelope) *mtakit.Envelope {
	e := &mtakit.Envelope{Sender: env.Sender}
	e.Options.Body, e.Options.UTF8 = env.Options.Body, env.Options.UTF8
	e.Options.Return, e.Options.EnvelopeID = env.Options.Return, env.Options.EnvelopeID
	for i := range env.Recipients {
		r := mtakit.Recipient{Address: env.Recipients[i].Address}
		o := &env.Recipients[i].Options
		r.Options.Notify = o.Notify
		r.Options.OriginalRecipientType, r.Options.OriginalRecipient = o.OriginalRecipientType, o.OriginalRecipient
		e.Recipients = append(e.Recipients, r)
	}
	return e
}

// reply is what an SMTP client is told.
func reply(f *failure) *smtp.SMTPError {
	switch f.code {
	case exitDataErr, exitUnavailable, exitNoPerm:
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: printable(f.Error())}
	}
	return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: printable(f.Error())}
}

package main

import (
	"context"
	"io"
	"net"
	"sync"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit/smtpserver"
)

// sink is the small SMTP server of the demonstration that mail is relayed to.
// It wants to be asked twice, as greylisting servers do. It shows how little is
// needed to take mail into a program: a go-smtp session and a smtpserver.Server.
type sink struct {
	mu    sync.Mutex
	asked map[string]bool
}

// serve takes mail on l until ctx ends.
func (s *sink) serve(ctx context.Context, l net.Listener) {
	server := &smtpserver.Server{Hostname: "sink.elsewhere.example", Backend: smtpserver.BackendFunc(
		func(context.Context, *smtpserver.Conn) (smtp.Session, error) { return &sinkSession{sink: s}, nil })}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	server.Serve(l)
}

func (s *sink) firstTime(address string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.asked == nil {
		s.asked = make(map[string]bool)
	}
	first := !s.asked[address]
	s.asked[address] = true
	return first
}

type sinkSession struct{ sink *sink }

func (*sinkSession) Mail(string, *smtp.MailOptions) error { return nil }

func (s *sinkSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if s.sink.firstTime(to) {
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "Greylisted, please come again"}
	}
	return nil
}

func (*sinkSession) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

func (*sinkSession) Reset()        {}
func (*sinkSession) Logout() error { return nil }

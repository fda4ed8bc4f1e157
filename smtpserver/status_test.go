package smtpserver_test

import (
	"context"
	"io"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/smtpserver"
)

// curt is a session whose replies want no enhanced code.
type curt struct{ refuseData, refuseHELO bool }

func (curt) no(code int) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.NoEnhancedCode, Message: "one\ntwo"}
}
func (curt) Reset()        {}
func (curt) Logout() error { return nil }
func (c curt) HELO(_ context.Context, _, _ string, keywords []string) ([]string, error) {
	if c.refuseHELO {
		return nil, c.no(450)
	}
	return keywords, nil
}
func (c curt) Mail(from string, _ *smtp.MailOptions) error {
	if from == "" {
		return c.no(550)
	}
	return c.no(250)
}
func (c curt) Rcpt(string, *smtp.RcptOptions) error { return c.no(251) }
func (c curt) BeforeData(context.Context) error {
	if c.refuseData {
		return c.no(450)
	}
	return nil
}
func (c curt) Data(r io.Reader) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	return c.no(554)
}
func (c curt) VRFY(context.Context, string) error { return c.no(252) }

// Every reply but the greeting and the answers to EHLO has an enhanced code, also
// where the session wants none (RFC 2034, section 4).
func TestStatusIsAlwaysThere(t *testing.T) {
	t.Parallel()
	serve := func(c curt) *smtpserver.Server {
		return &smtpserver.Server{Backend: smtpserver.BackendFunc(func(context.Context, *smtpserver.Conn) (smtp.Session, error) { return c, nil })}
	}
	require.Equal(t, []string{"220 mx.example.test ESMTP mtakit", "250 CHUNKING", "252 2.0.0 two", "550 5.0.0 two", "250 2.0.0 two",
		"251 2.0.0 two", "354 End data with <CR><LF>.<CR><LF>", "554 5.0.0 two"},
		talk(t, serve(curt{}), "EHLO x", "VRFY a@b", "MAIL FROM:<>", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", "x\r\n."))
	require.Equal(t, []string{"220 mx.example.test ESMTP mtakit", "450 two", "250 2.0.0 two", "251 2.0.0 two", "450 4.0.0 two"},
		talk(t, serve(curt{refuseData: true, refuseHELO: true}), "EHLO x", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA"))
}

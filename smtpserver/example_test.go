package smtpserver_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit/smtpserver"
)

// printer is a session that prints what it is given.
type printer struct{}

func (p *printer) Reset()        {}
func (p *printer) Logout() error { return nil }

func (p *printer) Mail(from string, _ *smtp.MailOptions) error {
	fmt.Println("from", from)
	return nil
}

func (p *printer) Rcpt(to string, _ *smtp.RcptOptions) error {
	if !strings.HasSuffix(to, "@example.org") {
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "<" + to + ">: Relay access denied"}
	}
	fmt.Println("to", to)
	return nil
}

func (p *printer) Data(r io.Reader) error {
	message, err := io.ReadAll(r)
	if err != nil {
		return err // cut off: there is no message
	}
	fmt.Printf("%q\n", message)
	return nil
}

// A server with a backend of its own, and go-smtp's client on the other end of a
// pipe. A real one calls Serve with a listener.
func Example() {
	server := &smtpserver.Server{
		Hostname: "mx.example.org",
		Backend: smtpserver.BackendFunc(func(context.Context, *smtpserver.Conn) (smtp.Session, error) {
			return new(printer), nil
		}),
	}
	near, far := net.Pipe()
	go server.ServeConn(far)

	client := smtp.NewClient(near)
	client.Mail("sender@example.com", nil)
	fmt.Println(client.Rcpt("user@elsewhere.example", nil))
	client.Rcpt("user@example.org", nil)
	w, err := client.Data()
	if err != nil {
		fmt.Println(err)
		return
	}
	io.WriteString(w, "Subject: hello\r\n\r\nHello!\r\n")
	fmt.Println(w.Close())
	client.Quit()
	server.Shutdown(context.Background())
	// Output:
	// from sender@example.com
	// SMTP error 554: <user@elsewhere.example>: Relay access denied
	// to user@example.org
	// "Subject: hello\r\n\r\nHello!\r\n"
	// <nil>
}

package smtpserver_test

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/smtpserver"
)

// An Intake takes mail for one domain, and nobody else's.
func ExampleIntake() {
	q := &memory{} // a real one: queue.Manager
	server := &smtpserver.Server{Hostname: "mx.example.org", Backend: &smtpserver.Intake{
		Queue: q,
		Restrictions: smtpserver.RestrictionFunc(func(_ context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
			if s.Stage != mtakit.StageRcpt || strings.HasSuffix(s.Recipient.Address, "@example.org") {
				return mtakit.Verdict{}, nil
			}
			return mtakit.Verdict{Action: mtakit.Reject, Reply: &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1},
				Message: "<" + s.Recipient.Address + ">: Relay access denied"}}, nil
		}),
	}}
	near, far := net.Pipe()
	done := make(chan error)
	go func() { done <- server.ServeConn(far) }()

	client := smtp.NewClient(near)
	fmt.Println(client.SendMail("a@example.net", []string{"b@example.com"}, strings.NewReader("Hi\r\n")))
	fmt.Println(client.Reset())
	fmt.Println(client.SendMail("a@example.net", []string{"b@example.org"}, strings.NewReader("Hi\r\n")))
	client.Quit()
	<-done
	fmt.Println(len(q.all()), "message for", q.all()[0].env.Recipients[0].Address)
	// Output:
	// SMTP error 554: <b@example.com>: Relay access denied
	// <nil>
	// <nil>
	// 1 message for b@example.org
}

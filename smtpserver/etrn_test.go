package smtpserver_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/smtpserver"
	"github.com/mtakit/mtakit/smtpserver/smtptest"
)

// TestETRN has every answer of RFC 1985 that we give.
func TestETRN(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		in := &smtpserver.Intake{Queue: &memory{},
			Restrictions: smtpserver.RestrictionFunc(func(_ context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
				switch {
				case s.Stage == mtakit.StageETRN && s.HELO == "evil.example":
					return mtakit.Verdict{Action: mtakit.Reject, Reply: &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1},
						Message: "<ETRN>: Etrn command rejected: Access denied"}}, nil
				case s.Stage == mtakit.StageETRN && s.HELO == "quiet.example":
					return mtakit.Verdict{Action: mtakit.Discard}, nil
				}
				return mtakit.Verdict{}, nil
			}),
			Flusher: smtpserver.FlusherFunc(func(_ context.Context, site string) error {
				asked = append(asked, site)
				switch site {
				case "other.example":
					return &smtp.SMTPError{Code: 459, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "<other.example>: service unavailable"}
				case "broken.example":
					return errFault
				}
				return nil
			})}
		s := &smtpserver.Server{Backend: in, Hostname: "mx.example.test", MaxSize: 1000000, MaxJunk: 10}
		smtptest.Run(t, smtptest.Pipe(t, func(c net.Conn) { s.ServeConn(c) }), "testdata/intake/etrn.smtp")
		assert.Equal(t, []string{"example.org", "Example.ORG", "example.org", "other.example", "broken.example", "example.org"}, asked)
	})
}

func TestETRNNotOffered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &smtpserver.Server{Backend: &smtpserver.Intake{Queue: &memory{}}, Hostname: "mx.example.test", MaxSize: 1000000}
		smtptest.Run(t, smtptest.Pipe(t, func(c net.Conn) { s.ServeConn(c) }), "testdata/intake/no-etrn.smtp")
	})
}

package smtpserver_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/smtpserver"
	"github.com/mtakit/mtakit/smtpserver/smtptest"
)

// setting is a server that a dialogue is played against.
type setting struct {
	server  smtpserver.Server
	backend mailbox
}

// settings has what differs from the ordinary, by the dialogue's name.
func settings(t *testing.T) map[string]*setting {
	tlsConfig := certificate(t)
	return map[string]*setting{
		"required":           {server: smtpserver.Server{RequireHELO: true}},
		"junk":               {server: smtpserver.Server{MaxJunk: 3, MaxErrors: 2}},
		"strict":             {server: smtpserver.Server{Strict: true}},
		"plain-params":       {backend: mailbox{bare: true}},
		"params":             {server: smtpserver.Server{AllowInsecureAuth: true}},
		"recipients":         {server: smtpserver.Server{MaxRecipients: 2}},
		"auth":               {server: smtpserver.Server{AllowInsecureAuth: true}},
		"auth-steps":         {server: smtpserver.Server{AllowInsecureAuth: true}},
		"auth-panic":         {server: smtpserver.Server{AllowInsecureAuth: true}},
		"auth-plaintext":     {server: smtpserver.Server{TLSConfig: tlsConfig}},
		"starttls-forgets":   {server: smtpserver.Server{TLSConfig: tlsConfig}},
		"starttls-injection": {server: smtpserver.Server{TLSConfig: tlsConfig}},
		"bdat-size":          {server: smtpserver.Server{MaxSize: 1000}},
		"data-size":          {server: smtpserver.Server{MaxSize: 10}},
		"newlines-reject":    {server: smtpserver.Server{BareNewline: smtpserver.RejectNewlines}},
		"bodyline":           {server: smtpserver.Server{MaxBodyLine: 10}},
		"lmtp":               {server: smtpserver.Server{LMTP: true}, backend: mailbox{lmtp: true}},
		"lmtp-single":        {server: smtpserver.Server{LMTP: true}},
		"refused":            {backend: mailbox{greeting: &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "no service for you"}}},
		"refused-fault":      {backend: mailbox{greeting: errFault}},
	}
}

// TestDialogues plays testdata/*.smtp, each in its own virtual time.
func TestDialogues(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.smtp")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	all := settings(t)
	for _, file := range files {
		name := filepath.Base(file[:len(file)-len(".smtp")])
		t.Run(name, func(t *testing.T) {
			set := all[name]
			if set == nil {
				set = &setting{}
			}
			synctest.Test(t, func(t *testing.T) { set.play(t, file) })
		})
	}
	for name := range all {
		_, err := os.Stat("testdata/" + name + ".smtp")
		require.NoError(t, err, "a setting without a dialogue")
	}
}

func (set *setting) play(t *testing.T, file string) {
	s := &set.server
	s.Backend, s.Hostname = &set.backend, "mx.example.test"
	if s.MaxSize == 0 {
		s.MaxSize = 1000000
	}
	dial := smtptest.Pipe(t, func(c net.Conn) { s.ServeConn(c) })
	smtptest.Run(t, dial, file)
}

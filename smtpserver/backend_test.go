package smtpserver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/smtpserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mailbox is a Backend that keeps what it takes, and whose answers the addresses
// ask for: "reject@...", "fault@...", "panic@...".
type mailbox struct {
	mu       sync.Mutex
	mails    []mail
	failures []error // what Data's reader said of messages that did not come through
	sessions int
	logouts  int
	helos    []string
	clients  []mtakit.Client
	greeting error // of NewSession
	lmtp     bool
	bare     bool // sessions have no add-ons
	lazy     bool // Data does not read
}

type mail struct {
	From   string
	Opts   smtp.MailOptions
	To     []string
	Rcpts  []smtp.RcptOptions
	Params []mtakit.Param
	Body   string
}

var errFault = errors.New("disk on fire, sector 4711")

func (b *mailbox) NewSession(ctx context.Context, c *smtpserver.Conn) (smtp.Session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.greeting != nil {
		return nil, b.greeting
	}
	b.sessions++
	s := &session{b: b, c: c}
	switch {
	case b.bare:
		return s, nil
	case b.lmtp:
		return &lmtpSession{fullSession{s}}, nil
	}
	return &fullSession{s}, nil
}

func (b *mailbox) all() []mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]mail(nil), b.mails...)
}

func (b *mailbox) failed() []error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]error(nil), b.failures...)
}

// session has only what go-smtp wants.
type session struct {
	b    *mailbox
	c    *smtpserver.Conn
	mail mail
}

// wish is the answer that an address asks for.
func wish(address string) error {
	local, _, _ := strings.Cut(address, "@")
	switch local {
	case "reject":
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "<" + address + ">: rejected\nsecond line"}
	case "defer":
		return &smtp.SMTPError{Code: 450, Message: "come back later"}
	case "fault":
		return errFault
	case "panic":
		panic("asked to")
	case "bye":
		return &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "go away"}
	case "class":
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{4, 1, 8}, Message: "class of another code"}
	case "inject":
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 0, 0}, Message: "a\r250 b\x00c"}
	case "three":
		return &smtp.SMTPError{Code: 354, Message: "not from here"}
	case "fine":
		return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 1, 5}, Message: "very fine"}
	}
	return nil
}

func (s *session) Reset()        { s.mail = mail{} }
func (s *session) Logout() error { s.b.mu.Lock(); defer s.b.mu.Unlock(); s.b.logouts++; return nil }

func (s *session) Mail(from string, opts *smtp.MailOptions) error {
	if err := wish(from); err != nil {
		return err
	}
	s.mail.From, s.mail.Opts = from, *opts
	return nil
}

func (s *session) Rcpt(to string, opts *smtp.RcptOptions) error {
	if !strings.HasSuffix(to, "@late.test") {
		if err := wish(to); err != nil {
			return err
		}
	}
	s.mail.To = append(s.mail.To, to)
	s.mail.Rcpts = append(s.mail.Rcpts, *opts)
	return nil
}

func (s *session) Data(r io.Reader) error {
	if s.b.lazy {
		return wish(s.mail.To[0])
	}
	var body strings.Builder
	_, err := io.Copy(&body, r)
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.clients = append(s.b.clients, s.c.Client())
	if err != nil {
		s.b.failures = append(s.b.failures, err)
		return err
	}
	if err := wish(s.mail.To[0]); err != nil {
		return err
	}
	s.mail.Body = body.String()
	s.b.mails = append(s.b.mails, s.mail)
	return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "Ok: queued as 3K2x9"}
}

// fullSession has all add-ons but LMTP's.
type fullSession struct{ *session }

func (s *fullSession) HELO(_ context.Context, verb, name string, keywords []string) ([]string, error) {
	s.b.mu.Lock()
	s.b.helos = append(s.b.helos, verb+" "+name)
	s.b.mu.Unlock()
	if name == "edit.test" {
		return []string{"XONE", "XTWO two"}, nil
	}
	return keywords, wish(name)
}

func (s *fullSession) BeforeData(context.Context) error {
	if len(s.mail.To) > 0 && s.mail.To[0] == "full@example.test" {
		return &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "Insufficient system storage"}
	}
	return nil
}

func (s *fullSession) VRFY(_ context.Context, address string) error { return wish(address) }
func (s *fullSession) ETRN(_ context.Context, site string) error    { return wish(site) }

func (s *fullSession) Params(_ context.Context, verb string, params []mtakit.Param) error {
	for _, p := range params {
		if p.Name != "XVERP" {
			return &smtp.SMTPError{Code: 555, EnhancedCode: smtp.EnhancedCode{5, 5, 4}, Message: "Unsupported option: " + p.Name}
		}
	}
	s.mail.Params = append(s.mail.Params, params...)
	return nil
}

func (s *fullSession) AuthMechanisms() []string { return []string{"PLAIN", "TWOSTEP", "OAUTHBEARER"} }

func (s *fullSession) Auth(mech string) (sasl.Server, error) {
	switch mech {
	case "TWOSTEP":
		return &twoStep{}, nil
	case "OAUTHBEARER":
		return sasl.NewOAuthBearerServer(func(sasl.OAuthBearerOptions) *sasl.OAuthBearerError {
			return &sasl.OAuthBearerError{Status: "invalid_token"}
		}), nil
	}
	return sasl.NewPlainServer(func(_, user, password string) error {
		switch {
		case user == "broken":
			return errFault
		case password != "secret":
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (s *fullSession) Authenticated(_ context.Context, _ string, _ sasl.Server) error {
	return wish(s.c.Client().Login)
}

// twoStep is a mechanism with two challenges, of which the second comes with
// success, as SCRAM's does.
type twoStep struct{ user string }

func (s *twoStep) Next(response []byte) ([]byte, bool, error) {
	switch {
	case response == nil:
		return []byte("who?"), false, nil
	case string(response) == "":
		return nil, false, smtp.ErrAuthFailed
	}
	s.user = string(response)
	return []byte("welcome"), true, nil
}

func (s *twoStep) Identity() string { return s.user }

type lmtpSession struct{ fullSession }

func (s *lmtpSession) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	for _, to := range s.mail.To {
		if err := wish(to); err != nil {
			status.SetStatus(to, err)
		}
	}
	return nil
}

// certificate returns a server configuration with a fresh certificate.
func certificate(t testing.TB) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "mx.example.test"},
		DNSNames:     []string{"mx.example.test"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// start serves s on loopback until the test ends, and returns its address.
func start(t testing.TB, s *smtpserver.Server) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		require.ErrorIs(t, <-done, smtpserver.ErrServerClosed)
	})
	return l.Addr().String()
}

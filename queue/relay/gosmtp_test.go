package relay_test

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/relay"
)

// inbox is a go-smtp session that keeps what it gets.
type inbox struct {
	mu       sync.Mutex
	from     []string
	mailOpts []smtp.MailOptions
	to       []string
	rcptOpts []smtp.RcptOptions
	messages []string
}

func (b *inbox) Mail(from string, o *smtp.MailOptions) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.from, b.mailOpts = append(b.from, from), append(b.mailOpts, *o)
	return nil
}

func (b *inbox) Rcpt(to string, o *smtp.RcptOptions) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if to == "nobody@example.org" {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	b.to, b.rcptOpts = append(b.to, to), append(b.rcptOpts, *o)
	return nil
}

func (b *inbox) Data(r io.Reader) error {
	message, err := io.ReadAll(r)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages = append(b.messages, string(message))
	return err
}

func (*inbox) Reset()        {}
func (*inbox) Logout() error { return nil }

// goSMTP starts go-smtp's server.
func goSMTP(t testing.TB, b *inbox, change ...func(*smtp.Server)) string {
	t.Helper()
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return b, nil }))
	s.Domain, s.EnableDSN, s.EnableSMTPUTF8 = "mx.example.test", true, true
	for _, f := range change {
		f(s)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return l.Addr().String()
}

// TestGoSMTP: another implementation reads what was meant.
func TestGoSMTP(t *testing.T) {
	t.Parallel()
	cert, _ := certificate(t, "mx.example.test", time.Now().Add(time.Hour))
	b := new(inbox)
	addr := goSMTP(t, b, func(s *smtp.Server) { s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}} })
	a := agent(t, keep)
	for range 3 {
		d := delivery(fixed(addr), "dömi@example.org", "nobody@example.org", "a@example.org")
		d.Envelope.Options = smtp.MailOptions{EnvelopeID: "id +=", Return: smtp.DSNReturnHeaders, Body: smtp.Body8BitMIME, UTF8: true}
		d.Recipients[0].Options = smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyNever},
			OriginalRecipientType: smtp.DSNAddressTypeUTF8, OriginalRecipient: "dömi+x@example.org"}
		d.Message = mtakit.NewMessage([]byte("A: 1\r\n\r\n.\r\n..\r\nb"))
		assert.Equal(t, []string{"relayed 2.0.0 dsn", "bounced 5.1.1", "relayed 2.0.0 dsn"}, briefs(deliver(t, a, d)))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	assert.Equal(t, []string{"dömi@example.org", "a@example.org"}, b.to[:2])
	assert.Equal(t, smtp.MailOptions{EnvelopeID: "id +=", Return: smtp.DSNReturnHeaders, Body: smtp.Body8BitMIME, UTF8: true, Size: 16}, b.mailOpts[0])
	assert.Equal(t, []smtp.DSNNotify{smtp.DSNNotifyNever}, b.rcptOpts[0].Notify)
	assert.Equal(t, "dömi+x@example.org", b.rcptOpts[0].OriginalRecipient)
	require.Len(t, b.messages, 3)
	assert.Equal(t, "A: 1\r\n\r\n.\r\n..\r\nb\r\n", b.messages[2])
}

// BenchmarkDelivery is a whole delivery of 2 KiB over loopback to go-smtp's
// server, over a connection that is kept and over a new one each.
func BenchmarkDelivery(b *testing.B) {
	for name, idle := range map[string]time.Duration{"kept": 0, "new": -1} {
		b.Run(name, func(b *testing.B) {
			in := new(inbox)
			hop := fixed(goSMTP(b, in))
			a := agent(b, func(a *relay.Agent) { a.IdleTime = idle })
			message := make([]byte, 0, 2048)
			for len(message) < 2000 {
				message = append(message, "The quick brown fox jumps over the lazy dog.\r\n"...)
			}
			d := delivery(hop, "a@example.org")
			d.Message = mtakit.NewMessage(append([]byte("A: 1\r\n\r\n"), message...))
			b.ReportAllocs()
			for b.Loop() {
				if r := a.Deliver(b.Context(), d)[0]; r.Outcome != mtakit.Relayed {
					b.Fatal(r)
				}
			}
		})
	}
}

package smtpserver_test

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/smtpserver"
)

// insecure is what a client needs to accept our fresh certificate.
func insecure() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// deliver sends a message with go-smtp's client.
func deliver(t *testing.T, c *smtp.Client, from string, opts *smtp.MailOptions, to []string, ropts *smtp.RcptOptions, body string) {
	require.NoError(t, c.Mail(from, opts))
	for _, rcpt := range to {
		require.NoError(t, c.Rcpt(rcpt, ropts))
	}
	w, err := c.Data()
	require.NoError(t, err)
	_, err = io.WriteString(w, body)
	require.NoError(t, err)
	require.NoError(t, w.Close())
}

func TestGoSMTPClient(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	addr := start(t, &smtpserver.Server{Backend: b, Hostname: "mx.example.test", TLSConfig: certificate(t), MaxSize: 1 << 20})
	c, err := smtp.Dial(addr)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Hello("client.example.test"))
	size, ok := c.MaxMessageSize()
	require.True(t, ok)
	require.Equal(t, 1<<20, size)
	require.False(t, c.SupportsAuth("PLAIN"))
	body := "Subject: x\r\n\r\n.dot\r\n..\r\n" + strings.Repeat("0123456789", 20000) + "\r\n"
	deliver(t, c, "a@example.test", &smtp.MailOptions{Body: smtp.Body8BitMIME, Size: int64(len(body)), Return: smtp.DSNReturnHeaders,
		EnvelopeID: "id+=1"}, []string{"b@example.test", "c@example.test"},
		&smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyFailure}, OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: "b+x@example.test"}, body)
	deliver(t, c, "ä@example.test", &smtp.MailOptions{UTF8: true}, []string{"ö@bücher.test"},
		&smtp.RcptOptions{OriginalRecipientType: smtp.DSNAddressTypeUTF8, OriginalRecipient: "ö+@bücher.test"}, "x\r\n")
	require.NoError(t, c.Noop())
	require.NoError(t, c.Quit())

	mails := b.all()
	require.Len(t, mails, 2)
	require.Equal(t, body, mails[0].Body)
	require.Equal(t, "id+=1", mails[0].Opts.EnvelopeID)
	require.Equal(t, "b+x@example.test", mails[0].Rcpts[1].OriginalRecipient)
	require.Equal(t, "ö@bücher.test", mails[1].To[0])
	require.Equal(t, "ö+@bücher.test", mails[1].Rcpts[0].OriginalRecipient)
	require.Equal(t, "127.0.0.1", b.clients[0].Addr.Addr().String())
	require.Equal(t, addr, b.clients[0].Server.String())
}

func TestGoSMTPClientSTARTTLSAndAUTH(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	addr := start(t, &smtpserver.Server{Backend: b, TLSConfig: certificate(t)})
	c, err := smtp.DialStartTLS(addr, insecure())
	require.NoError(t, err)
	defer c.Close()
	require.Error(t, c.Auth(sasl.NewPlainClient("", "user", "wrong")))
	require.NoError(t, c.Auth(sasl.NewPlainClient("", "user", "secret")))
	deliver(t, c, "a@example.test", nil, []string{"b@example.test"}, nil, "x\r\n")
	require.NoError(t, c.Quit())
	client := b.clients[0]
	require.Equal(t, "ESMTPSA", client.Protocol)
	require.Equal(t, "TLSv1.3", client.TLS.Version)
	require.True(t, strings.HasPrefix(client.TLS.Cipher, "TLS_"))
	require.Equal(t, "unknown", client.Login, "go-sasl's server does not tell who")
	require.Equal(t, "PLAIN", client.Mech)
}

func TestGoSMTPClientImplicitTLS(t *testing.T) {
	t.Parallel()
	b := &mailbox{}
	addr := start(t, &smtpserver.Server{Backend: b, TLSConfig: certificate(t), ImplicitTLS: true})
	c, err := smtp.DialTLS(addr, insecure())
	require.NoError(t, err)
	defer c.Close()
	ok, _ := c.Extension("STARTTLS")
	require.False(t, ok)
	deliver(t, c, "", nil, []string{"b@example.test"}, nil, "x\r\n")
	require.NoError(t, c.Quit())
	require.Equal(t, "ESMTPS", b.clients[0].Protocol)

	// A client that speaks plain text there gets none.
	plain, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer plain.Close()
	_, err = io.WriteString(plain, "EHLO client.example.test\r\n")
	require.NoError(t, err)
	got, _ := io.ReadAll(plain)
	require.NotContains(t, string(got), "220")
}

func TestGoSMTPClientLMTP(t *testing.T) {
	t.Parallel()
	client, server := pipeFor(t, &smtpserver.Server{Backend: &mailbox{lmtp: true}, LMTP: true})
	c := smtp.NewClientLMTP(client)
	defer func() { c.Close(); <-server }()
	require.NoError(t, c.Hello("client.example.test"))
	require.NoError(t, c.Mail("a@example.test", nil))
	for _, to := range []string{"b@example.test", "reject@late.test", "c@example.test"} {
		require.NoError(t, c.Rcpt(to, nil))
	}
	w, err := c.Data()
	require.NoError(t, err)
	_, err = io.WriteString(w, "x\r\n")
	require.NoError(t, err)
	status, err := w.CloseWithLMTPResponse()
	require.Len(t, status, 2)
	require.Error(t, err)
	require.ErrorContains(t, err, "reject@late.test")
}

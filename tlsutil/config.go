package tlsutil

import (
	"crypto/tls"
	"crypto/x509"
)

// Certificates gives the certificate of a server, as tls.Config asks for it. It
// is called from any number of goroutines. Pair is one.
type Certificates interface {
	GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
}

// Server returns settings for a server that offers STARTTLS or TLS from the
// start: TLS 1.2 or later, the suites that Go has on by default, no client
// certificates. Session tickets stay with crypto/tls, which changes their key
// every day and throws it away after a week; that works as long as one Config
// serves all connections.
func Server(c Certificates) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.GetCertificate}
}

// ClientMay returns settings for opportunistic encryption (Postfix's level may,
// RFC 7435): TLS 1.2 or later, and any certificate will do. Who sends mail sets
// ServerName in a Clone for each host.
func ClientMay() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		// The name of a mail exchanger comes from DNS, unsigned, and the
		// alternative to a certificate that cannot be verified is no encryption
		// at all. This keeps passive listeners out and nobody else; levels that
		// promise more verify.
		InsecureSkipVerify: true,
	}
}

// ClientVerify returns settings for a client that demands a certificate which
// these authorities have signed for ServerName; the caller sets it in a Clone
// for each host. nil roots mean the system's.
func ClientVerify(roots *x509.CertPool) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
}

package lookup

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/mtakit/mtakit/lookup/internal/certfile"
)

var mysqlCertificates = certfile.Names{CAFile: "tls_CAfile", CADir: "tls_CApath", Cert: "tls_cert_file", Key: "tls_key_file"}

// TLS returns what a file of mysql_table(5) wants of TLS with a host, as a driver
// takes it. nil means that it wants none: tls_CAfile, tls_CApath, tls_cert_file
// and tls_key_file are empty and tls_verify_cert is no. An error means that a file
// cannot be read or a parameter is not known; each call reads the files anew.
//
// With tls_verify_cert = yes the server's certificate must be for the name of the
// host (RFC 9525), which is "localhost" for a socket, and from an authority of
// tls_CAfile, or else of tls_CApath, or else of the system. With no, its default,
// the name does not matter: the certificate must be from an authority of these
// parameters, and where there are none it may be anything. Then what is sent is
// hidden from those who listen, and not from one who answers in the server's place.
//
// Drivers can be told to go on in the clear when the server has no TLS, which
// MariaDB's own library does where nothing is verified. Leave them as they are: a
// file that asks for TLS does not mean that.
func (c *Config) TLS(h Host) (*tls.Config, error) {
	t, err := c.tls(h)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.File, err)
	}
	return t, nil
}

func (c *Config) tls(h Host) (*tls.Config, error) {
	p := &Params{values: c.Params}
	verify := p.Yes("tls_verify_cert")
	if p.Text("tls_ciphers") != "" {
		p.Note(fmt.Errorf("tls_ciphers %q: ciphers are not chosen here", p.Text("tls_ciphers")))
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	t, err := mysqlCertificates.Read(p.Text)
	switch {
	case err != nil:
		return nil, err
	case verify && h.Network == "unix":
		t.ServerName = "localhost"
	case verify:
		t.ServerName = h.Address
	case t.RootCAs == nil && t.Certificates == nil:
		return nil, nil
	default:
		verifyIssuer(t)
	}
	return t, nil
}

// verifyIssuer has a server's certificate verified without its name, and not at all
// when there are no authorities.
func verifyIssuer(t *tls.Config) {
	t.InsecureSkipVerify = true // what does the verifying is below
	roots := t.RootCAs
	if roots == nil {
		return
	}
	t.VerifyConnection = func(s tls.ConnectionState) error {
		between := x509.NewCertPool()
		for _, c := range s.PeerCertificates[1:] {
			between.AddCert(c)
		}
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
		return err
	}
}

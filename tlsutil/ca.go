package tlsutil

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

const (
	caLifetime     = 10 * 365 * 24 * time.Hour
	serverLifetime = 397 * 24 * time.Hour // what strict clients still accept

	// Certificates begin to be valid this much before they are made, for peers
	// whose clock is behind.
	clockSkew = time.Hour
)

// ErrNotCA is wrapped when a certificate that should sign others must not.
var ErrNotCA = errors.New("not a certification authority")

// CA signs certificates. Make one with NewCA or LoadCA. It may be used from any
// number of goroutines.
type CA struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// NewCA makes a certification authority with an ECDSA P-256 key, valid for ten
// years. name is its common name, to which some digits of its key are put; ""
// means "mtakit CA".
func NewCA(name string) (*CA, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	return selfSigned(name, key)
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

// selfSigned makes the certificate of a CA for its key. The name depends on the
// key alone, so that a certificate that got lost can be made again and still is
// the issuer of what the key has signed.
func selfSigned(name string, key crypto.Signer) (*CA, error) {
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("make a CA: %w", err)
	}
	if name == "" {
		name = "mtakit CA"
	}
	digest := sha256.Sum256(public)
	now := time.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name + " " + hex.EncodeToString(digest[:4])},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(caLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs servers, not other CAs
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a CA: %w", err)
	}
	return &CA{Certificate: cert, Key: key}, nil
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// LoadCA reads a CA from its two PEM files. ErrNotCA is wrapped when the
// certificate is no CA's.
func LoadCA(certFile, keyFile string) (*CA, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("load CA %s: %w", certFile, err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("load CA %s: %w", certFile, ErrNotCA)
	}
	return &CA{Certificate: pair.Leaf, Key: key}, nil
}

// Save writes the CA to two PEM files that must not exist (fs.ErrExist), the
// key first.
func (ca *CA) Save(certFile, keyFile string) error {
	if err := saveKey(keyFile, ca.Key); err != nil {
		return err
	}
	return create(certFile, certificatePEM(ca.Certificate), certMode)
}

// Pool returns a pool with the CA alone, for the clients that trust it.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Certificate)
	return pool
}

// Request says what a certificate is to be made for.
type Request struct {
	// Names are the host names and IP addresses that the certificate is valid
	// for: "mx.example.org", "192.0.2.1". Internationalised names must be in
	// A-labels. At least one is required.
	Names []string
	// Lifetime is for how long; never longer than the CA's. 0 means 397 days.
	Lifetime time.Duration
}

// Issue makes a key and a certificate for a server, which may also be used by a
// client.
func (ca *CA) Issue(r Request) (*tls.Certificate, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	cert, err := ca.Sign(r, key.Public())
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}

// Sign makes a certificate for a key that exists.
func (ca *CA) Sign(r Request, public crypto.PublicKey) (*x509.Certificate, error) {
	if len(r.Names) == 0 {
		return nil, errors.New("make a certificate: no names")
	}
	now, lifetime := time.Now(), r.Lifetime
	if lifetime == 0 {
		lifetime = serverLifetime
	}
	template := &x509.Certificate{
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(lifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if template.NotAfter.After(ca.Certificate.NotAfter) {
		template.NotAfter = ca.Certificate.NotAfter
	}
	for _, name := range r.Names {
		if err := addName(template, name); err != nil {
			return nil, err
		}
	}
	cert, err := sign(template, ca.Certificate, public, ca.Key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", r.Names[0], err)
	}
	return cert, nil
}

// addName puts a name where verifiers look for it. The first host name is also
// the common name, for the eyes of people; RFC 5280, appendix A.1, allows 64
// characters there.
func addName(c *x509.Certificate, name string) error {
	if ip, err := netip.ParseAddr(name); err == nil {
		c.IPAddresses = append(c.IPAddresses, ip.Unmap().WithZone("").AsSlice())
		return nil
	}
	if !hostName(name) {
		return fmt.Errorf("make a certificate: %.100q is no host name", name)
	}
	if c.Subject.CommonName == "" && len(name) <= 64 {
		c.Subject.CommonName = name
	}
	c.DNSNames = append(c.DNSNames, name)
	return nil
}

// hostName reports whether a name could be in DNS. A "*" label is allowed.
func hostName(name string) bool {
	for i := 0; i < len(name); i++ {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '*'
		if !letter && (c != '.' || i == 0 || name[i-1] == '.' || i == len(name)-1) {
			return false
		}
	}
	return name != "" && len(name) <= 253
}

func certificatePEM(certs ...*x509.Certificate) []byte {
	var b []byte
	for _, c := range certs {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return b
}

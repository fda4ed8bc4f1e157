package tlsutil

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// Dir is a folder with a CA of its own (ca.pem, ca.key) and the certificate of a
// server (server.pem, server.key). Path and Names are required.
type Dir struct {
	Path  string   // of the folder; made when it is missing, its parent is not
	Names []string // host names and IP addresses of the server; needed when its certificate is to be made
	// CAName is the CA's common name, used when it is made. "" means "mtakit CA".
	CAName   string
	Lifetime time.Duration // of the server's certificate; 0 means 397 days
	Logger   *slog.Logger  // nil means silent
}

// EnsureServer returns the server certificate of a folder, and makes it and its
// CA first when they are missing. What exists is never touched.
func EnsureServer(path string, names ...string) (*Pair, error) {
	d := &Dir{Path: path, Names: names}
	return d.Open()
}

func (d *Dir) file(name string) string { return filepath.Join(d.Path, name) }

// CAFile returns the name of the CA's certificate, which clients need.
func (d *Dir) CAFile() string { return d.file("ca.pem") }

// Open makes what is missing and loads the server's pair. A pair that came from
// elsewhere needs no CA. A certificate without its key is an error: no key can
// be made for it. Several processes may open the same folder at once.
func (d *Dir) Open() (*Pair, error) {
	if err := d.mkdir(); err != nil {
		return nil, fmt.Errorf("make the folder for certificates: %w", err)
	}
	if err := d.fill(); err != nil {
		return nil, err
	}
	p := &Pair{CertFile: d.file("server.pem"), KeyFile: d.file("server.key"), Logger: d.Logger}
	return p, p.Reload()
}

func (d *Dir) mkdir() error {
	err := os.Mkdir(d.Path, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(filepath.Clean(d.Path)))
}

// fill makes the files that are missing.
func (d *Dir) fill() error {
	if there, err := exists(d.file("server.pem")); there || err != nil {
		return errors.Join(err, d.fillCA())
	}
	ca, err := d.ca()
	if err != nil {
		return err
	}
	key, err := ensureKey(d.file("server.key"))
	if err != nil {
		return err
	}
	return d.issue(ca, key, create)
}

// fillCA makes the CA's certificate again when only its key is left. Nothing
// else of a CA is needed, or of use, beside a certificate that exists.
func (d *Dir) fillCA() error {
	cert, err := exists(d.file("ca.pem"))
	if cert || err != nil {
		return err
	}
	key, err := exists(d.file("ca.key"))
	if !key || err != nil {
		return err
	}
	_, err = d.ca()
	return err
}

// ca loads the CA, or makes what is missing of it.
func (d *Dir) ca() (*CA, error) {
	certFile, keyFile := d.file("ca.pem"), d.file("ca.key")
	if there, err := exists(certFile); there || err != nil {
		if err != nil {
			return nil, err
		}
		return LoadCA(certFile, keyFile)
	}
	key, err := ensureKey(keyFile)
	if err != nil {
		return nil, err
	}
	ca, err := selfSigned(d.CAName, key)
	if err != nil {
		return nil, err
	}
	err = create(certFile, certificatePEM(ca.Certificate), certMode)
	if errors.Is(err, fs.ErrExist) {
		return LoadCA(certFile, keyFile) // another process was quicker
	}
	return ca, err
}

// ensureKey loads a key, or makes it.
func ensureKey(name string) (crypto.Signer, error) {
	if there, err := exists(name); there || err != nil {
		if err != nil {
			return nil, err
		}
		return loadKey(name)
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	err = saveKey(name, key)
	if errors.Is(err, fs.ErrExist) {
		return loadKey(name)
	}
	return key, err
}

// issue writes a new certificate for the server's key. One that is there already
// was made for the same key, by a process that was quicker.
func (d *Dir) issue(ca *CA, key crypto.Signer, write func(string, []byte, fs.FileMode) error) error {
	cert, err := ca.Sign(Request{Names: d.Names, Lifetime: d.Lifetime}, key.Public())
	if err != nil {
		return err
	}
	err = write(d.file("server.pem"), certificatePEM(cert), certMode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// Renew makes a new certificate for the server's key when the one in the folder
// is valid for less than the given time and was signed by the folder's CA, for
// the names that it has. Every other certificate is somebody else's to renew. It
// reports whether it did; a Pair finds the new one by itself.
func (d *Dir) Renew(within time.Duration) (bool, error) {
	pair, err := tls.LoadX509KeyPair(d.file("server.pem"), d.file("server.key"))
	if err != nil {
		return false, fmt.Errorf("renew the certificate: %w", err)
	}
	if time.Until(pair.Leaf.NotAfter) >= within {
		return false, nil
	}
	ca, err := LoadCA(d.file("ca.pem"), d.file("ca.key"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("renew the certificate: %w", err)
	}
	if !bytes.Equal(pair.Leaf.RawIssuer, ca.Certificate.RawSubject) || pair.Leaf.CheckSignatureFrom(ca.Certificate) != nil {
		return false, nil
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return false, nil
	}
	again := *d
	again.Names = namesOf(pair.Leaf)
	if err := again.issue(ca, key, replace); err != nil {
		return false, fmt.Errorf("renew the certificate: %w", err)
	}
	return true, nil
}

// namesOf returns the names that a certificate is valid for.
func namesOf(c *x509.Certificate) []string {
	names := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

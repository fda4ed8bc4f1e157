// Package certfile reads the certificates of clients and of authorities that *.cf
// files name. Each kind of file has names of its own for the same four parameters.
package certfile

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
)

// Names are the names of the parameters.
type Names struct {
	CAFile, CADir string // authorities; the file counts when there are both
	Cert, Key     string // of the client; one alone has both in it
}

// Read makes the TLS of a client, with the system's authorities when the file names
// none. text returns the value of a parameter, "" when there is none.
func (n Names) Read(text func(name string) string) (*tls.Config, error) {
	roots, err := n.authorities(text(n.CAFile), text(n.CADir))
	if err != nil {
		return nil, err
	}
	c := &tls.Config{RootCAs: roots}
	cert, key := text(n.Cert), text(n.Key)
	if cert == "" && key == "" {
		return c, nil
	}
	pair, err := tls.LoadX509KeyPair(cmp.Or(cert, key), cmp.Or(key, cert))
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", n.Cert, n.Key, err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// authorities reads certificates. nil means the system's.
func (n Names) authorities(file, dir string) (*x509.CertPool, error) {
	files := []string{file}
	if file == "" {
		if dir == "" {
			return nil, nil
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.CADir, err)
		}
		files = nil
		for _, e := range entries {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	pool, found := x509.NewCertPool(), false
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil && file != "" {
			return nil, fmt.Errorf("%s: %w", n.CAFile, err)
		}
		found = pool.AppendCertsFromPEM(text) || found
	}
	if !found {
		return nil, fmt.Errorf("no certificate of an authority in %q", cmp.Or(file, dir))
	}
	return pool, nil
}

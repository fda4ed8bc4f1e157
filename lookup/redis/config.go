package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/mtakit/mtakit/lookup"
)

// Open opens a table of a *.cf file: it is the lookup.OpenFunc of "redis".
func Open(ctx context.Context, o *lookup.Opener, name string) (lookup.LookupTable, error) {
	path, err := o.File(name)
	if err != nil {
		return nil, err
	}
	params, err := lookup.ReadParams(path)
	if err != nil {
		return nil, err
	}
	c := parse(params)
	if err = params.Err(); err == nil {
		c.Domains, err = o.Domains(ctx, params.Text("domain"))
	}
	var t *Table
	if err == nil {
		t, err = New(c)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// parse reads all parameters but domain.
func parse(p *lookup.Params) Config {
	c := Config{
		User: p.Text("user"), Password: p.Text("password"), DB: p.Number("dbname", 0, 0),
		Key: p.Text("key_format"), Hash: p.Text("hash_format"), Result: p.Text("result_format"),
		Timeout: p.Seconds("timeout"), Retry: p.Seconds("retry_interval"),
	}
	for _, host := range p.Words("hosts") {
		c.Servers = append(c.Servers, address(host))
	}
	if p.Yes("tls") {
		c.TLS = &tls.Config{}
	}
	if name := p.Text("tls_ca_cert_file"); name != "" && c.TLS != nil {
		var err error
		if c.TLS.RootCAs, err = authorities(name); err != nil {
			p.Note(err)
		}
	}
	return c
}

// address completes "inet:host" and "host".
func address(host string) string {
	if strings.HasPrefix(host, "unix:") {
		return host
	}
	host = strings.TrimPrefix(host, "inet:")
	if _, _, err := net.SplitHostPort(host); err != nil {
		return net.JoinHostPort(strings.Trim(host, "[]"), "6379")
	}
	return host
}

// authorities reads the certificates of those who are believed.
func authorities(name string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificates in %s", name)
	}
	return pool, nil
}

package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

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
	c, err := parse(params)
	if err == nil {
		c.Domains, err = o.Domains(ctx, params["domain"])
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
func parse(params map[string]string) (Config, error) {
	c := Config{
		User: params["user"], Password: params["password"],
		Key: params["key_format"], Hash: params["hash_format"], Result: params["result_format"],
	}
	var errs []error
	number := func(name string, least int) int {
		if params[name] == "" {
			return 0
		}
		n, err := strconv.Atoi(params[name])
		if err != nil || n < least || n > 1<<30 {
			errs = append(errs, fmt.Errorf("bad %s %q", name, params[name]))
		}
		return n
	}
	c.DB = number("dbname", 0)
	c.Timeout = time.Duration(number("timeout", 1)) * time.Second
	c.Retry = time.Duration(number("retry_interval", 1)) * time.Second
	hosts := strings.FieldsFunc(params["hosts"], func(r rune) bool { return strings.ContainsRune(", \t", r) })
	for _, host := range hosts {
		c.Servers = append(c.Servers, address(host))
	}
	var err error
	if c.TLS, err = tlsOf(params); err != nil {
		errs = append(errs, err)
	}
	return c, errors.Join(errs...)
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

func tlsOf(params map[string]string) (*tls.Config, error) {
	switch params["tls"] {
	case "", "no":
		return nil, nil
	case "yes":
	default:
		return nil, fmt.Errorf("bad tls %q", params["tls"])
	}
	config := &tls.Config{}
	name := params["tls_ca_cert_file"]
	if name == "" {
		return config, nil
	}
	pem, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificates in %s", name)
	}
	return config, nil
}

package relay_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/queue/relay"
)

// certificate makes a self-signed one for a name, and the pool that trusts it.
func certificate(t testing.TB, name string, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: until.Add(-24 * time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true}
	if name == "wrong.example.test" {
		template.IPAddresses = nil
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// TestTLS has what may be wrong with the encryption of a server, under each
// level. A second connection means that plain text was tried.
func TestTLS(t *testing.T) {
	t.Parallel()
	soon := time.Now().Add(time.Hour)
	good, _ := certificate(t, "mx.example.test", soon)
	wrong, _ := certificate(t, "wrong.example.test", soon)
	expired, _ := certificate(t, "mx.example.test", time.Now().Add(-time.Hour))
	config := func(c tls.Certificate, change ...func(*tls.Config)) *tls.Config {
		config := &tls.Config{Certificates: []tls.Certificate{c}}
		for _, f := range change {
			f(config)
		}
		return config
	}
	demand := func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }
	broken := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("broken") }}
	tests := []struct {
		name        string
		offered     bool
		tls         *tls.Config
		starttls    string
		may         string
		encrypted   bool
		connections int
		encrypt     string
	}{
		{"not offered", false, nil, "", "relayed 2.0.0", false, 1, "deferred 4.7.4 site"},
		{"self-signed", true, config(good), "", "relayed 2.0.0", true, 1, "relayed 2.0.0"},
		{"wrong name", true, config(wrong), "", "relayed 2.0.0", true, 1, "relayed 2.0.0"},
		{"expired", true, config(expired), "", "relayed 2.0.0", true, 1, "relayed 2.0.0"},
		{"old version", true, config(good, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), "", "relayed 2.0.0", true, 1, "deferred 4.7.5 site"},
		{"broken handshake", true, broken, "", "relayed 2.0.0", false, 2, "deferred 4.7.5 site"},
		{"demands a certificate", true, config(good, demand, func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }), "", "relayed 2.0.0", false, 2, "deferred 4.4.2 site"},
		{"no TLS behind it", true, nil, "", "relayed 2.0.0", false, 2, "deferred 4.7.5 site"},
		{"454", true, nil, "454 4.7.0 not now", "relayed 2.0.0", false, 1, "deferred 4.7.0 site"},
		{"502", true, nil, "502 5.5.1 what", "relayed 2.0.0", false, 1, "deferred 4.5.1 site"},
		{"421", true, nil, "421 4.3.0 bye", "relayed 2.0.0", false, 2, "deferred 4.3.0 site"},
		{"close", true, nil, "close", "relayed 2.0.0", false, 2, "deferred 4.7.4 site"},
		{"injection", true, config(good), "220 ready\r\n250 injected", "relayed 2.0.0", false, 2, "deferred 4.7.5 site"},
	}
	for _, tt := range tests {
		for _, level := range []relay.TLSLevel{relay.TLSMay, relay.TLSNone, relay.TLSEncrypt} {
			t.Run(tt.name+"/"+level.String(), func(t *testing.T) {
				t.Parallel()
				p := &peer{tls: tt.tls, offers: []string{"PIPELINING"}}
				if tt.offered {
					p.offers = append(p.offers, "STARTTLS")
				}
				if tt.starttls != "" {
					p.replies = map[string][]string{"STARTTLS": {tt.starttls}}
				}
				a := agent(t, func(a *relay.Agent) { a.TLS = level })
				r := deliver(t, a, delivery(fixed(p.start(t)), "a@example.org"))[0]
				want := map[relay.TLSLevel]string{relay.TLSMay: tt.may, relay.TLSNone: "relayed 2.0.0", relay.TLSEncrypt: tt.encrypt}[level]
				assert.Equal(t, want, brief(r), r.Diagnostic)
				if level == relay.TLSMay {
					assert.Equal(t, tt.connections, p.connections())
					ehlos := 0
					for _, c := range p.commands() {
						if strings.HasPrefix(c, "EHLO") {
							ehlos++
						}
					}
					// Two EHLOs on one connection: it was encrypted.
					assert.Equal(t, tt.encrypted, tt.connections == 1 && ehlos == 2)
				}
				if level == relay.TLSNone {
					assert.NotContains(t, p.commands(), "STARTTLS")
				}
			})
		}
	}
}

// TestOffersBeforeTLSAreForgotten: what was offered before the handshake is forgotten.
func TestOffersBeforeTLSAreForgotten(t *testing.T) {
	t.Parallel()
	cert, _ := certificate(t, "mx.example.test", time.Now().Add(time.Hour))
	p := &peer{tls: &tls.Config{Certificates: []tls.Certificate{cert}}, replies: map[string][]string{
		"EHLO": {"250-mx\r\n250-STARTTLS\r\n250-DSN\r\n250 SIZE 5", "250 mx"}}}
	r := deliver(t, agent(t), delivery(fixed(p.start(t)), "a@example.org"))[0]
	assert.Equal(t, "relayed 2.0.0", brief(r))
	assert.Contains(t, p.commands(), "MAIL FROM:<from@client.example.test>")
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	cert, pool := certificate(t, "mx.example.test", time.Now().Add(time.Hour))
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	plain := "AUTH PLAIN " + encode("\x00user\x00pass:word")
	tests := []struct {
		name    string
		offers  []string
		replies map[string][]string
		roots   *x509.CertPool
		value   string
		want    string
		seen    []string
	}{
		{"PLAIN", []string{"STARTTLS", "AUTH LOGIN PLAIN"}, map[string][]string{"AUTH": {"235 2.7.0 ok"}}, pool, "user:pass:word", "relayed 2.0.0", []string{plain}},
		{"LOGIN", []string{"STARTTLS", "AUTH=LOGIN"}, map[string][]string{"AUTH": {"334 x"}, encode("user"): {"334 y"}, encode("pass:word"): {"235 ok"}}, pool,
			"user:pass:word", "relayed 2.0.0", []string{"AUTH LOGIN", encode("user"), encode("pass:word")}},
		{"refused", []string{"STARTTLS", "AUTH PLAIN"}, map[string][]string{"AUTH": {"535 5.7.8 no"}}, pool, "user:pass:word", "deferred 4.7.8 site", []string{plain}},
		{"334 to PLAIN", []string{"STARTTLS", "AUTH PLAIN"}, map[string][]string{"AUTH": {"334 "}}, pool, "user:pass:word", "deferred 4.5.0 site", []string{plain}},
		{"no AUTH", []string{"STARTTLS"}, nil, pool, "user:pass:word", "deferred 4.7.0 site", nil},
		{"no STARTTLS", []string{"AUTH PLAIN"}, nil, pool, "user:pass:word", "deferred 4.7.4 site", nil},
		{"unknown certificate", []string{"STARTTLS", "AUTH PLAIN"}, nil, x509.NewCertPool(), "user:pass:word", "deferred 4.7.5 site", nil},
		{"no colon", []string{"STARTTLS", "AUTH PLAIN"}, nil, pool, "user", "deferred 4.3.5", nil},
		{"table fails", []string{"STARTTLS", "AUTH PLAIN"}, nil, pool, "fail", "deferred 4.3.0", nil},
		{"not for this host", []string{"AUTH PLAIN"}, nil, pool, "", "relayed 2.0.0", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &peer{offers: tt.offers, replies: tt.replies, tls: &tls.Config{Certificates: []tls.Certificate{cert}}}
			hop := fixed(p.start(t))
			a := agent(t, func(a *relay.Agent) {
				a.TLSConfig = &tls.Config{RootCAs: tt.roots}
				a.Passwords = relay.PasswordsFunc(func(_ context.Context, key string) (string, bool, error) {
					if tt.value == "fail" {
						return "", false, errors.New("table is broken")
					}
					return tt.value, key == hop && tt.value != "", nil
				})
			})
			r := deliver(t, a, delivery(hop, "a@example.org"))[0]
			assert.Equal(t, tt.want, brief(r), r.Diagnostic)
			var seen []string
			for _, c := range p.commands() {
				if strings.HasPrefix(c, "AUTH") || slices.Contains(tt.seen, c) {
					seen = append(seen, c)
				}
			}
			assert.Equal(t, tt.seen, seen)
			assert.NotContains(t, r.Diagnostic, "broken")
		})
	}
}

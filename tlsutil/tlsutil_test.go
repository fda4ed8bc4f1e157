package tlsutil_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/tlsutil"
)

// Example makes the certificate of a server and connects to it.
func Example() {
	dir, err := os.MkdirTemp("", "tlsutil")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	folder := &tlsutil.Dir{Path: filepath.Join(dir, "tls"), Names: []string{"mx.example.org", "127.0.0.1"}}
	pair, err := folder.Open()
	if err != nil {
		fmt.Println(err)
		return
	}
	ca, err := tlsutil.LoadCA(folder.CAFile(), filepath.Join(folder.Path, "ca.key"))
	if err != nil {
		fmt.Println(err)
		return
	}
	client := tlsutil.ClientVerify(ca.Pool())
	client.ServerName = "mx.example.org"

	l, err := tls.Listen("tcp", "127.0.0.1:0", tlsutil.Server(pair))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() { done <- greet(l) }()
	conn, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	greeting, err := io.ReadAll(conn)
	fmt.Printf("%s %s %v %v\n", tlsutil.State(conn.ConnectionState()).Version, greeting, err, <-done)
	// Output: TLSv1.3 220 mx.example.org <nil> <nil>
}

func greet(l net.Listener) error {
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	_, err = io.WriteString(conn, "220 mx.example.org")
	return errors.Join(err, conn.Close())
}

// pipe returns the two ends of a loopback connection.
func pipe() (near, far net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	far, err = l.Accept()
	return near, far, err
}

// handshake connects a client to a server; each side's error comes back. It may
// be called from any goroutine.
func handshake(t *testing.T, server, client *tls.Config) (state mtakit.TLS, serverErr, clientErr error) {
	t.Helper()
	near, far, err := pipe()
	if err != nil {
		t.Error(err)
		return state, err, err
	}
	defer near.Close()
	s, c := tls.Server(far, server), tls.Client(near, client)
	done := make(chan error, 1)
	go func() {
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x")) // TLS 1.3 tells the client's failure only after the handshake
		}
		far.Close()
		done <- err
	}()
	clientErr = c.Handshake()
	if clientErr == nil {
		_, clientErr = io.ReadFull(c, make([]byte, 1))
	}
	near.Close()
	serverErr = <-done
	return tlsutil.State(s.ConnectionState()), serverErr, clientErr
}

func verified(ca *tlsutil.CA, name string) *tls.Config {
	c := tlsutil.ClientVerify(ca.Pool())
	c.ServerName = name
	return c
}

func newCA(t *testing.T) *tlsutil.CA {
	t.Helper()
	ca, err := tlsutil.NewCA("")
	require.NoError(t, err)
	return ca
}

// fixed serves one certificate.
type fixed struct{ *tls.Certificate }

func (f fixed) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.Certificate, nil
}

func TestIssue(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	cert, err := ca.Issue(tlsutil.Request{Names: []string{"mx.example.org", "*.example.net", "192.0.2.1", "2001:db8::1"}})
	require.NoError(t, err)
	assert.Equal(t, "mx.example.org", cert.Leaf.Subject.CommonName)
	assert.True(t, cert.Leaf.NotBefore.Before(time.Now().Add(-59*time.Minute)), "for peers whose clock is behind")
	for name, ok := range map[string]bool{
		"mx.example.org": true, "a.example.net": true, "192.0.2.1": true, "2001:db8::1": true, "example.org": false, "192.0.2.2": false,
	} {
		_, _, err := handshake(t, tlsutil.Server(fixed{cert}), verified(ca, name))
		assert.Equal(t, ok, err == nil, "%s: %v", name, err)
	}
	_, _, err = handshake(t, tlsutil.Server(fixed{cert}), verified(newCA(t), "mx.example.org"))
	var unknown x509.UnknownAuthorityError
	require.ErrorAs(t, err, &unknown)
}

func TestIssueLimits(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	cert, err := ca.Issue(tlsutil.Request{Names: []string{strings.Repeat("a", 63) + ".example.org"}, Lifetime: 100 * 365 * 24 * time.Hour})
	require.NoError(t, err)
	assert.Equal(t, ca.Certificate.NotAfter, cert.Leaf.NotAfter)
	assert.Empty(t, cert.Leaf.Subject.CommonName, "longer than 64")
	for _, names := range [][]string{nil, {""}, {"a b"}, {"a..b"}, {"bücher.example"}, {"a\x00b"}, {strings.Repeat("a.", 130) + "b"}} {
		_, err := ca.Issue(tlsutil.Request{Names: names})
		assert.Error(t, err, "%q", names)
	}
	serials := map[string]bool{}
	for range 20 {
		cert, err := ca.Issue(tlsutil.Request{Names: []string{"mx.example.org"}})
		require.NoError(t, err)
		assert.False(t, serials[cert.Leaf.SerialNumber.String()])
		serials[cert.Leaf.SerialNumber.String()] = true
	}
}

func TestLoadCA(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key")
	ca := newCA(t)
	require.NoError(t, ca.Save(certFile, keyFile))
	again, err := tlsutil.LoadCA(certFile, keyFile)
	require.NoError(t, err)
	assert.True(t, again.Certificate.Equal(ca.Certificate))
	require.ErrorIs(t, newCA(t).Save(certFile, keyFile), os.ErrExist)
	require.NoError(t, os.Remove(keyFile))
	require.ErrorIs(t, newCA(t).Save(certFile, keyFile), os.ErrExist, "the key does not belong to the certificate that is there")

	server := filepath.Join(dir, "server")
	pair, err := tlsutil.EnsureServer(server, "localhost")
	require.NoError(t, err)
	_, err = tlsutil.LoadCA(pair.CertFile, pair.KeyFile)
	require.ErrorIs(t, err, tlsutil.ErrNotCA)
	_, err = tlsutil.LoadCA(filepath.Join(dir, "none"), keyFile)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestClientMay(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	expired := *ca.Certificate
	expired.NotAfter = time.Now().Add(-time.Minute)
	old, err := (&tlsutil.CA{Certificate: &expired, Key: ca.Key}).Issue(tlsutil.Request{Names: []string{"other.example"}})
	require.NoError(t, err)
	require.True(t, old.Leaf.NotAfter.Before(time.Now()))
	client := tlsutil.ClientMay()
	client.ServerName = "mx.example.org"
	_, _, err = handshake(t, tlsutil.Server(fixed{old}), client)
	require.NoError(t, err, "expired, wrong name, unknown CA: better than nothing")

	var invalid x509.CertificateInvalidError
	_, _, err = handshake(t, tlsutil.Server(fixed{old}), verified(ca, "other.example"))
	require.ErrorAs(t, err, &invalid)
	assert.Equal(t, x509.Expired, invalid.Reason)
}

func TestOldVersionsAreRefused(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	cert, err := ca.Issue(tlsutil.Request{Names: []string{"mx.example.org"}})
	require.NoError(t, err)
	client := verified(ca, "mx.example.org")
	client.MinVersion, client.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	_, _, err = handshake(t, tlsutil.Server(fixed{cert}), client)
	require.Error(t, err)
	client.MaxVersion = tls.VersionTLS12
	state, _, err := handshake(t, tlsutil.Server(fixed{cert}), client)
	require.NoError(t, err)
	assert.Equal(t, mtakit.TLS{Version: "TLSv1.2", Cipher: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", ServerName: "mx.example.org"}, state)
}

func TestState(t *testing.T) {
	t.Parallel()
	assert.Equal(t, mtakit.TLS{}, tlsutil.State(tls.ConnectionState{Version: tls.VersionTLS13}))
	for version, name := range map[uint16]string{tls.VersionTLS10: "TLSv1", tls.VersionTLS11: "TLSv1.1", tls.VersionTLS13: "TLSv1.3", 0x0505: "0x0505"} {
		assert.Equal(t, name, tlsutil.VersionName(version))
	}
	ca := newCA(t)
	cert, err := ca.Issue(tlsutil.Request{Names: []string{"client.example.org"}})
	require.NoError(t, err)
	server, client := tlsutil.Server(fixed{cert}), verified(ca, "client.example.org")
	client.Certificates = []tls.Certificate{*cert}
	server.ClientAuth = tls.RequestClientCert
	state, _, err := handshake(t, server, client)
	require.NoError(t, err)
	assert.Empty(t, state.Peer, "nobody verified it")
	server.ClientAuth, server.ClientCAs = tls.VerifyClientCertIfGiven, ca.Pool()
	state, _, err = handshake(t, server, client)
	require.NoError(t, err)
	assert.Equal(t, "client.example.org", state.Peer)
	assert.Equal(t, "TLS_AES_128_GCM_SHA256", state.Cipher)
}

// record is a log that tests read.
type record struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}

func (r *record) logger() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

var errNone = errors.New("no certificate")

func serving(p *tlsutil.Pair) string {
	c, err := p.GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		return errors.Join(errNone, err).Error()
	}
	return c.Leaf.Subject.CommonName
}

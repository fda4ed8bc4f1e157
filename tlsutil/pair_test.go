package tlsutil_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/tlsutil"
)

// write puts a certificate and its key into files by rename, as certbot does.
func write(t *testing.T, cert *tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	require.NoError(t, err)
	put(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	put(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Leaf.Raw}))
}

func put(t *testing.T, name string, data []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(name+".new", data, 0o600))
	require.NoError(t, os.Rename(name+".new", name))
}

func issue(t *testing.T, ca *tlsutil.CA, name string, lifetime time.Duration) *tls.Certificate {
	t.Helper()
	cert, err := ca.Issue(tlsutil.Request{Names: []string{name}, Lifetime: lifetime})
	require.NoError(t, err)
	return cert
}

func TestPairReloads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newCA(t)
	certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	log := &record{}
	p := &tlsutil.Pair{CertFile: certFile, KeyFile: keyFile, Check: 1, Logger: log.logger()}
	assert.Nil(t, p.Certificate())
	assert.Contains(t, serving(p), "no certificate")

	write(t, issue(t, ca, "one.example", 0), certFile, keyFile)
	assert.Equal(t, "one.example", serving(p))
	write(t, issue(t, ca, "two.example", 0), certFile, keyFile)
	assert.Equal(t, "two.example", serving(p))
	assert.Equal(t, "two.example", p.Certificate().Subject.CommonName)
	assert.Empty(t, log.String())

	broken := map[string]func(){
		"mismatched": func() {
			write(t, issue(t, ca, "x", 0), certFile, filepath.Join(dir, "other"))
		},
		"half written": func() {
			b, err := os.ReadFile(certFile)
			require.NoError(t, err)
			put(t, certFile, b[:len(b)/2])
		},
		"empty": func() { put(t, certFile, nil) },
		"gone":  func() { require.NoError(t, os.Remove(certFile)) },
	}
	for name, breakIt := range broken {
		write(t, issue(t, ca, "good.example", 0), certFile, keyFile)
		require.Equal(t, "good.example", serving(p), name)
		before := strings.Count(log.String(), "the old one stays")
		breakIt()
		for range 3 {
			assert.Equal(t, "good.example", serving(p), name)
		}
		assert.Equal(t, before+1, strings.Count(log.String(), "the old one stays"), "%s: logged once", name)
		require.Error(t, p.Reload(), name)
		assert.Equal(t, "good.example", serving(p), name)
	}
	write(t, issue(t, ca, "healed.example", 0), certFile, keyFile)
	assert.Equal(t, "healed.example", serving(p))
}

func TestPairLooksOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		ca := newCA(t)
		certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
		write(t, issue(t, ca, "one.example", 0), certFile, keyFile)
		p, err := tlsutil.LoadPair(certFile, keyFile)
		require.NoError(t, err)
		assert.Equal(t, "one.example", serving(p))
		write(t, issue(t, ca, "two.example", 0), certFile, keyFile)
		assert.Equal(t, "one.example", serving(p))
		time.Sleep(time.Second)
		assert.Equal(t, "two.example", serving(p))

		p.Check = -1
		write(t, issue(t, ca, "three.example", 0), certFile, keyFile)
		time.Sleep(time.Hour)
		assert.Equal(t, "two.example", serving(p))
		require.NoError(t, p.Reload())
		assert.Equal(t, "three.example", serving(p))
	})
}

// Handshakes go on while the files change and Reload is called, and each of them
// gets a pair that fits together.
func TestPairUnderHandshakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newCA(t)
	certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	pairs := []*tls.Certificate{issue(t, ca, "mx.example.org", 0), issue(t, ca, "mx.example.org", 0)}
	write(t, pairs[0], certFile, keyFile)
	p := &tlsutil.Pair{CertFile: certFile, KeyFile: keyFile, Check: 1}
	require.NoError(t, p.Reload())
	server := tlsutil.Server(p)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for range 25 {
				_, serverErr, clientErr := handshake(t, server, verified(ca, "mx.example.org"))
				assert.NoError(t, serverErr)
				assert.NoError(t, clientErr)
			}
		})
	}
	var changer sync.WaitGroup
	changer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				write(t, pairs[i%2], certFile, keyFile)
				_ = p.Reload() // may see a key and a certificate of two writes
			}
		}
	})
	wg.Wait()
	close(stop)
	changer.Wait()
	require.NoError(t, p.Reload())
}

func TestPairWarnsOfItsEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newCA(t)
	certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	for lifetime, want := range map[time.Duration]string{
		-time.Minute: "has expired", time.Hour: "expires soon", 30 * 24 * time.Hour: "",
	} {
		log := &record{}
		write(t, issue(t, ca, "mx.example.org", lifetime), certFile, keyFile)
		p := &tlsutil.Pair{CertFile: certFile, KeyFile: keyFile, Logger: log.logger()}
		require.NoError(t, p.Reload(), "an old certificate is better than none")
		if want == "" {
			assert.Empty(t, log.String())
			continue
		}
		assert.Contains(t, log.String(), want)
	}
}

func TestLoadPairErrors(t *testing.T) {
	t.Parallel()
	_, err := tlsutil.LoadPair(filepath.Join(t.TempDir(), "none"), "none")
	require.ErrorIs(t, err, os.ErrNotExist)
}

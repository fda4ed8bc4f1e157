package tlsutil_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/tlsutil"
)

// files returns what is in a folder, by name.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		all[e.Name()] = string(b)
	}
	return all
}

func TestEnsureServer(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tls")
	pair, err := tlsutil.EnsureServer(dir, "mx.example.org", "127.0.0.1")
	require.NoError(t, err)
	ca, err := tlsutil.LoadCA(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key"))
	require.NoError(t, err)
	for _, name := range []string{"mx.example.org", "127.0.0.1"} {
		_, _, err = handshake(t, tlsutil.Server(pair), verified(ca, name))
		require.NoError(t, err)
	}
	before := files(t, dir)
	assert.Len(t, before, 4)
	for name, mode := range map[string]fs.FileMode{"ca.key": 0o600, "server.key": 0o600, "ca.pem": 0o644, "server.pem": 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, mode, info.Mode().Perm(), name)
	}
	_, err = tlsutil.EnsureServer(dir, "another.example")
	require.NoError(t, err)
	assert.Equal(t, before, files(t, dir), "what exists is never touched")
}

// A crash leaves any of the first n files; the next start completes them, and
// what was there still is.
func TestEnsureServerAfterCrash(t *testing.T) {
	t.Parallel()
	whole := filepath.Join(t.TempDir(), "tls")
	_, err := tlsutil.EnsureServer(whole, "mx.example.org")
	require.NoError(t, err)
	order := []string{"ca.key", "ca.pem", "server.key", "server.pem"}
	for n := range order {
		dir := t.TempDir()
		for _, name := range order[:n] {
			b, err := os.ReadFile(filepath.Join(whole, name))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".ca.key.123"), []byte("half"), 0o600))
		before := files(t, dir)
		pair, err := tlsutil.EnsureServer(dir, "mx.example.org")
		require.NoError(t, err, n)
		after := files(t, dir)
		for name, content := range before {
			assert.Equal(t, content, after[name], name)
		}
		ca, err := tlsutil.LoadCA(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key"))
		require.NoError(t, err)
		_, _, err = handshake(t, tlsutil.Server(pair), verified(ca, "mx.example.org"))
		require.NoError(t, err)
	}
}

// The certificate of a CA that lost it is made again, and still is the issuer of
// what the CA has signed.
func TestEnsureServerMakesCACertificateAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tls")
	_, err := tlsutil.EnsureServer(dir, "mx.example.org")
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(dir, "ca.pem")))
	pair, err := tlsutil.EnsureServer(dir, "mx.example.org")
	require.NoError(t, err)
	ca, err := tlsutil.LoadCA(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key"))
	require.NoError(t, err)
	_, _, err = handshake(t, tlsutil.Server(pair), verified(ca, "mx.example.org"))
	require.NoError(t, err)
}

func TestEnsureServerWithForeignCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, issue(t, newCA(t), "mx.example.org", 0), filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key"))
	before := files(t, dir)
	d := &tlsutil.Dir{Path: dir}
	pair, err := d.Open()
	require.NoError(t, err)
	assert.Equal(t, "mx.example.org", serving(pair))
	renewed, err := d.Renew(10 * 365 * 24 * time.Hour)
	require.NoError(t, err)
	assert.False(t, renewed)
	assert.Equal(t, before, files(t, dir), "no CA is made for it, and nobody renews it but its owner")

	_, err = tlsutil.EnsureServer(filepath.Join(dir, "own"), "mx.example.org")
	require.NoError(t, err)
	for _, name := range []string{"ca.pem", "ca.key"} {
		require.NoError(t, os.Rename(filepath.Join(dir, "own", name), filepath.Join(dir, name)))
	}
	renewed, err = d.Renew(10 * 365 * 24 * time.Hour)
	require.NoError(t, err)
	assert.False(t, renewed, "another CA signed it")
}

func TestEnsureServerRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := tlsutil.EnsureServer(filepath.Join(dir, "a", "b"), "mx.example.org")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = tlsutil.EnsureServer(filepath.Join(dir, "c"))
	require.ErrorContains(t, err, "no names")

	lone := filepath.Join(dir, "lone")
	_, err = tlsutil.EnsureServer(lone, "mx.example.org")
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(lone, "server.key")))
	before := files(t, lone)
	_, err = tlsutil.EnsureServer(lone, "mx.example.org")
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.Equal(t, before, files(t, lone))

	require.NoError(t, os.Remove(filepath.Join(lone, "server.pem")))
	require.NoError(t, os.WriteFile(filepath.Join(lone, "ca.key"), []byte("garbage"), 0o600))
	_, err = tlsutil.EnsureServer(lone, "mx.example.org")
	require.Error(t, err)
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = tlsutil.EnsureServer(file, "mx.example.org")
	require.Error(t, err)
}

// Two programs that start at once on an empty folder end up with one CA and one
// certificate.
func TestEnsureServerAtOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tls")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := tlsutil.EnsureServer(dir, "mx.example.org")
			assert.NoError(t, err)
		})
	}
	wg.Wait()
	assert.Len(t, files(t, dir), 4)
	pair, err := tlsutil.EnsureServer(dir, "mx.example.org")
	require.NoError(t, err)
	ca, err := tlsutil.LoadCA(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca.key"))
	require.NoError(t, err)
	_, _, err = handshake(t, tlsutil.Server(pair), verified(ca, "mx.example.org"))
	require.NoError(t, err)
}

func TestRenew(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tls")
	d := &tlsutil.Dir{Path: dir, Names: []string{"mx.example.org", "192.0.2.1"}, Lifetime: time.Hour}
	pair, err := d.Open()
	require.NoError(t, err)
	pair.Check = 1
	old := pair.Certificate()
	renewed, err := d.Renew(time.Minute)
	require.NoError(t, err)
	assert.False(t, renewed)

	before := files(t, dir)
	renewed, err = (&tlsutil.Dir{Path: dir}).Renew(2 * time.Hour)
	require.NoError(t, err)
	assert.True(t, renewed)
	assert.NotEmpty(t, serving(pair))
	fresh := pair.Certificate()
	assert.True(t, fresh.NotAfter.After(old.NotAfter))
	assert.Equal(t, old.DNSNames, fresh.DNSNames)
	assert.True(t, old.IPAddresses[0].Equal(fresh.IPAddresses[0]))
	after := files(t, dir)
	assert.Equal(t, before["server.key"], after["server.key"], "one file changes, so that no crash can tear the pair")
	assert.Len(t, after, 4)

	require.NoError(t, os.Remove(filepath.Join(dir, "ca.key")))
	renewed, err = d.Renew(1000 * 24 * time.Hour)
	require.NoError(t, err)
	assert.False(t, renewed)
	require.NoError(t, os.Remove(filepath.Join(dir, "server.pem")))
	_, err = d.Renew(time.Hour)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// OpenSSL agrees with what we make.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("MTAKIT_REQUIRE") == "all" {
			t.Fatal("openssl is absent: apt-get install openssl")
		}
		t.Skip("openssl is absent: apt-get install openssl")
	}
	dir := filepath.Join(t.TempDir(), "tls")
	_, err = tlsutil.EnsureServer(dir, "mx.example.org", "192.0.2.1")
	require.NoError(t, err)
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), openssl, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return strings.TrimSpace(string(out))
	}
	assert.Equal(t, "server.pem: OK", run("verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "mx.example.org", "-CAfile", "ca.pem", "server.pem"))
	assert.Equal(t, "server.pem: OK", run("verify", "-purpose", "sslclient", "-verify_ip", "192.0.2.1", "-CAfile", "ca.pem", "server.pem"))
	assert.Contains(t, run("pkey", "-in", "server.key", "-noout", "-check"), "Key is valid")
}

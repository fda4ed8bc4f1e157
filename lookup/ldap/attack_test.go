package ldap_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/ldap"
)

// TestKill kills the first of two servers under load: nobody is told that a key is
// not there.
func TestKill(t *testing.T) {
	t.Parallel()
	first, second := directory(t), directory(t)
	both := table(t, ldap.Config{Servers: []string{"ldap://" + first.Addr, "ldap://" + second.Addr}, Base: base})
	only := table(t, ldap.Config{Servers: []string{"ldap://" + first.Addr}, Base: base})
	var answered atomic.Int64
	var group sync.WaitGroup
	done := make(chan struct{})
	for range 100 {
		group.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				value, ok, err := both.Lookup(t.Context(), "ann@example.org")
				assert.NoError(t, err)
				assert.True(t, ok && value == "ann@mail.example.org", "%q", value)
				if _, ok, err := only.Lookup(t.Context(), "ann@example.org"); err == nil {
					assert.True(t, ok)
				}
				answered.Add(1)
			}
		})
	}
	for answered.Load() < 1000 {
		time.Sleep(time.Millisecond)
	}
	first.Kill()
	for n := answered.Load(); answered.Load() < n+1000; {
		time.Sleep(time.Millisecond)
	}
	close(done)
	group.Wait()
	_, _, err := only.Lookup(t.Context(), "ann@example.org")
	require.Error(t, err)
	first.Start()
	assert.Equal(t, "ann@mail.example.org", ask(t, only, "ann@example.org"))
	second.Kill()
	// The first one is still left alone, the second one is dead.
	_, ok, err := both.Lookup(t.Context(), "ann@example.org")
	require.Error(t, err)
	assert.False(t, ok)
	again := table(t, ldap.Config{Servers: []string{"ldap://" + second.Addr, "ldap://" + first.Addr}, Base: base, Retry: time.Nanosecond})
	assert.Equal(t, "ann@mail.example.org", ask(t, again, "ann@example.org"))
	first.Kill()
	second.Start()
	assert.Equal(t, "ann@mail.example.org", ask(t, again, "ann@example.org"))
}

// proxy counts connections to a server.
func proxy(t *testing.T, to string) (addr string, most *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var group sync.WaitGroup
	most = &atomic.Int64{}
	var open atomic.Int64
	group.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			most.Store(max(most.Load(), open.Add(1)))
			group.Go(func() {
				defer in.Close()
				defer open.Add(-1)
				out, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				group.Go(func() {
					_, _ = io.Copy(in, out)
					in.Close()
				})
				_, _ = io.Copy(out, in)
				out.Close()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		group.Wait()
	})
	return l.Addr().String(), most
}

func TestBound(t *testing.T) {
	t.Parallel()
	s := directory(t)
	addr, most := proxy(t, s.Addr)
	made, err := ldap.New(ldap.Config{Servers: []string{"ldap://" + addr}, Base: base, Conns: 7})
	require.NoError(t, err)
	var group sync.WaitGroup
	for range 1000 {
		group.Go(func() { assert.Equal(t, "ann@mail.example.org", ask(t, made, "ann@example.org")) })
	}
	group.Wait()
	assert.Positive(t, most.Load())
	assert.LessOrEqual(t, most.Load(), int64(7))
	require.NoError(t, made.Close())
	_, _, err = made.Lookup(t.Context(), "ann@example.org")
	require.ErrorIs(t, err, net.ErrClosed)
}

// bound is a server's answer to the first message of a connection.
const bound = "0\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"

// fake answers the first message of each connection, and the second one.
func fake(t *testing.T, first, second string, repeat int, hang bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer conn.Close()
				var question [4096]byte
				_, _ = conn.Read(question[:])
				_, _ = io.WriteString(conn, first)
				_, _ = conn.Read(question[:])
				for range repeat {
					if _, err := io.WriteString(conn, second); err != nil {
						return
					}
				}
				if hang {
					_, _ = io.Copy(io.Discard, conn)
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		group.Wait()
	})
	return l.Addr().String()
}

// entry is a search result of 60,000 empty attributes, or so many bytes.
func entry(element string, n int) string {
	list := strings.Repeat(element, n)
	return tlv(0x30, "\x02\x01\x02"+tlv(0x64, tlv(4, "dc=org")+tlv(0x30, list)))
}

func tlv(tag byte, content string) string {
	n := len(content)
	return string([]byte{tag, 0x84, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + content
}

// nested are sequences in sequences.
func nested(n int) string {
	s := ""
	for range n {
		s = tlv(0x30, s)
	}
	return s
}

func TestHostile(t *testing.T) {
	t.Parallel()
	const doneCode = "0\x0c\x02\x01\x02\x65\x07\x0a\x01"
	for name, answer := range map[string]struct {
		first, second string
		repeat        int
	}{
		"closes": {"", "", 1}, "closes later": {bound, "", 1}, "HTTP": {"HTTP/1.0 400 Bad Request\r\n\r\n", "", 1},
		"zeros": {bound, strings.Repeat("\x00", 5000), 1}, "a huge length": {bound, "0\x84\x7f\xff\xff\xff", 1}, "a huger length": {bound, "0\x88\xff\xff\xff\xff\xff\xff\xff\xff", 1},
		"no length": {bound, "0\x80\x02\x01\x02", 1}, "cut off": {bound, "0\x0c\x02\x01\x02\x65\x07", 1}, "too long inside": {bound, "0\x05\x02\x01\x02\x65\x7f", 1},
		"no children": {bound, "0\x03\x02\x01\x02", 1}, "an empty message": {bound, "0\x00", 10}, "an empty result": {bound, "0\x05\x02\x01\x02\x65\x00", 1},
		"an empty entry": {bound, "0\x05\x02\x01\x02\x64\x00", 1}, "a bad bind": {"0\x05\x02\x01\x01\x61\x00", "", 1}, "a bind of strings": {"0\x07\x02\x01\x01\x61\x02\x04\x00", "", 1},
		"busy": {bound, doneCode + "\x33\x04\x00\x04\x00", 1}, "unavailable": {bound, doneCode + "\x34\x04\x00\x04\x00", 1}, "no such object": {bound, doneCode + "\x20\x04\x00\x04\x00", 1},
		"a referral": {bound, doneCode + "\x0a\x04\x00\x04\x00", 1}, "size limit": {bound, doneCode + "\x04\x04\x00\x04\x00", 1}, "time limit": {bound, doneCode + "\x03\x04\x00\x04\x00", 1},
		"nested": {bound, nested(500), 1}, "many elements": {bound, entry("\x05\x00", 1<<20), 1}, "endless": {bound, entry("\x05\x00", 10_000), 10_000}, "endless bytes": {bound, entry("a", 1<<20), 100},
		"wrong number": {bound, "0\x0c\x02\x01\x09\x65\x07\x0a\x01\x00\x04\x00\x04\x00", 1}, "bind refused": {"0\x0c\x02\x01\x01\x61\x07\x0a\x01\x31\x04\x00\x04\x00", "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := fake(t, answer.first, answer.second, answer.repeat, false)
			made := table(t, ldap.Config{Servers: []string{"ldap://" + addr}, Base: base})
			_, ok, err := made.Lookup(t.Context(), "ann@example.org")
			require.Error(t, err)
			assert.False(t, ok)
		})
	}
}

// TestStall asks servers that say nothing.
func TestStall(t *testing.T) {
	t.Parallel()
	s := directory(t)
	for name, first := range map[string]string{"at once": "", "later": bound} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := fake(t, first, "", 1, true)
			c := ldap.Config{Servers: []string{"ldap://" + addr}, Base: base}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, ok, err := table(t, c).Lookup(ctx, "ann")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.False(t, ok)
			c.Servers, c.Timeout = append(c.Servers, "ldap://"+s.Addr), 50*time.Millisecond
			c.Bind = ldap.NoBind
			if first == "" {
				assert.Equal(t, "ann@mail.example.org", ask(t, table(t, c), "ann"))
			}
		})
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s, other := directory(t), directory(t)
	o := &lookup.Opener{Types: map[string]lookup.OpenFunc{"ldap": ldap.Open}, Dirs: []string{"/"}}
	t.Cleanup(func() { assert.NoError(t, o.Close()) })
	cf := func(text string) (lookup.LookupTable, error) {
		path := filepath.Join(t.TempDir(), "table.cf")
		require.NoError(t, os.WriteFile(path, []byte("search_base = "+base+"\n"+text), 0o600))
		return o.Open(t.Context(), "ldap:"+path)
	}
	for _, server := range []string{"server_host = ldaps://" + s.TLSAddr, "start_tls = yes\nserver_host = ldap://" + s.Addr} {
		for _, text := range []string{"tls_require_cert = yes\ntls_ca_cert_file = " + s.CA, "", "tls_require_cert = yes\ntls_ca_cert_dir = " + filepath.Dir(s.CA)} {
			made, err := cf(server + "\n" + text)
			require.NoError(t, err)
			assert.Equal(t, "ann@mail.example.org", ask(t, made, "ann"), "%s\n%s", server, text)
		}
		for _, text := range []string{"tls_require_cert = yes\ntls_ca_cert_file = " + other.CA, "tls_require_cert = yes"} {
			made, err := cf(server + "\n" + text)
			require.NoError(t, err)
			_, _, err = made.Lookup(t.Context(), "ann")
			require.ErrorContains(t, err, "certificate", "%s\n%s", server, text)
		}
	}
	external, err := cf("bind = sasl\nsasl_mechs = EXTERNAL\nserver_host = ldapi://" + url.QueryEscape(s.Socket))
	require.NoError(t, err)
	assert.Equal(t, "ann@mail.example.org", ask(t, external, "ann"))
	const mine = "bind = sasl\nsasl_mechs = EXTERNAL\n"
	for _, server := range []string{"server_host = ldaps://" + s.TLSAddr + "\n", "start_tls = yes\nserver_host = ldap://" + s.Addr + "\n"} {
		made, err := cf(mine + server + "tls_cert = " + filepath.Join(s.Dir, "client.pem") + "\ntls_key = " + filepath.Join(s.Dir, "client-key.pem"))
		require.NoError(t, err)
		assert.Equal(t, "ann@mail.example.org", ask(t, made, "ann"), server)
		made, err = cf(mine + server)
		require.NoError(t, err)
		_, _, err = made.Lookup(t.Context(), "ann")
		require.Error(t, err, "nobody says who asks")
	}

	for name, first := range map[string]string{
		"refused":          "0\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00",
		"text before":      "0\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00" + bound,
		"no response":      bound,
		"an empty message": "0\x00",
	} {
		addr := fake(t, first, "", 1, false)
		made := table(t, ldap.Config{Servers: []string{"ldap://" + addr}, Base: base, StartTLS: true})
		_, _, err := made.Lookup(t.Context(), "ann")
		require.ErrorContains(t, err, "StartTLS", name)
	}
	for _, bad := range []string{
		"scope = all", "bind = maybe", "dereference = 9", "timeout = never", "expansion_limit = -1", "recursion_limit = 0", "version = 4", "chase_referrals = yes",
		"bind = sasl", "bind = sasl\nsasl_mechs = GSSAPI", "bind = sasl\nsasl_mechs = EXTERNAL\nsasl_authz_id = u:x", "server_host = http://x", "server_host = ldap://x/dc=org",
		"server_host = ldap://[::1", "query_filter = (mail=%s", "query_filter = (mail=%q)", "query_filter = (%u=%d)", "query_filter = %s", "search_base = nothing=,%", "search_base = dc",
		"result_format = %", "tls_ca_cert_file = /nonexistent", "tls_cert = /nonexistent", "start_tls = yes\nserver_host = ldaps://x", "domain = hash:/nonexistent", "result_attribute =",
	} {
		_, err := cf(bad)
		require.Error(t, err, bad)
	}
}

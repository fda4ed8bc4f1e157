package redis

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
)

// FuzzConfig checks that what a file says is a table of servers that can be connected to,
// or an error.
func FuzzConfig(f *testing.F) {
	for _, text := range []string{
		"", "hosts = a, inet:b:1 unix:/c\ndbname = 2\nkey_format = mail:%s\n", "hosts = ::1 [::1] [::1]:1 inet:[::2]", "hosts = a: :1 : [ ] []:", "hash_format = h\nresult_format = %",
		"dbname = -1", "timeout = 0", "timeout = 3\nretry_interval = x", "tls = yes", "tls = maybe", "key_format = %q", "hosts = ,", "hosts = unix:",
	} {
		f.Add(text)
	}
	name := filepath.Join(f.TempDir(), "redis.cf")
	f.Fuzz(func(t *testing.T, text string) {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		params, err := lookup.ReadParams(name)
		if err != nil || params.Text("tls_ca_cert_file") != "" {
			return
		}
		c := parse(params)
		require.Len(t, c.Servers, len(params.Words("hosts")))
		if params.Err() != nil {
			return
		}
		made, err := New(c)
		if err != nil {
			return
		}
		defer func() { require.NoError(t, made.Close()) }()
		require.Len(t, made.servers, max(len(c.Servers), 1))
		for _, s := range made.servers {
			if strings.HasPrefix(s.name, "unix:") {
				continue
			}
			_, _, err := net.SplitHostPort(s.name)
			require.NoError(t, err, "%q", s.name)
		}
	})
}

// FuzzAddress checks that a host in any of its spellings is the same.
func FuzzAddress(f *testing.F) {
	f.Add("host.example", "6380")
	f.Add("2001:db8::1", "1")
	f.Add("localhost", "")
	f.Fuzz(func(t *testing.T, host, port string) {
		if host == "" || port == "" || strings.ContainsAny(host+port, "[]") || strings.Contains(port, ":") || strings.HasPrefix(host, "unix:") || strings.HasPrefix(host, "inet:") {
			return
		}
		want := net.JoinHostPort(host, port)
		require.Equal(t, want, address(want))
		require.Equal(t, want, address("inet:"+want))
		usual := net.JoinHostPort(host, "6379")
		require.Equal(t, usual, address("["+host+"]"))
		if strings.Count(host, ":") != 1 { // that would be a port
			require.Equal(t, usual, address(host))
			require.Equal(t, usual, address("inet:"+host))
		}
	})
}

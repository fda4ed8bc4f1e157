package lookup_test

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/internal/servertest"
	"github.com/mtakit/mtakit/lookup"
)

// tlsMariaDB starts a MariaDB with users who need nothing, TLS, and a certificate.
func tlsMariaDB(t *testing.T, options ...string) *servertest.Server {
	t.Helper()
	s := servertest.MariaDB(t, options...)
	db := mariaDBHost(t, socketOf(s), "")
	defer db.Close()
	for _, user := range []string{"anyhow", "encrypted REQUIRE SSL", "certified REQUIRE X509"} {
		name, demand, _ := strings.Cut(user, " ")
		_, err := db.ExecContext(t.Context(), "CREATE USER "+name+"@'%' IDENTIFIED BY 'secret' "+demand)
		require.NoError(t, err)
	}
	return s
}

// connectMySQL is what a program gives to OpenSQL.
func connectMySQL(_ context.Context, c *lookup.Config) (lookup.Querier, error) {
	return c.SQLHosts(lookup.MySQL, func(_ context.Context, h lookup.Host) (*sql.DB, error) {
		m := mysql.NewConfig()
		m.User, m.Passwd, m.DBName, m.Logger = c.User, c.Password, c.DBName, &mysql.NopLogger{}
		m.Net, m.Addr = h.Endpoint("/run/mysqld/mysqld.sock", "3306")
		var err error
		if m.TLS, err = c.TLS(h); err != nil {
			return nil, err
		}
		connector, err := mysql.NewConnector(m)
		if err != nil {
			return nil, err
		}
		return sql.OpenDB(connector), nil
	}), nil
}

// howConnected is a query that says "TLS" or "clear".
const howConnected = "dbname = information_schema\npassword = secret\nquery = SELECT IF(variable_value = '', 'clear', 'TLS') FROM information_schema.session_status" +
	" WHERE variable_name = 'ssl_cipher' AND '%s' <> ''\n"

// TestTLS connects as the files say, and as Postfix does with the same files.
func TestTLS(t *testing.T) {
	t.Parallel()
	s, other, none := tlsMariaDB(t), servertest.MariaDB(t), tlsMariaDB(t, "--skip-ssl")
	p := newPostmap(t)
	p.supports(t, "mysql")
	opener := &lookup.Opener{Dirs: []string{"/"}, Types: map[string]lookup.OpenFunc{"mysql": lookup.OpenSQL(lookup.MySQL, connectMySQL)}}
	t.Cleanup(func() { assert.NoError(t, opener.Close()) })
	cas := t.TempDir()
	require.NoError(t, os.Symlink(s.CA, filepath.Join(cas, subjectHash(t, s.CA)+".0")))
	cert, key := filepath.Join(s.Dir, "client.pem"), filepath.Join(s.Dir, "client-key.pem")
	ca, wrong, mine := "tls_CAfile = "+s.CA+"\n", "tls_CAfile = "+other.CA+"\n", "tls_cert_file = "+cert+"\ntls_key_file = "+key+"\n"
	const verify = "tls_verify_cert = yes\n"
	const denied, stranger, noTLS = "Access denied", "unknown authority", "does not support TLS"
	for name, c := range map[string]struct {
		host, user, tls string
		want            string // "TLS", "clear", or what is in the error
	}{
		"nothing asked":           {s.Addr, "anyhow", "", "clear"},
		"no":                      {s.Addr, "anyhow", "tls_verify_cert = no\n", "clear"},
		"nothing asked, required": {s.Addr, "encrypted", "", denied},
		"authority":               {s.Addr, "encrypted", ca, "TLS"},
		"authority and name":      {s.Addr, "encrypted", ca + verify, "TLS"},
		"directory":               {s.Addr, "encrypted", "tls_CApath = " + cas + "\n" + verify, "TLS"},
		"file before directory":   {s.Addr, "encrypted", ca + "tls_CApath = /nonexistent\n", "TLS"},
		"wrong authority":         {s.Addr, "anyhow", wrong, stranger},
		"wrong, name":             {s.Addr, "encrypted", wrong + verify, stranger},
		"the system's":            {s.Addr, "anyhow", verify, stranger},
		"nothing verified":        {s.Addr, "encrypted", mine, "TLS"},
		"socket":                  {"unix:" + s.Socket, "encrypted", ca, "TLS"},
		"socket, wrong authority": {"unix:" + s.Socket, "anyhow", wrong, stranger},
		"socket, wrong name":      {"unix:" + s.Socket, "encrypted", ca + verify, "localhost"},
		"no certificate":          {s.Addr, "certified", ca, denied},
		"certificate":             {s.Addr, "certified", ca + mine + verify, "TLS"},
		"certificate with key":    {s.Addr, "certified", ca + "tls_cert_file = " + joined(t, cert, key) + "\n", "TLS"},
		"no TLS there":            {none.Addr, "anyhow", ca, noTLS},
		"no TLS there, mine":      {none.Addr, "anyhow", mine, noTLS},
		"no TLS there, name":      {none.Addr, "anyhow", ca + verify, noTLS},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := writeOld(t, "hosts = "+c.host+"\nuser = "+c.user+"\n"+howConnected+c.tls)
			table, err := opener.Open(t.Context(), "mysql:"+path)
			require.NoError(t, err)
			value, ok, err := table.Lookup(t.Context(), "x")
			out, theirs := exec.CommandContext(t.Context(), p.program, "-c", p.dir, "-q", "x", "mysql:"+path).CombinedOutput()
			if c.want == "TLS" || c.want == "clear" {
				require.NoError(t, err)
				assert.Equal(t, c.want, value)
				assert.Equal(t, c.want+"\n", string(out))
				return
			}
			require.ErrorContains(t, err, c.want)
			assert.False(t, ok)
			if c.want == noTLS && !strings.Contains(c.tls, verify) {
				assert.Equal(t, "clear\n", string(out), "Postfix has it that way, and that is not for passwords")
				return
			}
			require.Error(t, theirs, "%s", out)
		})
	}
}

// writeOld writes a file of which nobody thinks that it is still being written.
func writeOld(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "table.cf")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(path, old, old))
	return path
}

// joined returns a file with a certificate and its key.
func joined(t *testing.T, cert, key string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "both.pem")
	var all []byte
	for _, name := range []string{cert, key} {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		all = append(all, text...)
	}
	require.NoError(t, os.WriteFile(path, all, 0o600))
	return path
}

// subjectHash is the name under which OpenSSL finds an authority in a directory.
func subjectHash(t *testing.T, file string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "openssl", "x509", "-noout", "-hash", "-in", file).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

// TestCheck has files that ask for what is not done: they are refused when the table
// is opened, before anybody is connected to.
func TestCheck(t *testing.T) {
	t.Parallel()
	dir, asked := t.TempDir(), 0
	connect := func(context.Context, *lookup.Config) (lookup.Querier, error) {
		asked++
		return &lookup.SQLHosts{}, nil
	}
	opener := &lookup.Opener{Dirs: []string{"/"}, Types: map[string]lookup.OpenFunc{
		"mysql": lookup.OpenSQL(lookup.MySQL, connect), "pgsql": lookup.OpenSQL(lookup.PostgreSQL, connect), "sqlite": lookup.OpenSQL(lookup.SQLite, connect),
	}}
	defer opener.Close()
	empty := filepath.Join(dir, "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for _, c := range []struct{ kind, text, refused string }{
		{"mysql", "", ""},
		{"mysql", "option_file =\noption_group =", ""},
		{"mysql", "option_file = /etc/mysql/my.cnf", "option_file"},
		{"mysql", "option_group = client", "option_group"},
		{"mysql", "charset = utf8mb4", ""}, {"mysql", "charset = UTF8", ""}, {"mysql", "charset = utf8mb3", ""}, {"mysql", "charset = latin1", ""},
		{"mysql", "charset = gbk", `bad charset "gbk"`},
		{"mysql", "charset = utf8; DROP TABLE x", "bad charset"},
		{"mysql", "tls_ciphers = AES256-SHA", "tls_ciphers"},
		{"mysql", "tls_verify_cert = maybe", "bad tls_verify_cert"},
		{"mysql", "tls_CAfile = /nonexistent", "tls_CAfile: open /nonexistent"},
		{"mysql", "tls_CApath = /nonexistent", "tls_CApath: open /nonexistent"},
		{"mysql", "tls_CAfile = " + empty, "no certificate of an authority"},
		{"mysql", "tls_CApath = " + dir, "no certificate of an authority"},
		{"mysql", "tls_cert_file = /nonexistent", "tls_cert_file and tls_key_file"},
		{"mysql", "tls_key_file = /nonexistent", "tls_cert_file and tls_key_file"},
		{"mysql", "encoding = LATIN1", ""},
		{"pgsql", "encoding = UTF8\noption_file = x\ncharset = gbk\ntls_CAfile = /nonexistent", ""},
		{"pgsql", "encoding = LATIN1", `bad encoding "LATIN1"`},
		{"sqlite", "dbpath = /x\nencoding = LATIN1\ncharset = gbk\noption_file = x", ""},
	} {
		path := writeOld(t, "query = SELECT 1\n"+c.text+"\n")
		before := asked
		_, err := opener.Open(t.Context(), c.kind+":"+path)
		if c.refused == "" {
			require.NoError(t, err, c.text)
			continue
		}
		require.ErrorContains(t, err, path+": ", c.text)
		require.ErrorContains(t, err, c.refused, c.text)
		assert.Equal(t, before, asked, c.text)
	}
}

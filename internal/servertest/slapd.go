package servertest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// slapdConf is the configuration: dir, and what Debian's schemas lack of what
// ldap_table(5) has as its defaults. Members are no DNs by their syntax, so that
// they can be URLs and rubbish, too.
const slapdConf = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
attributetype ( 1.3.6.1.4.1.4203.666.1.201 NAME 'mailacceptinggeneralid' EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.4203.666.1.202 NAME 'maildrop' EQUALITY caseExactMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.4203.666.1.203 NAME 'mailmember' EQUALITY caseExactMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectclass ( 1.3.6.1.4.1.4203.666.3.201 NAME 'mailobject' SUP top AUXILIARY MAY ( mailacceptinggeneralid $ maildrop $ mailmember $ mail $ labeledURI $ member $ uid ) )
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload back_monitor
pidfile %[1]s/pid
threads 4
sizelimit unlimited
TLSCACertificateFile %[1]s/ca.pem
TLSCertificateFile %[1]s/cert.pem
TLSCertificateKeyFile %[1]s/key.pem
TLSVerifyClient try
database mdb
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
rootpw secret
directory %[1]s/data
maxsize 67108864
dbnosync
index objectClass,uid,mail,mailacceptinggeneralid eq
database monitor
rootdn "cn=admin,dc=example,dc=org"
`

// Slapd starts an OpenLDAP server with the suffix dc=example,dc=org, whose entries
// are those of ldif. "cn=admin,dc=example,dc=org" has the password "secret". It
// speaks TLS from the start at TLSAddr, and after StartTLS elsewhere, with a
// certificate for 127.0.0.1 from the authority in the file CA. Who has the certificate
// client.pem, with client-key.pem, in Dir can bind by it (SASL EXTERNAL).
func Slapd(tb testing.TB, ldif string) *Server {
	tb.Helper()
	program := look(tb, "slapd", "slapd", "/usr/sbin")
	add := look(tb, "slapadd", "slapd", "/usr/sbin")
	dir, port, tlsPort := directory(tb), freePort(tb), freePort(tb)
	s := &Server{
		Dir: dir, Socket: filepath.Join(dir, "s"), Addr: loopback(port), quit: syscall.SIGTERM,
		TLSAddr: loopback(tlsPort), CA: filepath.Join(dir, "ca.pem"),
	}
	if err := certify(dir); err != nil {
		tb.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		tb.Fatal(err)
	}
	for name, text := range map[string]string{"slapd.conf": fmt.Sprintf(slapdConf, dir), "data.ldif": ldif} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	conf := filepath.Join(dir, "slapd.conf")
	prepare(tb, exec.Command(add, "-f", conf, "-q", "-l", filepath.Join(dir, "data.ldif")))
	urls := "ldap://" + s.Addr + " ldaps://" + s.TLSAddr + " ldapi://" + url.QueryEscape(s.Socket)
	s.command = func() *exec.Cmd { return exec.Command(program, "-f", conf, "-h", urls, "-d", "0") }
	s.ready = func(ctx context.Context) error { return answersLDAP(ctx, s.Addr) }
	return s.serve(tb)
}

// answersLDAP binds as nobody, which every server answers: RFC 4511 4.2.
func answersLDAP(ctx context.Context, addr string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("0\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00")); err != nil {
		return err
	}
	var answer [14]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return err
	}
	if answer[9] != 0 {
		return fmt.Errorf("bind: result code %d", answer[9])
	}
	return nil
}

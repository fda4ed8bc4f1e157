package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/mtakit/mtakit/lookup/internal/failover"
)

// server is one of the servers of a table.
type server struct {
	network, address string
	name             string // for TLS
	tls              bool   // from the start
	state            failover.Server
}

func (s *server) String() string { return s.address }

// defaultSocket is where Debian's slapd listens.
const defaultSocket = "/var/run/slapd/ldapi"

// parseServer reads a server's URL.
func parseServer(text string) (*server, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	rest = strings.TrimSuffix(rest, "/")
	bad := fmt.Errorf("bad server %q", text)
	if !ok || strings.ContainsAny(rest, "/?#") {
		return nil, bad
	}
	scheme = strings.ToLower(scheme)
	if scheme == "ldapi" {
		path, err := url.PathUnescape(rest)
		if err != nil {
			return nil, bad
		}
		if path == "" {
			path = defaultSocket
		}
		return &server{network: "unix", address: path, name: "localhost"}, nil
	}
	port := map[string]string{"ldap": "389", "ldaps": "636"}[scheme]
	u, err := url.Parse("//" + rest)
	if err != nil || port == "" || u.User != nil {
		return nil, bad
	}
	s := &server{network: "tcp", name: u.Hostname(), tls: scheme == "ldaps"}
	if s.name == "" {
		s.name = "localhost"
	}
	if u.Port() != "" {
		port = u.Port()
	}
	s.address = net.JoinHostPort(s.name, port)
	return s, nil
}

// link is a connection that is ready for searches.
type link struct {
	*goldap.Conn
	server *server
	raw    net.Conn
	guard  *guard
	since  time.Time // when it was used last
}

// close closes the connection. The raw one comes first: that ends whatever the other
// goroutines of the library wait for.
func (l *link) close() {
	_ = l.raw.Close()
	_ = l.Close()
}

// during closes the connection when ctx ends before what is done with it.
func (l *link) during(ctx context.Context, do func() error) error {
	stop := context.AfterFunc(ctx, func() { _ = l.raw.Close() })
	err := do()
	if !stop() {
		return ctx.Err()
	}
	return err
}

// dial connects to a server and logs in.
func (c *Config) dial(ctx context.Context, s *server) (*link, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, s.network, s.address)
	if err != nil {
		return nil, err
	}
	g, err := c.secure(ctx, s, raw)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	l := &link{Conn: goldap.NewConn(g, s.tls || c.StartTLS), server: s, raw: raw, guard: g}
	l.Start()
	if err := l.during(ctx, func() error { return c.bind(l.Conn) }); err != nil {
		l.close()
		return nil, fmt.Errorf("bind: %w", err)
	}
	return l, nil
}

// secure has TLS begin where it is wanted.
func (c *Config) secure(ctx context.Context, s *server, raw net.Conn) (*guard, error) {
	if !s.tls && !c.StartTLS {
		return newGuard(raw), nil
	}
	if !s.tls {
		stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
		err := startTLS(newGuard(raw))
		if !stop() {
			err = ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("StartTLS: %w", err)
		}
	}
	config := &tls.Config{}
	if c.TLS != nil {
		config = c.TLS.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = s.name
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return newGuard(conn), nil
}

// startTLS asks for TLS, RFC 4511 4.14. It is done here and not by the library, since
// what else a server has sent before TLS begins must not be heeded behind it.
func startTLS(g *guard) error {
	const request = "0\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
	if _, err := g.Write([]byte(request)); err != nil {
		return err
	}
	message, err := g.message()
	if err != nil {
		return err
	}
	_, body, _, err := cut(message)
	if err != nil {
		return err
	}
	_, _, rest, err := cut(body) // behind the message's number
	if err != nil {
		return err
	}
	tag, response, _, err := cut(rest)
	if err != nil {
		return err
	}
	kind, code, _, err := cut(response)
	if err != nil || tag != 0x78 || kind != 0x0a || len(code) != 1 {
		return fmt.Errorf("%w: no extended response", errMessage)
	}
	if code[0] != goldap.LDAPResultSuccess {
		return goldap.NewError(uint16(code[0]), errors.New("refused"))
	}
	if g.in.Buffered() > 0 {
		return fmt.Errorf("%w: text in the clear before TLS", errMessage)
	}
	return nil
}

func (c *Config) bind(conn *goldap.Conn) error {
	switch {
	case c.Bind == NoBind:
		return nil
	case c.Bind == External:
		return conn.ExternalBind()
	case c.Password == "":
		return conn.UnauthenticatedBind(c.BindDN)
	}
	return conn.Bind(c.BindDN, c.Password)
}

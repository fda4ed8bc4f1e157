package redis

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/internal/failover"
)

// Config is what a table asks, and whom. The zero value asks localhost for strings.
type Config struct {
	// Servers are "host:port" or "unix:/path", in the order in which they are asked. nil
	// means "localhost:6379".
	Servers []string
	// Clients are asked in place of Servers, and not closed. nil means Servers.
	Clients  []goredis.Cmdable
	User     string      // "" means the one of "requirepass"
	Password string      // "" means none
	DB       int         // number of the database
	TLS      *tls.Config // ServerName is set if it is ""; nil means that all is in the clear
	// Key is what is asked for, with the %-expansions of lookup.Template; "" means "%s".
	Key string
	// Hash is the name of the hash in which Key is a field, with %-expansions; "" means
	// that Key is the name of a string.
	Hash string
	// Result is what becomes of the value: %s, %u and %d are parts of it, the others of
	// the key; "" means "%s".
	Result string
	// Domains has the domains that are asked for: other keys, and those without
	// "user@", are not found. nil asks for every key.
	Domains lookup.LookupTable
	Timeout time.Duration // of one lookup at one server, with connecting; 0 means 5 seconds
	Conns   int           // the most connections to each server, whoever comes then waits; 0 means 10
	Retry   time.Duration // how long a server that has failed is left alone; 0 means a minute
}

// Table is a table in Redis.
type Table struct {
	key, hash, result lookup.Template
	hashed            bool
	domains           lookup.LookupTable
	timeout, retry    time.Duration
	servers           []*server
}

var _ lookup.LookupTable = (*Table)(nil)

// server is one that is asked.
type server struct {
	name   string
	client goredis.Cmdable
	close  func() error
	state  failover.Server
}

// New makes a table. The error says what is wrong with c; no server is asked yet.
func New(c Config) (*Table, error) {
	t := &Table{hashed: c.Hash != "", domains: c.Domains, timeout: cmp.Or(c.Timeout, 5*time.Second), retry: cmp.Or(c.Retry, time.Minute)}
	for _, part := range []struct {
		template *lookup.Template
		text     string
	}{{&t.key, cmp.Or(c.Key, "%s")}, {&t.hash, c.Hash}, {&t.result, cmp.Or(c.Result, "%s")}} {
		var err error
		if *part.template, err = lookup.ParseTemplate(part.text); err != nil {
			return nil, fmt.Errorf("redis table: %w", err)
		}
	}
	if c.Conns < 0 || c.DB < 0 || c.Timeout < 0 {
		return nil, errors.New("redis table: a number is negative")
	}
	for i, client := range c.Clients {
		t.servers = append(t.servers, &server{name: fmt.Sprintf("client %d", i+1), client: client, close: func() error { return nil }})
	}
	if t.servers != nil {
		return t, nil
	}
	if c.Servers == nil {
		c.Servers = []string{"localhost:6379"}
	}
	for _, address := range c.Servers {
		s, err := c.server(address, t.timeout)
		if err != nil {
			return nil, fmt.Errorf("redis table: %w", err)
		}
		t.servers = append(t.servers, s)
	}
	return t, nil
}

func (c *Config) server(address string, timeout time.Duration) (*server, error) {
	network := "tcp"
	path, unix := strings.CutPrefix(address, "unix:")
	if unix {
		network = "unix"
	}
	host, _, err := net.SplitHostPort(path)
	if err != nil && !unix {
		return nil, err
	}
	config := c.TLS
	if config != nil && config.ServerName == "" {
		config = config.Clone()
		config.ServerName = host
	}
	conns := cmp.Or(c.Conns, 10)
	client := goredis.NewClient(&goredis.Options{
		Network: network, Addr: path, Username: c.User, Password: c.Password, DB: c.DB, TLSConfig: config,
		Protocol: 2, DisableIdentity: true, MaxRetries: -1, ContextTimeoutEnabled: true,
		DialTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout, DialerRetries: 1,
		PoolSize: conns, MaxActiveConns: conns, MaxConcurrentDials: conns, PoolTimeout: timeout,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	return &server{name: address, client: client, close: client.Close}, nil
}

// Lookup asks the first server that answers.
func (t *Table) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	if key == "" {
		return "", false, nil
	}
	key = lookup.Fold(key)
	if asked, err := lookup.InDomains(ctx, t.domains, key); !asked || err != nil {
		return "", false, err
	}
	name, ok := t.key.Expand(key, key, asIs)
	hash, hashOK := t.hash.Expand(key, key, asIs)
	if !ok || !hashOK || !t.result.Answerable(key) {
		return "", false, nil
	}
	value, ok, err = t.ask(ctx, hash, name)
	if !ok || err != nil || value == "" { // as in SQL and LDAP, what is empty is no result
		return "", false, err
	}
	value, ok = t.result.Expand(value, key, asIs)
	return value, ok, nil
}

func asIs(s string) string { return s }

// ask asks one server after the other, without those that are left alone.
func (t *Table) ask(ctx context.Context, hash, name string) (value string, ok bool, err error) {
	var errs []error
	for i, s := range t.servers {
		turn, err := s.state.Take(t.retry)
		if err != nil {
			errs = append(errs, fmt.Errorf("%w, and is left alone", wrap(s, err)))
			continue
		}
		bounded, cancel := failover.Share(ctx, len(t.servers)-i)
		value, ok, err = t.askServer(bounded, s, hash, name)
		cancel()
		var reply goredis.Error
		switch {
		case err == nil, errors.As(err, &reply) && !cannotNow(reply):
			s.state.Succeeded()
			return value, ok, wrap(s, err)
		case ctx.Err() != nil: // who asks has given up, which says nothing
			return "", false, ctx.Err()
		case len(t.servers) > 1: // the only one is never left alone
			s.state.Failed(turn, t.retry, err)
		}
		errs = append(errs, wrap(s, err))
	}
	return "", false, errors.Join(errs...)
}

func wrap(s *server, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("redis table: %s: %w", s.name, err)
}

func (t *Table) askServer(ctx context.Context, s *server, hash, name string) (string, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	var cmd *goredis.StringCmd
	if t.hashed {
		cmd = s.client.HGet(ctx, hash, name)
	} else {
		cmd = s.client.Get(ctx, name)
	}
	value, err := cmd.Result()
	if errors.Is(err, goredis.Nil) {
		return "", false, nil
	}
	return value, err == nil, err
}

// cannotNow reports whether the server is there and cannot answer yet, or any more.
func cannotNow(reply error) bool {
	word, _, _ := strings.Cut(reply.Error(), " ")
	switch word {
	case "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "READONLY":
		return true
	}
	return strings.Contains(reply.Error(), "max number of clients")
}

// Close closes the connections. Lookups fail afterwards.
func (t *Table) Close() error {
	var errs []error
	for _, s := range t.servers {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

package ldap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/internal/failover"
)

// Table is a table in a directory.
type Table struct {
	config               Config
	base, filter, result lookup.Template
	attributes           []string // all that are asked for
	servers              []*server
	slots                chan struct{}

	mu     sync.Mutex
	open   int     // connections, those in use among them
	idle   []*link // in the order in which they were used last
	closed bool
}

var _ lookup.LookupTable = (*Table)(nil)

// New makes a table. The error says what is wrong with c; no server is asked yet.
func New(c Config) (*Table, error) {
	if c.Attributes == nil {
		c.Attributes = []string{"maildrop"}
	}
	if c.Servers == nil {
		c.Servers = []string{"ldap://localhost:389"}
	}
	if c.SizeLimit == 0 {
		c.SizeLimit = c.Limit
	}
	c.Filter, c.Result = cmp.Or(c.Filter, defaultFilter), cmp.Or(c.Result, "%s")
	c.Recursion, c.Conns = cmp.Or(c.Recursion, 1000), cmp.Or(c.Conns, 10)
	c.Timeout, c.Idle, c.Retry = cmp.Or(c.Timeout, 10*time.Second), cmp.Or(c.Idle, time.Minute), cmp.Or(c.Retry, time.Minute)
	t := &Table{config: c, attributes: slices.Concat(c.Attributes, c.Terminal, c.Leaf, c.Special)}
	if err := t.prepare(); err != nil {
		return nil, fmt.Errorf("ldap table: %w", err)
	}
	return t, nil
}

func (t *Table) prepare() (err error) {
	c := &t.config
	switch {
	case c.Conns < 0 || c.Recursion < 0 || c.Limit < 0 || c.Timeout < 0:
		return errors.New("a limit is negative")
	case c.Dereference < Never || c.Dereference > Always || c.Scope < Subtree || c.Scope > OneLevel || c.Bind < Simple || c.Bind > External:
		return errors.New("unknown Scope, Dereference or Bind")
	case len(t.attributes) == 0:
		return errors.New("no attributes")
	}
	for _, text := range c.Servers {
		s, err := parseServer(text)
		if err != nil {
			return err
		}
		if s.tls && c.StartTLS {
			return fmt.Errorf("server %q speaks TLS from the start: no StartTLS", text)
		}
		t.servers = append(t.servers, s)
	}
	if t.base, err = parseBase(c.Base); err != nil {
		return fmt.Errorf("base: %w", err)
	}
	if t.filter, err = parseFilter(c.Filter); err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	if t.result, err = lookup.ParseTemplate(c.Result); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	t.slots = make(chan struct{}, c.Conns)
	return nil
}

// Lookup asks the directory. The values of all attributes of all entries are joined
// with ",". The error wraps lookup.ErrExpansionLimit, ErrSizeLimit, ErrRecursionLimit, ErrURL,
// or what the servers or the network said.
func (t *Table) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	if key == "" || !utf8.ValidString(key) { // no attribute has what is no text
		return "", false, nil
	}
	key = lookup.Fold(key)
	if asked, err := lookup.InDomains(ctx, t.config.Domains, key); !asked || err != nil {
		return "", false, err
	}
	base, ok := t.base.Expand(key, key, escapeDN)
	filter, filterOK := t.filter.Expand(key, key, goldap.EscapeFilter)
	if !ok || !filterOK || !t.result.Answerable(key) {
		return "", false, nil
	}
	values, err := t.values(ctx, key, search{base: base, filter: filter, scope: t.config.Scope, attributes: t.attributes})
	if err != nil {
		return "", false, fmt.Errorf("ldap table: %w", err)
	}
	return strings.Join(values, ","), len(values) > 0, nil
}

// values asks one server after the other.
func (t *Table) values(ctx context.Context, key string, s search) ([]string, error) {
	if err := t.enter(ctx); err != nil {
		return nil, err
	}
	defer func() { <-t.slots }()
	var errs []error
	order, err := t.order()
	if err != nil {
		return nil, err
	}
	for i, server := range order {
		turn, err := server.state.Take(t.config.Retry)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", server, err))
			continue
		}
		bounded, cancel := failover.Share(ctx, len(order)-i)
		values, err := t.ask(bounded, server, &expansion{table: t, key: key}, s)
		cancel()
		switch {
		case err == nil:
			t.succeeded(server)
			return values, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case isAnswer(err):
			t.succeeded(server)
			if t.base.Expands() && goldap.IsErrorAnyOf(err, goldap.LDAPResultNoSuchObject, goldap.LDAPResultInvalidDNSyntax) {
				return nil, nil // the key's fault: there is no entry of that name
			}
			return nil, fmt.Errorf("%s: %w", server, err)
		}
		t.failed(server, turn, err)
		errs = append(errs, fmt.Errorf("%s: %w", server, err))
	}
	return nil, errors.Join(errs...)
}

// isAnswer reports whether the server is not to blame for an error.
func isAnswer(err error) bool {
	for _, own := range []error{lookup.ErrExpansionLimit, ErrRecursionLimit, ErrSizeLimit, ErrURL, errValue} {
		if errors.Is(err, own) {
			return true
		}
	}
	said := (*goldap.Error)(nil)
	return errors.As(err, &said) && said.Packet != nil && said.ResultCode < goldap.ErrorNetwork &&
		!goldap.IsErrorAnyOf(err, goldap.LDAPResultBusy, goldap.LDAPResultUnavailable)
}

// ask asks one server. A kept connection may be dead: then another is tried.
func (t *Table) ask(ctx context.Context, s *server, e *expansion, q search) ([]string, error) {
	for e.link = t.take(s); e.link != nil; e.link = t.take(s) {
		err := t.with(ctx, e, q)
		if err == nil || isAnswer(err) || ctx.Err() != nil || errors.Is(err, errMessage) {
			return e.values, err
		}
		e.values, e.searches = nil, 0
	}
	if err := t.reserve(); err != nil {
		return nil, err
	}
	dialing, cancel := context.WithTimeout(ctx, t.config.Timeout)
	defer cancel()
	l, err := t.config.dial(dialing, s)
	if err != nil {
		t.release()
		return nil, fmt.Errorf("connect: %v", err) // its result code is no answer to a search
	}
	e.link = l
	return e.values, t.with(ctx, e, q)
}

// with uses a connection and keeps it, when nothing is left on it.
func (t *Table) with(ctx context.Context, e *expansion, q search) error {
	e.link.guard.reset()
	err := e.run(ctx, q, 0)
	said := (*goldap.Error)(nil)
	if err == nil || errors.As(err, &said) && said.Packet != nil && isAnswer(err) {
		t.keep(e.link)
		return err
	}
	e.link.close()
	t.release()
	return err
}

// enter waits until there may be one lookup more.
func (t *Table) enter(ctx context.Context) error {
	select {
	case t.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// order returns the servers that are not left alone.
func (t *Table) order() ([]*server, error) {
	var order []*server
	var errs []error
	for _, s := range t.servers {
		if err := s.state.Resting(); err != nil {
			errs = append(errs, fmt.Errorf("%s: has failed and is left alone: %w", s, err))
			continue
		}
		order = append(order, s)
	}
	if order == nil {
		return nil, errors.Join(errs...)
	}
	return order, nil
}

func (t *Table) succeeded(s *server) {
	if s.state.Succeeded() && t.config.Logger != nil {
		t.config.Logger.Info("ldap server is back", "server", s.String())
	}
}

// failed notes that a server is to be left alone, which the only one never is.
func (t *Table) failed(s *server, turn int, err error) {
	if len(t.servers) > 1 && s.state.Failed(turn, t.config.Retry, err) && t.config.Logger != nil {
		t.config.Logger.Warn("ldap server has failed", "server", s.String(), "retry", t.config.Retry, "error", err)
	}
}

// take returns the connection to a server that was used last, nil when there is
// none. Those that are dead or have been idle for too long are closed.
func (t *Table) take(s *server) (found *link) {
	t.mu.Lock()
	var old []*link
	t.idle = slices.DeleteFunc(t.idle, func(l *link) bool {
		stale := l.IsClosing() || time.Since(l.since) > t.config.Idle
		if stale {
			old = append(old, l)
		}
		return stale
	})
	for i, l := range slices.Backward(t.idle) {
		if l.server == s {
			found, t.idle = l, slices.Delete(t.idle, i, i+1)
			break
		}
	}
	t.open -= len(old)
	t.mu.Unlock()
	for _, l := range old {
		l.close()
	}
	return found
}

// reserve makes room for one connection more: one that nobody uses goes. There is
// one when there is no room, for no more lookups are under way than connections allowed.
func (t *Table) reserve() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return net.ErrClosed
	}
	if t.open >= t.config.Conns {
		t.idle[0].close()
		t.idle = t.idle[1:]
		t.open--
	}
	t.open++
	return nil
}

func (t *Table) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open--
}

func (t *Table) keep(l *link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		t.open--
		l.close()
		return
	}
	l.since = time.Now()
	t.idle = append(t.idle, l)
}

// Close closes the connections that nobody uses, and each of the others after its
// answer. Lookups fail afterwards.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, l := range t.idle {
		l.close()
	}
	t.open -= len(t.idle)
	t.idle = nil
	return nil
}

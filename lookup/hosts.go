package lookup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/mtakit/mtakit/lookup/internal/failover"
)

// errHostsClosed is what is asked of SQLHosts after Close.
var errHostsClosed = errors.New("the hosts are closed")

// SQLHosts is one database that several hosts have: the hosts of
// mysql_table(5). It is a Querier that asks the hosts one after the other until
// one answers, sockets before networks, at random among several of a kind.
//
// A host that fails is left alone for a while; then one lookup tries it, and it
// is back for all when it answers. While all of them are left alone, lookups
// fail at once. A host has failed when it does not answer in its share of the
// time that is left, or when a query fails and a ping after that does too. One
// that answers the ping has not failed: the next host is asked since it may
// have what this one lacks, but a table whose query is wrong takes no host away
// from others. When there is but one host it is never left alone, and asked
// once more at once: what stands behind its name may be several.
//
// It may be asked from any number of goroutines at once. Close it at the end.
type SQLHosts struct {
	// Hosts are where the database is. Required.
	Hosts []Host
	// Open opens the database of a host, without connecting to it: sql.Open or
	// sql.OpenDB. It is called for each host when that is first asked, and again
	// after it failed. Required.
	Open func(ctx context.Context, h Host) (*sql.DB, error)
	// MaxConns is how many connections to one host there may be. Lookups wait
	// for one. 0 means what Open has set, and 10 where Open has set none.
	MaxConns int
	// Retry is how long a failed host is left alone. 0 means 60 seconds.
	Retry time.Duration
	// Idle is how long a connection may be unused before it is closed. 0 means
	// 60 seconds.
	Idle time.Duration
	// Logger is told of hosts that fail and come back. nil means nobody is.
	Logger *slog.Logger

	mu     sync.Mutex
	hosts  []*sqlHost
	closed bool
}

// sqlHost is a host with its database, which is under the lock of its SQLHosts.
type sqlHost struct {
	Host
	state   failover.Server
	opening sync.Mutex
	db      *sql.DB // nil until it was opened
}

// QueryContext asks the hosts until one answers the query. Reading the rows may
// still fail, which is nothing that another host is asked for; a table asks
// another one then too.
func (h *SQLHosts) QueryContext(ctx context.Context, query string, args ...any) (rows *sql.Rows, err error) {
	err = h.attempt(ctx, func(_ context.Context, db Querier) (err error) {
		rows, err = db.QueryContext(ctx, query, args...)
		return err
	})
	return rows, err
}

// attempt calls ask with one host after the other until it returns no error.
func (h *SQLHosts) attempt(ctx context.Context, ask func(context.Context, Querier) error) error {
	order, err := h.order()
	if err != nil {
		return err
	}
	var errs []error
	for i, host := range order {
		err := h.askHost(ctx, host, len(order)-i, ask)
		if err == nil || isAnswer(err) {
			return err
		}
		err = fmt.Errorf("%s: %w", host, err)
		// The only host, which is asked twice, mostly says the same.
		if len(errs) == 0 || errs[len(errs)-1].Error() != err.Error() {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// isAnswer reports whether the host is not to blame for an error.
func isAnswer(err error) bool { return errors.Is(err, ErrExpansionLimit) }

// order returns the hosts in the order in which they are asked. The only host
// stands there twice.
func (h *SQLHosts) order() ([]*sqlHost, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errHostsClosed
	}
	if len(h.Hosts) == 0 || h.Open == nil {
		return nil, errors.New("no hosts, or nothing that opens them")
	}
	if h.hosts == nil {
		for _, host := range h.Hosts {
			h.hosts = append(h.hosts, &sqlHost{Host: host})
		}
	}
	if len(h.Hosts) == 1 {
		return []*sqlHost{h.hosts[0], h.hosts[0]}, nil
	}
	return h.preferred()
}

// preferred returns the hosts that are not left alone, best first.
func (h *SQLHosts) preferred() ([]*sqlHost, error) {
	var sockets, others []*sqlHost
	var errs []error
	for _, host := range h.hosts {
		resting := host.state.Resting()
		switch {
		case resting != nil:
			errs = append(errs, fmt.Errorf("%s: has failed and is left alone: %w", host, resting))
		case host.Network == "unix":
			sockets = append(sockets, host)
		default:
			others = append(others, host)
		}
	}
	for _, kind := range [][]*sqlHost{sockets, others} {
		rand.Shuffle(len(kind), func(i, j int) { kind[i], kind[j] = kind[j], kind[i] })
	}
	if order := append(sockets, others...); order != nil {
		return order, nil
	}
	return nil, errors.Join(errs...)
}

// askHost calls ask with a host, which may use one of the shares of the time
// that is left.
func (h *SQLHosts) askHost(ctx context.Context, host *sqlHost, shares int, ask func(context.Context, Querier) error) error {
	turn, err := host.state.Take(orMinute(h.Retry))
	if err != nil {
		return err
	}
	if len(h.Hosts) == 1 {
		shares = 1
	}
	bounded, cancel := failover.Share(ctx, shares)
	defer cancel()
	db, err := h.open(bounded, host)
	if err == nil {
		err = ask(bounded, db)
	}
	switch {
	case err == nil, isAnswer(err):
		h.succeeded(host)
	case ctx.Err() != nil: // who asks has given up, which says nothing
	case db != nil && bounded.Err() == nil && db.PingContext(bounded) == nil:
		h.succeeded(host)
	default:
		h.failed(host, turn, err)
	}
	return err
}

// orMinute returns d, or a minute if it is 0.
func orMinute(d time.Duration) time.Duration {
	if d == 0 {
		return time.Minute
	}
	return d
}

// open returns the database of a host.
func (h *SQLHosts) open(ctx context.Context, host *sqlHost) (*sql.DB, error) {
	host.opening.Lock()
	defer host.opening.Unlock()
	if db, err := h.opened(host); db != nil || err != nil {
		return db, err
	}
	db, err := h.Open(ctx, host.Host)
	if err != nil {
		return nil, err
	}
	h.limit(db)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errors.Join(errHostsClosed, db.Close())
	}
	host.db = db
	return db, nil
}

func (h *SQLHosts) opened(host *sqlHost) (*sql.DB, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, errHostsClosed
	}
	return host.db, nil
}

// limit sets how many connections a database may have. Those that were made are
// kept: lookups come in crowds.
func (h *SQLHosts) limit(db *sql.DB) {
	most := h.MaxConns
	if most == 0 {
		most = db.Stats().MaxOpenConnections
	}
	if most == 0 {
		most = 10
	}
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most)
	db.SetConnMaxIdleTime(orMinute(h.Idle))
}

func (h *SQLHosts) succeeded(host *sqlHost) {
	if host.state.Succeeded() && h.Logger != nil {
		h.Logger.Info("sql host is back", "host", host.String())
	}
}

// failed notes that a host is to be left alone.
func (h *SQLHosts) failed(host *sqlHost, turn int, err error) {
	if len(h.Hosts) == 1 {
		return
	}
	retry := orMinute(h.Retry)
	if host.state.Failed(turn, retry, err) && h.Logger != nil {
		h.Logger.Warn("sql host has failed", "host", host.String(), "retry", retry, "error", err)
	}
}

// Close closes the databases of all hosts. Who asks after that is told an
// error.
func (h *SQLHosts) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	var errs []error
	for _, host := range h.hosts {
		if host.db != nil {
			errs = append(errs, host.db.Close())
		}
	}
	return errors.Join(errs...)
}

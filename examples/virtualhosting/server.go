package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/maildir"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/filespool"
	"github.com/mtakit/mtakit/queue/relay"
	"github.com/mtakit/mtakit/smtpserver"
	"github.com/mtakit/mtakit/tlsutil"
)

// shutdownTime is how long transactions and deliveries may take to end.
const shutdownTime = 15 * time.Second

// server is everything that is open. wire, in main.go, draws the lines between
// its parts.
type server struct {
	dir    string
	logger *slog.Logger
	tables *tables
	pair   *tlsutil.Pair
	mail   *os.Root
	spool  *filespool.Spool

	manager          *queue.Manager
	virtual          *maildir.Agent
	remote           *relay.Agent
	smtp, submission port
}

// port is a server and where it listens.
type port struct {
	*smtpserver.Server
	net.Listener
}

func (p *port) serve() error { return p.Server.Serve(p.Listener) }

// open makes ready all that can fail, so that a server which says that it is
// ready is. A database that is down is no reason to fail: it will be back.
func open(ctx context.Context, c config, logger *slog.Logger, observer mtakit.Observer) (*server, error) {
	s := &server{logger: logger}
	if err := s.open(ctx, c, observer); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *server) open(ctx context.Context, c config, observer mtakit.Observer) (err error) {
	if s.dir, err = filepath.Abs(c.dir); err != nil {
		return err
	}
	if c.mail == "" {
		c.mail = filepath.Join(s.dir, "mail")
	}
	if err = errors.Join(os.MkdirAll(s.dir, 0o700), os.MkdirAll(c.mail, 0o711)); err != nil {
		return err
	}
	if s.mail, err = os.OpenRoot(c.mail); err != nil {
		return err
	}
	if s.tables, err = openTables(c, filepath.Join(s.dir, "mail.db"), s.logger); err != nil {
		return err
	}
	if c.init || c.mysql == "" && c.cf == "" {
		if err = s.tables.create(ctx); err != nil {
			return err
		}
	} else if err := s.tables.db.PingContext(ctx); err != nil {
		s.logger.Warn("the database does not answer yet", "error", err)
	}
	if s.pair, err = tlsutil.EnsureServer(filepath.Join(s.dir, "tls"), c.hostname, "localhost", "127.0.0.1", "::1"); err != nil {
		return err
	}
	if s.spool, err = filespool.Open(filepath.Join(s.dir, "queue"), filespool.Options{Logger: s.logger}); err != nil {
		if errors.Is(err, queue.ErrLocked) {
			return fmt.Errorf("another server uses %s: stop it, or choose another -dir", s.dir)
		}
		return err
	}
	s.wire(c, s.tables, observer)
	if s.smtp.Listener, err = net.Listen("tcp", c.smtp); err != nil {
		return fmt.Errorf("-smtp %s: %w", c.smtp, err)
	}
	if s.submission.Listener, err = net.Listen("tcp", c.submission); err != nil {
		return fmt.Errorf("-submission %s: %w", c.submission, err)
	}
	return nil
}

// serve runs until ctx ends, and then brings everything to rest.
func (s *server) serve(ctx context.Context) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	failed := make(chan error, 2)
	var group sync.WaitGroup
	group.Go(func() { s.manager.Serve(background) })
	group.Go(func() { failed <- s.smtp.serve() })
	group.Go(func() { failed <- s.submission.serve() })
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	err = errors.Join(err, s.shutdown())
	stop()
	group.Wait()
	return errors.Join(err, s.close())
}

// shutdown lets what is under way come to its end: first nothing comes in any
// more, then nothing goes out.
func (s *server) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	var group sync.WaitGroup
	for _, p := range []*smtpserver.Server{s.smtp.Server, s.submission.Server} {
		group.Go(func() {
			if p.Shutdown(ctx) != nil {
				p.Close()
			}
		})
	}
	group.Wait()
	if err := s.manager.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// close gives everything free, whatever of it is open.
func (s *server) close() error {
	var errs []error
	for _, p := range []port{s.smtp, s.submission} {
		if p.Listener != nil {
			p.Listener.Close() // the server that had it has closed it already
		}
	}
	if s.remote != nil {
		errs = append(errs, s.remote.Close(), s.virtual.Close())
	}
	if s.spool != nil {
		errs = append(errs, s.spool.Close())
	}
	if s.tables != nil {
		errs = append(errs, s.tables.db.Close())
	}
	if s.mail != nil {
		errs = append(errs, s.mail.Close())
	}
	return errors.Join(errs...)
}

func newLogger(format string, w io.Writer) *slog.Logger {
	if format == "off" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

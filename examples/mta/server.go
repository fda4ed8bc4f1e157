package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/maildir"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/control"
	"github.com/mtakit/mtakit/queue/filespool"
	"github.com/mtakit/mtakit/queue/relay"
	"github.com/mtakit/mtakit/queue/verify"
	"github.com/mtakit/mtakit/smtpserver"
	"github.com/mtakit/mtakit/tlsutil"
)

// shutdownTime is how long transactions and deliveries may take to end.
const shutdownTime = 15 * time.Second

// renewBefore is how long before its end the certificate of our CA is replaced.
const renewBefore = 30 * 24 * time.Hour

// server is everything that is open. wire, in main.go, draws the lines between
// its parts.
type server struct {
	dir      string
	logger   *slog.Logger
	tables   *tables
	tls      *tlsutil.Dir
	pair     *tlsutil.Pair
	mail     *os.Root
	spool    *filespool.Spool
	counters counters

	manager  *queue.Manager
	maildrop *queue.Maildrop
	control  *control.Server
	local    *maildir.Agent
	remote   *relay.Agent
	verified *verify.Cache
	// The ports: mail from everywhere, and mail of users who logged in.
	inbound, submission *smtpserver.Server
	inboundListener     net.Listener
	submissionListener  net.Listener
	metricsListener     net.Listener
	controlListener     net.Listener
	further             sync.WaitGroup            // of listenAs
	check               func(ctx context.Context) // warns of what the tables say that cannot work
}

// open makes ready all that can fail, so that a server which says that it is
// ready is.
func open(c config, logger *slog.Logger, observers ...mtakit.Observer) (*server, error) {
	s := &server{logger: logger}
	if err := s.open(c, observers); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *server) open(c config, observers []mtakit.Observer) (err error) {
	if s.dir, err = prepare(c.dir); err != nil {
		return err
	}
	if s.tables, err = openTables(filepath.Join(s.dir, "etc"), c.runs != nil, s.logger); err != nil {
		return err
	}
	s.tls = &tlsutil.Dir{Path: filepath.Join(s.dir, "tls"), Names: []string{c.hostname, "localhost", "127.0.0.1", "::1"}, Logger: s.logger}
	if s.pair, err = s.tls.Open(); err != nil {
		return err
	}
	if s.mail, err = os.OpenRoot(filepath.Join(s.dir, "mail")); err != nil {
		return err
	}
	if s.spool, err = filespool.Open(filepath.Join(s.dir, "queue"), filespool.Options{SyncFS: c.wholeSyncs(s.dir), Logger: s.logger}); err != nil {
		if errors.Is(err, queue.ErrLocked) {
			return fmt.Errorf("another mta uses %s: stop it, or choose another -dir", s.dir)
		}
		return err
	}
	s.wire(c, s.tables, tee(append(observers, &s.counters)))
	s.check(context.Background())
	return s.listen(c)
}

// listen opens the ports.
func (s *server) listen(c config) (err error) {
	for _, port := range []struct {
		listener *net.Listener
		flag     string
		addr     string
	}{{&s.inboundListener, "smtp", c.smtp}, {&s.submissionListener, "submission", c.submission}, {&s.metricsListener, "metrics", c.metrics}} {
		if port.addr == "" {
			continue
		}
		if *port.listener, err = net.Listen("tcp", port.addr); err != nil {
			return fmt.Errorf("-%s %s: %w", port.flag, port.addr, err)
		}
	}
	if c.control == "" {
		return nil
	}
	path := c.control
	if !filepath.IsAbs(path) {
		path = filepath.Join(s.dir, path)
	}
	// Open for all: who may do what is for the tables to say.
	if s.controlListener, err = control.Listen(path, 0o666); err != nil {
		return fmt.Errorf("-control: %w", err)
	}
	return nil
}

func (s *server) smtpAddr() string { return s.inboundListener.Addr().String() }

// submissionAddr is "" when the port is off.
func (s *server) submissionAddr() string {
	if s.submissionListener == nil {
		return ""
	}
	return s.submissionListener.Addr().String()
}

// listenAs opens a further port whose clients seem to come from another address.
func (s *server) listenAs(client netip.Addr) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s.further.Go(func() { s.inbound.Serve(strangers{Listener: l, from: client}) })
	return l.Addr().String(), nil
}

// serve runs until ctx ends, and then brings everything to rest.
func (s *server) serve(ctx context.Context) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	failed := make(chan error, 4)
	var group sync.WaitGroup
	group.Go(func() { s.manager.Serve(background) })
	group.Go(func() { s.maildrop.Serve(background) })
	group.Go(func() { s.housekeeping(background) })
	group.Go(func() { failed <- s.inbound.Serve(s.inboundListener) })
	if s.submissionListener != nil {
		group.Go(func() { failed <- s.submission.Serve(s.submissionListener) })
	}
	if s.controlListener != nil {
		group.Go(func() { failed <- s.control.Serve(background, s.controlListener) })
	}
	if s.metricsListener != nil {
		group.Go(func() { serveMetrics(background, s.metricsListener, &s.counters) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	err = errors.Join(err, s.shutdown())
	stop()
	group.Wait()
	s.further.Wait()
	return errors.Join(err, s.close())
}

// shutdown lets what is under way come to its end: first nothing comes in any
// more, then nothing goes out.
func (s *server) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	var group sync.WaitGroup
	for _, port := range []*smtpserver.Server{s.inbound, s.submission} {
		group.Go(func() {
			if port.Shutdown(ctx) != nil {
				port.Close()
			}
		})
	}
	group.Go(func() {
		if s.control.Shutdown(ctx) != nil {
			s.control.Close()
		}
	})
	group.Wait()
	s.verified.Close()
	if err := s.manager.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// housekeeping reads everything again at SIGHUP, and renews the certificate.
func (s *server) housekeeping(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	day := time.NewTicker(24 * time.Hour)
	defer day.Stop()
	for {
		if _, err := s.tls.Renew(renewBefore); err != nil {
			s.logger.ErrorContext(ctx, "certificate not renewed", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-day.C:
		case <-hup:
			s.reload(ctx)
		}
	}
}

func (s *server) reload(ctx context.Context) {
	s.logger.InfoContext(ctx, "reading tables and certificates again")
	if err := errors.Join(s.tables.reload(ctx), s.pair.Reload()); err != nil {
		s.logger.ErrorContext(ctx, "what could not be read stays as it was", "error", err)
	}
	s.check(ctx)
}

// ours says whether mail is from somebody whom we owe a word about delays: who
// logged in, is in networks, or left it in the maildrop.
func (s *server) ours(e *mtakit.Envelope) bool {
	client := e.Client.Addr.Addr()
	if e.Client.Login != "" || !client.IsValid() {
		return true
	}
	_, ok, err := s.tables.networks.Lookup(context.Background(), client.String())
	return ok && err == nil
}

// close gives everything free. It may be called more than once.
func (s *server) close() error {
	var errs []error
	for _, l := range []*net.Listener{&s.inboundListener, &s.submissionListener, &s.metricsListener, &s.controlListener} {
		if *l != nil {
			(*l).Close() // it may be closed already by the server that had it
			*l = nil
		}
	}
	if s.remote != nil {
		errs = append(errs, s.remote.Close())
	}
	if s.local != nil {
		errs = append(errs, s.local.Close())
	}
	if s.spool != nil {
		errs = append(errs, s.spool.Close())
		s.spool = nil
	}
	if s.mail != nil {
		errs = append(errs, s.mail.Close())
	}
	return errors.Join(errs...)
}

// tee makes one observer of several.
func tee(observers []mtakit.Observer) mtakit.Observer {
	return mtakit.ObserverFunc(func(ctx context.Context, e mtakit.Event) {
		for _, o := range observers {
			o.Observe(ctx, e)
		}
	})
}

func newLogger(format string, w io.Writer) *slog.Logger {
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, nil))
	case "off":
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

// relayhost turns the flag's HOST:PORT into a next hop whose MX is not asked for.
func relayhost(hostPort string) string {
	if hostPort == "" {
		return ""
	}
	host, port, _ := net.SplitHostPort(hostPort) // parseFlags has tried it
	return fmt.Sprintf("[%s]:%s", host, port)
}

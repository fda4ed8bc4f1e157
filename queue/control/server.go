package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Submitter takes mail from local programs: *queue.Maildrop does. It must check
// what it is given: anybody may have written it.
type Submitter interface {
	// Submit reads a submission, in the format of queue.Maildrop, from the user
	// with this ID, and returns the queue ID of the message. A 5xx reply, or an
	// error that wraps ErrRefused or queue.ErrSubmission, refuses it for good; any
	// other error for now. An ID of "" without an error means that it was thrown away.
	Submit(ctx context.Context, uid int, r io.Reader) (id string, err error)
}

// SubmitterFunc is a function that is a Submitter.
type SubmitterFunc func(ctx context.Context, uid int, r io.Reader) (id string, err error)

// Submit calls f.
func (f SubmitterFunc) Submit(ctx context.Context, uid int, r io.Reader) (string, error) {
	return f(ctx, uid, r)
}

// Server lets local users look at a queue and change it, through a unix socket.
// Who they are is what the kernel says. Its exported fields are not changed once
// it is in use.
type Server struct {
	Local // what it works on

	// Submitter takes mail; nil means that none is taken here.
	Submitter Submitter
	// Verifier answers what would become of mail, for those who may submit it, one
	// address at a time for each user; nil means that nobody does.
	Verifier Verifier
	// MaySubmit, MayList and MayFlush are who may do these, as Postfix's
	// authorized_submit_users, authorized_mailq_users and authorized_flush_users.
	// nil means everybody. Root, and the user that the server runs as, may do
	// everything, and nobody else may do anything else.
	MaySubmit, MayList, MayFlush Table
	// Connections is how many connections each user may have at a time, but root
	// and the server's own; four times as many all of them together. Zero means 8.
	Connections int
	// Logger is told of what is changed, by whom, and of what is denied; nil is
	// silent.
	Logger *slog.Logger

	once  sync.Once
	http  http.Server
	stall time.Duration // stallTime

	mu      sync.Mutex
	ended   bool
	calls   sync.WaitGroup
	listing map[int]bool // users that have a listing under way
}

const (
	// headerTime, idleTime: how long a peer may take for the head of a request, and
	// between two requests.
	headerTime, idleTime = 10 * time.Second, 60 * time.Second
	// stallTime is how long a peer may not read, or not write what it announced.
	stallTime = 30 * time.Second
	// listTime is how long a listing may take, for users without privileges.
	listTime = 10 * time.Minute
	// listings is how many such users may have one at a time. While it lasts, the
	// spool remembers what is still to be listed.
	listings = 4
)

func (s *Server) setup() {
	s.once.Do(func() {
		s.stall = cmp.Or(s.stall, stallTime)
		mux := http.NewServeMux()
		mux.Handle("POST /v1/list", s.serve(table(s.MayList), s.list))
		mux.Handle("POST /v1/show", s.serve(nobody, s.show))
		mux.Handle("POST /v1/do/flush", s.serve(table(s.MayFlush), s.do))
		mux.Handle("POST /v1/do/{operation}", s.serve(nobody, s.do))
		mux.Handle("POST /v1/flush", s.serve(table(s.MayFlush), s.flush))
		mux.Handle("POST /v1/check", s.serve(nobody, s.check))
		mux.Handle("POST /v1/damaged", s.serve(nobody, s.damaged))
		mux.Handle("POST /v1/verify", s.serve(table(s.MaySubmit), s.verify))
		mux.Handle("POST /v1/submit", s.serve(table(s.MaySubmit), s.submit))
		s.http = http.Server{
			Handler: mux, ConnContext: withPeer, MaxHeaderBytes: 8 << 10,
			ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, ReadTimeout: s.stall, WriteTimeout: s.stall,
			ErrorLog: slog.NewLogLogger(s.log().Handler(), slog.LevelWarn),
		}
	})
}

// Serve answers on a listener made by Listen until ctx ends or Shutdown or Close
// is called, and returns nil when everything has come to rest. It is called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.setup()
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		select {
		case <-ctx.Done():
			_ = s.http.Close()
		case <-stop:
		}
	})
	each := cmp.Or(s.Connections, 8)
	err := s.http.Serve(&crowd{Listener: l, each: each, all: 4 * each})
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	} else {
		_ = s.http.Close()
	}
	close(stop)
	group.Wait()
	s.rest()
	return err
}

// Shutdown takes no further requests and waits for those under way. The error is
// ctx's, or nil.
func (s *Server) Shutdown(ctx context.Context) error {
	s.setup()
	return s.http.Shutdown(ctx)
}

// Close cuts all connections.
func (s *Server) Close() error {
	s.setup()
	return s.http.Close()
}

// enter is called before a request is dealt with, and leave after it.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.calls.Add(1)
	}
	return !s.ended
}

// rest waits for requests under way, and lets no more begin.
func (s *Server) rest() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.calls.Wait()
}

// allowed says whether a peer without privileges may do something.
type allowed func(ctx context.Context, p Peer) error

func nobody(_ context.Context, p Peer) error {
	return fmt.Errorf("%w for %s: that is for root, and the user that the server runs as", ErrDenied, p.Name())
}

func table(t Table) allowed {
	return func(ctx context.Context, p Peer) error {
		if t == nil {
			return nil
		}
		_, ok, err := t.Lookup(ctx, p.Name())
		switch {
		case err != nil:
			return fmt.Errorf("%w: it cannot be found out what %s may do: %w", ErrTemporary, p.Name(), err)
		case !ok:
			return fmt.Errorf("%w for %s", ErrDenied, p.Name())
		}
		return nil
	}
}

// call is a request and its answer.
type call struct {
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	peer    Peer
	stall   time.Duration // how long the peer may not read or write
}

// serve makes a handler of f, for those who may. What f returns is an error that
// has not been told the peer yet.
func (s *Server) serve(may allowed, f func(context.Context, *call) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{w: w, r: r, control: http.NewResponseController(w), stall: s.stall}
		if !s.enter() {
			w.Header().Set("Connection", "close")
			c.fail(fmt.Errorf("%w: the server is shutting down", ErrTemporary))
			return
		}
		defer s.calls.Done()
		var err error
		if c.peer, err = peerOf(r.Context()); err == nil && !c.peer.privileged() {
			err = may(r.Context(), c.peer)
		}
		if err == nil {
			err = f(r.Context(), c)
		}
		if err == nil {
			return
		}
		if f := fail(err); f.Kind == "denied" || f.Kind == "failed" {
			s.log().Warn("control", "request", r.URL.Path, "uid", c.peer.UID, "error", err)
		}
		c.fail(err)
	})
}

// begin keeps a place for a listing, which ends with done.
func (s *Server) begin(ctx context.Context, p Peer) (_ context.Context, done func(), err error) {
	if p.privileged() {
		return ctx, func() {}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listing[p.UID] || len(s.listing) >= listings {
		return ctx, nil, fmt.Errorf("%w: there are listings under way", ErrTemporary)
	}
	if s.listing == nil {
		s.listing = make(map[int]bool)
	}
	s.listing[p.UID] = true
	ctx, cancel := context.WithTimeout(ctx, listTime)
	return ctx, func() {
		cancel()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.listing, p.UID)
	}, nil
}

func (s *Server) log() *slog.Logger {
	if s.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Logger
}

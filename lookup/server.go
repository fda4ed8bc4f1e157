package lookup

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Protocol is what a Server speaks.
type Protocol int

const (
	// SocketmapProtocol is that of socketmap_table(5): tables have names.
	SocketmapProtocol Protocol = iota
	// TCPProtocol is that of tcp_table(5): there is one table, under the name "".
	TCPProtocol
)

// Server lets other programs ask tables: Postfix by "socketmap:inet:127.0.0.1:2527:name"
// or "tcp:127.0.0.1:2528". Who may connect is for the listener to say; tables of
// passwords are not for it. It must not be copied after its first use.
type Server struct {
	Tables   map[string]LookupTable // by their names; a nil table cannot answer
	Protocol Protocol               // 0 means SocketmapProtocol
	Timeout  time.Duration          // of one lookup; 0 means 30 seconds
	Idle     time.Duration          // how long a client may say nothing, or not take its answer; 0 means 5 minutes
	Conns    int                    // the most clients at a time, the next is not accepted before one leaves; 0 means 200
	Logger   *slog.Logger           // is told of tables that cannot answer; nil means silence

	mu        sync.Mutex
	closing   bool
	listeners map[net.Listener]bool
	conns     map[net.Conn]bool // true while a question is answered
	group     sync.WaitGroup
	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
}

// Serve accepts clients until Shutdown or Close, and then returns net.ErrClosed.
func (s *Server) Serve(l net.Listener) error {
	if !s.enter(l) {
		return errors.Join(net.ErrClosed, l.Close())
	}
	defer s.leave(l)
	slots := make(chan struct{}, orElse(s.Conns, 200))
	for {
		select {
		case slots <- struct{}{}:
		case <-s.ctx.Done():
			return net.ErrClosed
		}
		conn, err := s.accept(l)
		if err != nil {
			return s.acceptError(err)
		}
		if !s.add(conn) {
			conn.Close()
			return net.ErrClosed
		}
		go func() {
			defer func() { <-slots }()
			s.serve(conn)
		}()
	}
}

// accept waits for a client. Running out of descriptors passes, so it tries again
// after a while.
func (s *Server) accept(l net.Listener) (net.Conn, error) {
	for delay := 5 * time.Millisecond; ; delay = min(2*delay, time.Second) {
		conn, err := l.Accept()
		temporary, ok := errors.AsType[interface {
			error
			Temporary() bool
		}](err)
		if err == nil || !ok || !temporary.Temporary() {
			return conn, err
		}
		if s.Logger != nil {
			s.Logger.Error("table client cannot be accepted", "error", err, "retry", delay)
		}
		select {
		case <-time.After(delay):
		case <-s.ctx.Done():
			return nil, err
		}
	}
}

func (s *Server) acceptError(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return net.ErrClosed
	}
	return err
}

func (s *Server) enter(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listeners == nil {
		s.listeners, s.conns = map[net.Listener]bool{}, map[net.Conn]bool{}
		s.ctx, s.cancel = context.WithCancel(context.Background())
	}
	if !s.closing {
		s.listeners[l] = true
	}
	return !s.closing
}

func (s *Server) leave(l net.Listener) {
	l.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

func (s *Server) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.conns[conn] = false
	s.group.Add(1)
	return true
}

// serve answers one client after the other of its questions.
func (s *Server) serve(conn net.Conn) {
	defer s.group.Done()
	defer s.drop(conn)
	in := bufio.NewReader(conn)
	idle := orElse(s.Idle, 5*time.Minute)
	for {
		if conn.SetReadDeadline(time.Now().Add(idle)) != nil {
			return
		}
		question, err := s.read(in)
		if err != nil {
			if !errors.Is(err, io.EOF) && s.Logger != nil {
				s.Logger.Debug("table client", "client", conn.RemoteAddr().String(), "error", err)
			}
			return
		}
		if !s.busy(conn, true) {
			return
		}
		answer := s.answer(question)
		if conn.SetWriteDeadline(time.Now().Add(idle)) != nil {
			return
		}
		_, err = conn.Write(answer)
		if err != nil || !s.busy(conn, false) {
			return
		}
	}
}

func (s *Server) read(in *bufio.Reader) (string, error) {
	if s.Protocol == TCPProtocol {
		return readTCPLine(in)
	}
	return readNetstring(in)
}

func (s *Server) answer(question string) []byte {
	ctx, cancel := context.WithTimeout(s.ctx, orElse(s.Timeout, 30*time.Second))
	defer cancel()
	answer := answerSocketmap
	if s.Protocol == TCPProtocol {
		answer = answerTCP
	}
	reply, err := answer(ctx, s.Tables, question)
	if err != nil && s.Logger != nil {
		s.Logger.Warn("table client", "question", quoteShort(question), "error", err)
	}
	if s.Protocol == TCPProtocol {
		return []byte(reply)
	}
	return netstring(reply)
}

// busy notes whether a client waits for an answer, and is false when it is not to
// go on.
func (s *Server) busy(conn net.Conn, busy bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[conn] = busy
	return !s.closing
}

func (s *Server) drop(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// Shutdown accepts nobody any more, closes the connections of those who ask
// nothing, and waits until the others have their answers, or ctx ends, which is the
// error then.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop(false)
	done := make(chan struct{})
	go func() {
		s.group.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.stop(true)
		<-done
		return ctx.Err()
	}
}

// Close ends everything at once, and waits for it.
func (s *Server) Close() error {
	s.stop(true)
	s.group.Wait()
	return nil
}

// stop closes listeners, and connections: those of waiting clients too, when all
// is true.
func (s *Server) stop(all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for l := range s.listeners {
		l.Close()
	}
	for conn, busy := range s.conns {
		if all || !busy {
			conn.Close()
		}
	}
	if s.cancel != nil && (all || len(s.conns) == 0) {
		s.cancel()
	}
}

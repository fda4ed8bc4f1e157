// Package failover keeps in mind which of several servers of a table have failed, so that
// they are left alone for a while.
//
// A server that has failed is left alone; then one lookup tries it, while others go on
// leaving it alone, and it is back for all when it answers.
package failover

import (
	"context"
	"sync"
	"time"
)

// Server is the state of one server. The zero value has not failed.
type Server struct {
	mu     sync.Mutex
	failed error     // why it is left alone; nil when it is not
	until  time.Time // when it may be tried again
	back   int       // how often it has come back
}

// Resting returns why the server is left alone now; nil when it is not.
func (s *Server) Resting() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resting(time.Now())
}

func (s *Server) resting(now time.Time) error {
	if now.Before(s.until) {
		return s.failed
	}
	return nil
}

// Take gets leave to ask the server, or the error for which it is left alone. One that
// had failed is left alone by all others for the time of retry. turn is for Failed.
func (s *Server) Take(retry time.Duration) (turn int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if err := s.resting(now); err != nil {
		return 0, err
	}
	if s.failed != nil {
		s.until = now.Add(retry)
	}
	return s.back, nil
}

// Succeeded notes that the server has answered. back is true when it had failed.
func (s *Server) Succeeded() (back bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		return false
	}
	s.failed, s.until = nil, time.Time{}
	s.back++
	return true
}

// Failed notes that the server is to be left alone for the time of retry, unless it has
// come back since the turn was taken. news is true when it had not failed before.
func (s *Server) Failed(turn int, retry time.Duration, err error) (news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.back != turn {
		return false
	}
	news = s.failed == nil
	s.failed, s.until = err, time.Now().Add(retry)
	return news
}

// Share bounds ctx by one of some equal shares of the time that it has left, so that a
// server that says nothing leaves time for the next one.
func Share(ctx context.Context, shares int) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok || shares < 2 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, time.Until(deadline)/time.Duration(shares))
}

package lookup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// Remote is where the tables of another program are asked for. The zero value of
// what follows Address is ready to use. It must not be copied after its first use.
type Remote struct {
	Network string        // "tcp" or "unix"; "" means "tcp"
	Address string        // "127.0.0.1:2527", or the path of a socket
	Timeout time.Duration // of one question with its answer; 0 means 30 seconds
	Conns   int           // the most connections at a time, whoever comes then waits; 0 means 20
	Idle    time.Duration // how long a connection is kept that nobody uses; 0 means 10 seconds

	mu     sync.Mutex
	slots  chan struct{}
	idle   []*link // the one that was used last is the last
	sweep  *time.Timer
	closed bool
}

// link is a connection.
type link struct {
	net.Conn
	in    *bufio.Reader
	since time.Time // when it was used last
}

// errBadReply is wrapped when what answers does not speak the protocol.
var errBadReply = errors.New("not an answer of this protocol")

// ask writes a question and reads its answer, on a connection that is kept. A kept
// one may have been closed by the other side meanwhile: then a new one is tried.
func (r *Remote) ask(ctx context.Context, question []byte, read func(*bufio.Reader) (string, error)) (answer string, err error) {
	return r.askAt(ctx, r.Address, orElse(r.Timeout, 30*time.Second), question, read)
}

// askAt is ask for protocols with a port and a patience of their own.
func (r *Remote) askAt(ctx context.Context, address string, timeout time.Duration, question []byte, read func(*bufio.Reader) (string, error)) (answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := r.enter(ctx); err != nil {
		return "", err
	}
	defer func() { <-r.slots }()
	for l := r.take(); l != nil; l = r.take() {
		if answer, err = l.exchange(ctx, question, read); err == nil {
			r.keep(l)
			return answer, nil
		}
		l.Close()
		if ctx.Err() != nil || errors.Is(err, errBadReply) {
			return "", err
		}
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, orElse(r.Network, "tcp"), address)
	if err != nil {
		return "", err
	}
	l := &link{Conn: conn, in: bufio.NewReader(conn)}
	if answer, err = l.exchange(ctx, question, read); err != nil {
		l.Close()
		return "", err
	}
	r.keep(l)
	return answer, nil
}

// enter waits until there may be one connection more.
func (r *Remote) enter(ctx context.Context) error {
	r.mu.Lock()
	if r.slots == nil {
		r.slots = make(chan struct{}, orElse(r.Conns, 20))
	}
	closed := r.closed
	r.mu.Unlock()
	if closed {
		return net.ErrClosed
	}
	select {
	case r.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take returns the connection that was used last, nil when there is none.
func (r *Remote) take() *link {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closeIdle()
	n := len(r.idle)
	if n == 0 {
		return nil
	}
	l := r.idle[n-1]
	r.idle = r.idle[:n-1]
	return l
}

func (r *Remote) keep(l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		l.Close()
		return
	}
	l.since = time.Now()
	r.idle = append(r.idle, l)
	if r.sweep == nil {
		r.sweep = time.AfterFunc(orElse(r.Idle, 10*time.Second), r.sweepIdle)
	}
}

// closeIdle closes those that nobody has used for too long. Under mu.
func (r *Remote) closeIdle() {
	for len(r.idle) > 0 && time.Since(r.idle[0].since) >= orElse(r.Idle, 10*time.Second) {
		r.idle[0].Close()
		r.idle = r.idle[1:]
	}
}

// sweepIdle closes connections also when nobody asks any more: the server has something
// better to do with them.
func (r *Remote) sweepIdle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closeIdle()
	r.sweep = nil
	if len(r.idle) > 0 {
		r.sweep = time.AfterFunc(orElse(r.Idle, 10*time.Second)-time.Since(r.idle[0].since), r.sweepIdle)
	}
}

// Close closes the connections that nobody uses, and each of the others after its
// answer. Lookups fail afterwards.
func (r *Remote) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.sweep != nil {
		r.sweep.Stop()
	}
	var errs []error
	for _, l := range r.idle {
		errs = append(errs, l.Close())
	}
	r.idle = nil
	return errors.Join(errs...)
}

func (l *link) exchange(ctx context.Context, question []byte, read func(*bufio.Reader) (string, error)) (string, error) {
	deadline, _ := ctx.Deadline()
	if err := l.SetDeadline(deadline); err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err := l.Write(question)
	if err == nil {
		var answer string
		if answer, err = read(l.in); err == nil && l.in.Buffered() > 0 {
			err = fmt.Errorf("%w: more than one", errBadReply)
		}
		if err == nil {
			return answer, nil
		}
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return "", err
}

// readLine reads a line of no more than limit bytes, without its end, LF or CRLF.
func readLine(in *bufio.Reader, limit int) (string, error) {
	var line []byte
	for {
		c, err := in.ReadByte()
		if err != nil {
			return "", err
		}
		if c == '\n' {
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		if line = append(line, c); len(line) > limit {
			return "", fmt.Errorf("%w: line longer than %d bytes", errBadReply, limit)
		}
	}
}

package queue

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrClosed is returned by Serve when the Manager has been served or closed
// before.
var ErrClosed = errors.New("queue: manager is closed")

type phase byte

const (
	idle     phase = iota
	serving        // deliveries are started
	draining       // no more
	closed         // never served, and never will be
)

// cancelGrace is how long deliveries that were told to end may take to do so.
const cancelGrace = 10 * time.Second

// helperLimit is how many messages are opened and routed at a time.
const helperLimit = 128

// activateRate is how many messages become active without a pause in which
// others get at the manager.
const activateRate = 256

// idleWait is how long the loop sleeps when nothing is to come.
const idleWait = time.Hour

// Serve delivers mail until ctx ends or Shutdown or Close is called, and
// returns nil when everything has come to rest. What is in the spool is read in
// the background.
func (m *Manager) Serve(ctx context.Context) error {
	m.setup()
	m.mu.Lock()
	if m.phase != idle {
		m.mu.Unlock()
		return ErrClosed
	}
	m.phase = serving
	m.group.Go(m.readSpool)
	m.group.Go(m.sweep)
	m.mu.Unlock()
	m.loop(ctx)
	m.drain() // first, so that nobody takes what is given up for a result
	if ctx.Err() != nil {
		m.cancel()
	}
	m.group.Wait()
	m.settleRest()
	close(m.done)
	return nil
}

// Shutdown starts no further deliveries and waits for those under way. When
// ctx ends before, they are cancelled: their recipients stay in the queue. What
// was reached is recorded in any case. The error is ctx's, or nil.
func (m *Manager) Shutdown(ctx context.Context) error {
	m.setup()
	if m.drain() == closed {
		return nil
	}
	defer m.cancel()
	select {
	case <-m.done:
		return nil
	case <-ctx.Done():
	}
	m.cancel()
	select {
	case <-m.done:
	case <-time.After(cancelGrace):
		return fmt.Errorf("queue: a delivery agent does not end: %w", ctx.Err())
	}
	return ctx.Err()
}

// Close is Shutdown without waiting for deliveries to finish by themselves.
func (m *Manager) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := m.Shutdown(ctx); !errors.Is(err, context.Canceled) || !m.ended() {
		return err
	}
	return nil
}

func (m *Manager) ended() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}

// drain lets nothing more be started and returns the phase after it.
func (m *Manager) drain() phase {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch m.phase {
	case idle:
		m.phase = closed
		close(m.stop)
	case serving:
		m.phase = draining
		close(m.stop)
	}
	return m.phase
}

// kick makes the loop look again.
func (m *Manager) kick() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// loop makes messages active when they are due and there is room.
func (m *Manager) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.stop:
			return
		case <-m.wake:
		case <-timer.C:
		}
		wait, ok := m.activate()
		if !ok {
			return
		}
		timer.Reset(wait)
	}
}

// activate starts what is due, and returns when to look again.
func (m *Manager) activate() (wait time.Duration, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.phase != serving {
		return 0, false
	}
	now := m.now()
	m.line.bury(now, m.minBackoff())
	m.line.resume(now)
	m.pump()
	for m.unsettled.len() > 0 && m.unsettled.first().due <= now {
		m.help(m.unsettled.pop().run.finish)
	}
	for range activateRate {
		if m.active >= m.activeLimit() {
			break
		}
		w, ok := m.waiting.pop(now)
		if !ok {
			break
		}
		m.active++
		m.begin(w, false)
	}
	wait = idleWait
	if m.active < m.activeLimit() || m.waiting.due() > now { // else who leaves the active queue kicks
		wait = min(wait, max(m.waiting.due()-now, 0))
	}
	if len(m.line.pauses) > 0 {
		wait = min(wait, m.line.pauses[0].until-now)
	}
	if m.unsettled.len() > 0 {
		wait = min(wait, m.unsettled.first().due-now)
	}
	return wait, true
}

// begin has a message that holds a place in the active queue opened and routed.
// fresh says that its attempt is recorded already. Under mu, while serving.
func (m *Manager) begin(w waiter, fresh bool) {
	e := &entry{waiter: w}
	m.entries[e.id] = e
	m.help(func() { m.open(e, fresh) })
}

// help has a helper do a task. Under mu, while serving or from within the group.
func (m *Manager) help(task func()) {
	m.tasks.push(task)
	if m.helpers < helperLimit {
		m.helpers++
		m.work(m.helper)
	}
}

func (m *Manager) helper() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.tasks.len() > 0 {
		task := m.tasks.pop()
		m.mu.Unlock()
		task()
		m.mu.Lock()
	}
	m.helpers--
}

func (m *Manager) draining() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.phase != serving
}

package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mtakit/mtakit"
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
	m.group.Go(m.recover)
	m.mu.Unlock()
	m.loop(ctx)
	if ctx.Err() != nil {
		m.cancel()
	}
	m.drain()
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
	m.bury(now)
	for m.unsettled.due(now) {
		m.help(m.unsettled.pop().run.finish)
	}
	for m.waiting.due(now) && m.active < m.activeLimit() {
		m.active++
		m.begin(m.waiting.pop(), false)
	}
	wait = idleWait
	if len(m.waiting) > 0 && !m.waiting.due(now) { // else who leaves the active queue kicks
		wait = min(wait, m.waiting[0].due-now)
	}
	if len(m.unsettled) > 0 {
		wait = min(wait, m.unsettled[0].due-now)
	}
	return wait, true
}

// begin has an entry that holds a place in the active queue opened and routed.
// fresh says that its attempt is recorded already. Under mu, while serving.
func (m *Manager) begin(e *entry, fresh bool) {
	m.unsleep(e)
	m.help(func() { m.open(e, fresh) })
}

// help has a helper do a task. Under mu, while serving or from within the group.
func (m *Manager) help(task func()) {
	m.tasks.push(task)
	if m.helpers < helperLimit {
		m.helpers++
		m.group.Go(m.helper)
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

// recover finds what the spool has from before. It goes on until it has seen
// everything: mail must not wait for a restart because a disk had a bad moment.
func (m *Manager) recover() {
	for {
		err := m.readEntries()
		if err == nil || m.deliverCtx.Err() != nil || m.draining() {
			return
		}
		m.log().Error("reading the spool", "error", err)
		if !m.sleep(m.minBackoff()) {
			return
		}
	}
}

// sleep waits, and reports whether the manager is still serving.
func (m *Manager) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-m.stop:
		return false
	}
}

func (m *Manager) draining() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.phase != serving
}

func (m *Manager) readEntries() error {
	for e, err := range m.Spool.Entries(m.deliverCtx) {
		if corrupt, ok := errors.AsType[*CorruptError](err); ok {
			m.corrupt(corrupt)
			continue
		}
		if err != nil {
			return err
		}
		if m.draining() {
			return nil
		}
		m.recovered(e)
	}
	return nil
}

// recovered schedules a message that was found in the spool.
func (m *Manager) recovered(found Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries[found.ID] != nil || found.Hold != "" {
		return
	}
	e := &entry{id: found.ID, index: -1}
	m.entries[e.id] = e
	m.waiting.wait(e, m.now()+m.resume(found))
	if m.waiting[0] == e {
		m.kick()
	}
}

// resume returns how long a message that was found waits. One whose first
// attempt was cut off is tried at once; of the others the recorded time holds,
// as far as a clock that was set back lets it make sense.
func (m *Manager) resume(found Entry) time.Duration {
	if found.Next.IsZero() || found.Attempts == 1 && found.Queue != "deferred" {
		return 0
	}
	wait := max(time.Until(found.Next), 0)
	if found.Attempts > 0 {
		wait = min(wait, m.longestBackoff())
	}
	return wait
}

func (m *Manager) corrupt(err *CorruptError) {
	m.log().Error("message is corrupt", "id", err.ID, "path", err.Path, "reason", err.Reason)
	m.observe(mtakit.Event{Kind: mtakit.EventCorrupt, ID: err.ID, Err: err, Reason: err.Reason})
}

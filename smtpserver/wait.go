package smtpserver

import (
	"os"
	"time"
)

// clientReader reads from the client for c.in. Just before it would wait, the
// replies leave: so those of a pipelined group leave in one write.
type clientReader struct{ c *Conn }

func (r clientReader) Read(p []byte) (int, error) {
	c := r.c
	if err := c.flush(); err != nil {
		return 0, err
	}
	left := c.waiting.left()
	if left <= 0 {
		return 0, os.ErrDeadlineExceeded
	}
	start := time.Now()
	if err := c.arm(start.Add(left)); err != nil {
		return 0, err
	}
	n, err := c.conn.Read(p)
	c.waiting.spend(time.Since(start), n)
	return n, err
}

// arm sets the deadline of the next read, unless Shutdown wants the connection.
func (c *Conn) arm(deadline time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped && !c.busy {
		return os.ErrDeadlineExceeded
	}
	return c.conn.SetReadDeadline(deadline)
}

// stop wakes an idle connection, which then sees that it is to end; a busy one
// sees it after its transaction.
func (c *Conn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	if !c.busy {
		c.netConn.SetReadDeadline(time.Unix(1, 0))
	}
}

// setBusy says whether a transaction is open.
func (c *Conn) setBusy(busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = busy
}

// unwanted reports whether Shutdown waits for this connection.
func (c *Conn) unwanted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped && !c.busy
}

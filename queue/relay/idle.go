package relay

import (
	"sync"
	"time"
)

// idle keeps connections that may be used again, for a short time: a busy
// destination saves the handshakes, a quiet one is not bothered.
type idle struct {
	mu       sync.Mutex
	sessions map[string][]*idler // by next hop, the last one is the freshest
	n        int
	closed   bool
	quitting sync.WaitGroup
}

// idler is a session that waits.
type idler struct {
	session *session
	timer   *time.Timer
}

// take returns a session, or nil. It may be dead: nobody looks at it meanwhile.
func (c *idle) take(key string, lifetime time.Duration) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	for list := c.sessions[key]; len(list) > 0; list = c.sessions[key] {
		i := list[len(list)-1]
		c.remove(key, i)
		if !i.timer.Stop() {
			continue // it is being ended
		}
		if time.Since(i.session.born) < lifetime {
			c.quitting.Done()
			return i.session
		}
		go c.end(i)
	}
	return nil
}

// put keeps a session, unless there are too many; then it is the caller's.
func (c *idle) put(key string, s *session, wait time.Duration, limit int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.n >= limit || wait <= 0 {
		return false
	}
	if c.sessions == nil {
		c.sessions = make(map[string][]*idler)
	}
	i := &idler{session: s}
	c.quitting.Add(1)
	i.timer = time.AfterFunc(wait, func() {
		c.mu.Lock()
		c.remove(key, i)
		c.mu.Unlock()
		c.end(i)
	})
	c.sessions[key] = append(c.sessions[key], i)
	c.n++
	return true
}

// remove takes i out of the list, if it is still there.
func (c *idle) remove(key string, i *idler) {
	list := c.sessions[key]
	for k := range list {
		if list[k] != i {
			continue
		}
		list = append(list[:k], list[k+1:]...)
		c.n--
		break
	}
	if len(list) == 0 {
		delete(c.sessions, key)
	} else {
		c.sessions[key] = list
	}
}

func (c *idle) end(i *idler) {
	defer c.quitting.Done()
	i.session.quit()
}

// close ends all sessions and waits for it.
func (c *idle) close() {
	c.mu.Lock()
	c.closed = true
	for key, list := range c.sessions {
		for _, i := range list {
			if i.timer.Stop() {
				go c.end(i)
			}
		}
		delete(c.sessions, key)
	}
	c.n = 0
	c.mu.Unlock()
	c.quitting.Wait()
}

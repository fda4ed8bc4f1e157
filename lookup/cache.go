package lookup

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// Cache remembers what a table answered, for tables that take time: databases,
// directories, processes. Many who ask for one key at the same time wait for one
// answer. It must not be copied after its first use.
//
// Errors are not remembered, and never become a miss. With Stale, an answer that
// is too old is given all the same while the table fails.
type Cache struct {
	Table    LookupTable   // required
	Positive time.Duration // how long what was found counts; 0 means a minute
	Negative time.Duration // how long a miss counts; 0 means ten seconds, negative means not at all
	Stale    time.Duration // how long after that it is given when the table fails; 0 means not at all
	Entries  int           // how many answers are kept; 0 means 10,000, negative none
	Bytes    int           // how many bytes their keys and values may have; 0 means 16 MiB

	mu     sync.Mutex
	known  map[cacheKey]*list.Element
	recent list.List // of *answer, the last used first
	size   int
	asked  map[cacheKey]*question
}

// cacheKey keeps what was asked with whole keys apart from parts of keys: tables
// answer them differently.
type cacheKey struct {
	key     string
	partial bool
}

// answer is one that the table gave.
type answer struct {
	key   cacheKey
	value string
	ok    bool
	at    time.Time
}

func (a *answer) size() int { return len(a.key.key) + len(a.value) }

// question is one that the table is being asked.
type question struct {
	key    cacheKey
	done   chan struct{}
	cancel context.CancelFunc
	askers int
	value  string
	ok     bool
	err    error
}

// Lookup returns what is remembered, or asks the table.
func (c *Cache) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	return c.lookup(ctx, cacheKey{key, false})
}

// LookupPartial is Lookup for a part of a key.
func (c *Cache) LookupPartial(ctx context.Context, key string) (value string, ok bool, err error) {
	return c.lookup(ctx, cacheKey{key, true})
}

// FullKeyOnly reports whether the table takes whole keys only.
func (c *Cache) FullKeyOnly() bool { return FullKeyOnly(c.Table) }

// Forget forgets everything, as after a change of the table. What the table is being
// asked is answered, but not remembered, and nobody joins those who wait for it.
func (c *Cache) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known, c.asked, c.size = nil, nil, 0
	c.recent.Init()
}

func (c *Cache) lookup(ctx context.Context, key cacheKey) (value string, ok bool, err error) {
	if key.key == "" {
		return "", false, nil
	}
	if err := ctx.Err(); err != nil {
		return "", false, err
	}
	c.mu.Lock()
	if a := c.get(key); a != nil && time.Since(a.at) < c.life(a) {
		defer c.mu.Unlock()
		return a.value, a.ok, nil
	}
	q := c.ask(ctx, key)
	c.mu.Unlock()
	defer c.leave(q)
	select {
	case <-q.done:
		return q.value, q.ok, q.err
	case <-ctx.Done():
		return "", false, ctx.Err()
	}
}

// life returns how long an answer counts.
func (c *Cache) life(a *answer) time.Duration {
	if a.ok {
		return orElse(c.Positive, time.Minute)
	}
	return orElse(c.Negative, 10*time.Second)
}

// get returns what is remembered. Under mu.
func (c *Cache) get(key cacheKey) *answer {
	e := c.known[key]
	if e == nil {
		return nil
	}
	c.recent.MoveToFront(e)
	return e.Value.(*answer)
}

// ask joins those who wait for an answer, or is the first of them. The table is
// asked for as long as somebody waits. Under mu.
func (c *Cache) ask(ctx context.Context, key cacheKey) *question {
	if q := c.asked[key]; q != nil {
		q.askers++
		return q
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	q := &question{key: key, done: make(chan struct{}), cancel: cancel, askers: 1}
	if c.asked == nil {
		c.asked = map[cacheKey]*question{}
	}
	c.asked[key] = q
	go c.answer(ctx, q)
	return q
}

// leave notes that one fewer waits. The last one ends the question, which nobody
// may join any more, and sees to it that nothing is left running.
func (c *Cache) leave(q *question) {
	c.mu.Lock()
	q.askers--
	last := q.askers == 0
	if last && c.asked[q.key] == q {
		delete(c.asked, q.key)
	}
	c.mu.Unlock()
	if last {
		q.cancel()
		<-q.done
	}
}

// answer asks the table and tells all who wait.
func (c *Cache) answer(ctx context.Context, q *question) {
	defer close(q.done)
	q.value, q.ok, q.err = contained(func() (string, bool, error) {
		if q.key.partial {
			return LookupPartial(ctx, c.Table, q.key.key)
		}
		return c.Table.Lookup(ctx, q.key.key)
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked[q.key] != q { // given up or forgotten: the table may have changed since
		return
	}
	delete(c.asked, q.key)
	a := c.get(q.key)
	switch {
	case q.err == nil:
		c.put(&answer{q.key, q.value, q.ok, time.Now()})
	case a != nil && c.Stale > 0 && time.Since(a.at) < c.life(a)+c.Stale:
		q.value, q.ok, q.err = a.value, a.ok, nil
	}
}

// put remembers an answer. Under mu.
func (c *Cache) put(a *answer) {
	c.drop(c.known[a.key])
	most := orElse(c.Bytes, 16<<20)
	if c.life(a) <= 0 || a.size() > most/8 {
		return
	}
	if c.known == nil {
		c.known = map[cacheKey]*list.Element{}
	}
	c.known[a.key] = c.recent.PushFront(a)
	c.size += a.size()
	for len(c.known) > max(0, orElse(c.Entries, 10_000)) || c.size > most {
		c.drop(c.recent.Back())
	}
}

// drop forgets an answer; nil is none.
func (c *Cache) drop(e *list.Element) {
	if e == nil {
		return
	}
	a := c.recent.Remove(e).(*answer)
	delete(c.known, a.key)
	c.size -= a.size()
}

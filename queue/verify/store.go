package verify

import (
	"cmp"
	"container/list"
	"context"
	"sync"
	"time"
)

// Store keeps values by key, each until it expires. Keys are addresses, values
// short texts without line ends. Its methods are called from any number of
// goroutines at once. An error means that the store cannot answer; that there is
// nothing is none.
type Store interface {
	Get(ctx context.Context, key string) (value string, ok bool, err error)
	// Put takes the place of what was there. The value may be forgotten from
	// expires on.
	Put(ctx context.Context, key, value string, expires time.Time) error
	Delete(ctx context.Context, key string) error
	// Scan calls visit for each key, in any order, until it returns false. visit
	// does not use the Store.
	Scan(ctx context.Context, visit func(key, value string) bool) error
}

// Memory is a Store that forgets when the process ends, and, when it is full,
// what was asked for least recently. The zero value is empty and ready.
type Memory struct {
	// Limit is how many values it has at most; zero means 100000.
	Limit int

	mu     sync.Mutex
	values map[string]*list.Element
	recent list.List // of *value, the one asked for last in front
}

type value struct {
	key, text string
	expires   time.Time
}

var _ Store = (*Memory)(nil)

// Get returns the value of a key.
func (m *Memory) Get(_ context.Context, key string) (string, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.values[key]
	if e == nil {
		return "", false, nil
	}
	v := e.Value.(*value)
	if !time.Now().Before(v.expires) {
		m.drop(e)
		return "", false, nil
	}
	m.recent.MoveToFront(e)
	return v.text, true, nil
}

// Put keeps a value.
func (m *Memory) Put(_ context.Context, key, text string, expires time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = make(map[string]*list.Element)
	}
	if e := m.values[key]; e != nil {
		m.drop(e)
	}
	m.values[key] = m.recent.PushFront(&value{key, text, expires})
	for len(m.values) > max(1, cmp.Or(m.Limit, 100000)) {
		m.drop(m.recent.Back())
	}
	return nil
}

// Delete forgets a value.
func (m *Memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.values[key]; e != nil {
		m.drop(e)
	}
	return nil
}

// Scan visits all values that have not expired.
func (m *Memory) Scan(_ context.Context, visit func(key, text string) bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for e := m.recent.Front(); e != nil; e = e.Next() {
		if v := e.Value.(*value); time.Now().Before(v.expires) && !visit(v.key, v.text) {
			break
		}
	}
	return nil
}

func (m *Memory) drop(e *list.Element) {
	m.recent.Remove(e)
	delete(m.values, e.Value.(*value).key)
}

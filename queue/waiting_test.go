package queue

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ledger does slowly and plainly what waiting does.
type ledger struct {
	messages map[string]waiter
	asleep   []string // in the order in which they began to wait for a site
	turn     int
}

func (l *ledger) add(m waiter) {
	l.messages[m.id] = m
	if m.site != 0 {
		l.asleep = append(l.asleep, m.id)
	}
}

func (l *ledger) take(id string) (waiter, bool) {
	m, ok := l.messages[id]
	delete(l.messages, id)
	l.rouse(id)
	return m, ok
}

func (l *ledger) rouse(id string) {
	for i, other := range l.asleep {
		if other == id {
			l.asleep = append(l.asleep[:i:i], l.asleep[i+1:]...)
			return
		}
	}
}

func (l *ledger) due(incoming bool) time.Duration {
	first := never
	for _, m := range l.messages {
		if m.incoming == incoming {
			first = min(first, m.due)
		}
	}
	return first
}

func (l *ledger) hasten(id string, due time.Duration) bool {
	m, ok := l.messages[id]
	if ok {
		m.due = due
		l.messages[id] = m
	}
	return ok
}

func (l *ledger) wake(h siteHash, n int, now, rest time.Duration) int {
	var woken []string
	for _, id := range l.asleep {
		if len(woken) < n && l.messages[id].site == h {
			woken = append(woken, id)
		}
	}
	for _, id := range woken {
		l.rouse(id)
		m := l.messages[id]
		m.due = min(m.due, max(now, m.since+rest))
		m.site, m.since = 0, 0
		l.messages[id] = m
	}
	return len(woken)
}

// pops checks that what waiting has popped is what was due, and books it.
func (l *ledger) pops(t testing.TB, m waiter, ok bool, now time.Duration) {
	for range 2 {
		l.turn = 1 - l.turn
		if first := l.due(l.turn == 1); first <= now {
			require.True(t, ok)
			require.Equal(t, l.turn == 1, m.incoming, "taken in turn")
			require.Equal(t, first, m.due)
			booked, has := l.take(m.id)
			require.True(t, has)
			require.Equal(t, booked, m)
			return
		}
	}
	require.False(t, ok)
}

// play does what the bytes say to both, and compares them.
func play(t testing.TB, script []byte, ids, sites int) {
	w, l := newWaiting(), &ledger{messages: make(map[string]waiter)}
	now := time.Duration(0)
	for len(script) >= 4 {
		op, a, b, c := script[0], int(script[1]), int(script[2]), int(script[3])
		script = script[4:]
		id := fmt.Sprint("id", (a<<8|b)%ids)
		if a%5 == 0 {
			id += strings.Repeat("long", b%9) // some longer than a slot
		}
		now += time.Duration(b%3) * time.Second
		h := siteHash(c%sites) * 0x9e3779b97f4a7c15
		switch op % 10 {
		case 0, 1, 2:
			_, known := l.messages[id]
			require.Equal(t, known, w.has(id))
			if known {
				continue
			}
			m := waiter{id: id, due: now + time.Duration(c)*time.Second, incoming: op%10 == 2, site: h}
			if h != 0 {
				m.since = now
			}
			w.add(m)
			l.add(m)
		case 3:
			m, ok := w.take(id)
			want, has := l.take(id)
			require.Equal(t, has, ok)
			require.Equal(t, want, m)
		case 4:
			require.Equal(t, l.hasten(id, 0), w.hasten(id))
		case 5:
			require.Equal(t, l.wake(h, c%4, now, time.Minute), w.wake(h, c%4, now, time.Minute))
		case 6:
			if c < 10 {
				w.hastenAll()
				for id := range l.messages {
					l.hasten(id, 0)
				}
			}
		default:
			m, ok := w.pop(now)
			l.pops(t, m, ok, now)
		}
		require.Len(t, l.messages, w.len())
		require.Equal(t, min(l.due(false), l.due(true)), w.due())
		asleep := 0
		for n := range sites {
			asleep += w.sites.len(siteHash(n) * 0x9e3779b97f4a7c15)
		}
		require.Len(t, l.asleep, asleep)
	}
	for id, m := range l.messages {
		got, ok := w.take(id)
		require.True(t, ok)
		require.Equal(t, m, got)
	}
	require.Zero(t, w.len())
}

func FuzzWaiting(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x05\x01\x02\x03\x07\x01\x02\x03"), uint16(3), uint8(2))
	f.Add([]byte("\x02\x05\x07\x00\x03\x05\x07\x00\x06\x00\x00\x00"), uint16(300), uint8(9))
	f.Fuzz(func(t *testing.T, script []byte, ids uint16, sites uint8) {
		play(t, script[:min(len(script), 1<<12)], int(ids)+1, int(sites)+1)
	})
}

func TestWaiting(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		script := make([]byte, 4*1500)
		for i := range script {
			script[i] = byte(r.Uint32())
		}
		play(t, script, 1+int(seed)*40, 1+int(seed)%7)
	}
}

// TestWaitingShrinks has a big queue come and go.
func TestWaitingShrinks(t *testing.T) {
	t.Parallel()
	const n = 20_000
	w := newWaiting()
	for range 2 {
		for i := range n {
			w.add(waiter{id: fmt.Sprint("message", i), due: time.Duration(i*7919%n) * time.Second, site: siteHash(1 + i%500)})
		}
		require.Equal(t, n, w.len())
		for i := range n {
			m, ok := w.pop(never - 1)
			if !ok || m.due != time.Duration(i)*time.Second {
				require.Fail(t, "out of order", "%d: %+v", i, m)
			}
		}
		cells := 0
		for i := range w.index.shards {
			cells += len(w.index.shards[i].cells)
		}
		assert.Zero(t, w.len())
		assert.LessOrEqual(t, len(w.slots.chunks), 2)
		assert.LessOrEqual(t, cap(w.calendars[0].items), chunkSize)
		assert.LessOrEqual(t, cells, len(w.index.shards)*64)
		assert.Empty(t, w.sites.all)
	}
}

// BenchmarkWaiter is what it costs that a message begins to wait, and ends,
// beside 100,000 others.
func BenchmarkWaiter(b *testing.B) {
	w := newWaiting()
	const n = 100_000
	ids := make([]string, 2*n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%016d", i)
	}
	wait := func(i int) {
		w.add(waiter{id: ids[i%len(ids)], due: time.Duration(i+rand.IntN(n)) * time.Second, site: siteHash(1 + i%1000)})
	}
	for i := range n {
		wait(i)
	}
	b.ReportAllocs()
	i := n
	for b.Loop() {
		wait(i)
		_, _ = w.take(ids[(i-n)%len(ids)])
		i++
	}
}

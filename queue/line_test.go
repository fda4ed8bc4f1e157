package queue

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lineOf returns a line with a clock of its own, and its transports.
func lineOf(clock *time.Duration, limit int, limits ...Limits) (*line, []*transport) {
	l := &line{limit: limit, now: func() time.Duration { return *clock }, kick: func() {}}
	transports := make([]*transport, len(limits))
	for i := range limits {
		m := &Manager{Limits: limits[i]}
		transports[i] = &transport{name: fmt.Sprint("t", i), limits: m.limits(""), destinations: make(map[string]*destination)}
	}
	return l, transports
}

func jobOf(recipients, class int) *job { return &job{index: make([]int, recipients), class: class} }

func TestClassOf(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{0: 0, 1: 0, 14: 0, 15: 1, 224: 1, 225: 2, 1 << 40: 2} {
		assert.Equal(t, want, classOf(n), n)
	}
}

// TestTurns has every class always wait: none is passed over for long.
func TestTurns(t *testing.T) {
	t.Parallel()
	var turns turns
	var got [classes]int
	always := func(int) bool { return true }
	for range 1000 {
		c := turns.order()[0]
		turns.took(c, always)
		got[c]++
	}
	assert.Greater(t, got[0], 500)
	for c := 1; c < classes; c++ {
		assert.GreaterOrEqual(t, got[c], 1000/(passLimit+3), "class %d", c)
	}
	turns = [classes]byte{}
	assert.Equal(t, [classes]int{0, 1, 2}, turns.order())
	turns.took(0, func(int) bool { return false })
	assert.Zero(t, turns, "who does not wait is not passed over")
}

// TestLine has deliveries come, go and fail at random, with every limit there
// is. No limit is ever exceeded, nobody starts before its pause is over, nothing
// stands still that may start, and everything gets its delivery.
func TestLine(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		var clock time.Duration
		l, transports := lineOf(&clock, 1+r.IntN(30), randomLimits(r), randomLimits(r), randomLimits(r))
		w := &walk{t: t, r: r, l: l, clock: &clock, transports: transports, rested: make(map[any]time.Duration)}
		for range 600 {
			w.step(r.IntN(2) == 0)
		}
		for w.added > w.started || len(w.busy) > 0 {
			w.step(false)
		}
		for len(l.pauses) > 0 || l.troubled.len() > 0 {
			clock += time.Second
			l.resume(clock)
			l.bury(clock, 10*time.Second)
		}
		for _, tr := range transports {
			require.Empty(t, tr.destinations, "nothing is remembered in the end")
		}
	}
}

func randomLimits(r *rand.Rand) Limits {
	l := Limits{Concurrency: 1 + r.IntN(20), Destination: 1 + r.IntN(8), Initial: 1 + r.IntN(5), Recipients: 1 + r.IntN(5),
		FailedCohorts: r.IntN(3) - 1, Positive: Feedback{Form: FeedbackForm(r.IntN(3))}, Negative: Feedback{Form: FeedbackForm(r.IntN(3))}}
	if r.IntN(3) == 0 {
		l.RateDelay = time.Duration(r.IntN(5)) * time.Second
	}
	if r.IntN(4) == 0 {
		l.TransportDelay = time.Duration(r.IntN(3)) * time.Second
	}
	return l
}

// walk is what TestLine does and knows.
type walk struct {
	t              *testing.T
	r              *rand.Rand
	l              *line
	clock          *time.Duration
	transports     []*transport
	busy           []*delivery
	rested         map[any]time.Duration // until when, by destination or transport
	added, started int                   // recipients
}

func (w *walk) step(add bool) {
	switch n := w.r.IntN(3); {
	case add && n > 0:
		w.add()
	case n == 0 || len(w.busy) == 0:
		*w.clock += time.Duration(w.r.IntN(3000)) * time.Millisecond
		w.l.resume(*w.clock)
	default:
		w.end(w.r.IntN(len(w.busy)))
	}
	for v := w.l.next(); v != nil; v = w.l.next() {
		w.start(v)
	}
	w.check()
}

func (w *walk) add() {
	d := w.transports[w.r.IntN(len(w.transports))].destination(fmt.Sprint(w.r.IntN(12)))
	if !d.alive(*w.clock) {
		return
	}
	n := 1 + w.r.IntN(20)
	w.added += n
	w.l.add(d, jobOf(n, w.r.IntN(classes)))
}

func (w *walk) start(v *delivery) {
	d := v.destination
	require.LessOrEqual(w.t, w.rested[d], *w.clock)
	require.LessOrEqual(w.t, w.rested[d.transport], *w.clock)
	require.LessOrEqual(w.t, len(v.index), d.transport.limits.Recipients)
	w.rested[d.transport] = *w.clock + d.transport.limits.TransportDelay
	w.started += len(v.index)
	w.busy = append(w.busy, v)
}

func (w *walk) end(i int) {
	d := w.busy[i].destination
	w.busy[i] = w.busy[len(w.busy)-1]
	w.busy = w.busy[:len(w.busy)-1]
	if w.r.IntN(3) > 0 {
		d.succeeded()
	} else {
		if d.failed(down, *w.clock+10*time.Second) {
			for j := d.take(); j != nil; j = d.take() {
				w.added -= len(j.index)
			}
		}
		w.l.remember(d)
	}
	w.rested[d] = *w.clock + d.transport.limits.RateDelay
	w.l.leave(d)
	d.forget()
	w.l.bury(*w.clock, 10*time.Second)
}

func (w *walk) check() {
	total := 0
	for _, t := range w.transports {
		busy := 0
		for _, d := range t.destinations {
			busy += d.busy
			switch {
			case d.window > t.limits.Destination, d.window < 1, d.busy > t.limits.Destination:
				require.Fail(w.t, "limit", "%d of %d, %d allowed", d.busy, d.window, t.limits.Destination)
			case w.l.busy >= w.l.limit, t.busy >= t.limits.Concurrency, t.paused:
			case d.busy == 0 && d.waiting() > 0 && !d.paused:
				require.Fail(w.t, "may start, and does not")
			}
		}
		require.Equal(w.t, t.busy, busy)
		require.LessOrEqual(w.t, busy, t.limits.Concurrency)
		total += busy
	}
	require.Equal(w.t, len(w.busy), total)
	require.LessOrEqual(w.t, total, w.l.limit)
}

// TestShareOfLists has small mail without end in every transport and
// destination: lists get their part of both.
func TestShareOfLists(t *testing.T) {
	t.Parallel()
	for _, destinations := range []int{1, 7} {
		var clock time.Duration
		l, transports := lineOf(&clock, 500, Limits{Concurrency: 3, Destination: 2, Recipients: 1})
		for i := range destinations {
			d := transports[0].destination(fmt.Sprint(i))
			for c := range classes {
				l.add(d, jobOf(100_000, c))
			}
		}
		var got [classes]int
		var busy []*delivery
		for range 2000 {
			for v := l.next(); v != nil; v = l.next() {
				busy = append(busy, v)
			}
			for c := range classes {
				got[c] = 0
				for _, d := range transports[0].destinations {
					got[c] += 100_000 - len(d.jobs[c].first().index)
				}
			}
			d := busy[0].destination
			busy = busy[1:]
			d.succeeded()
			l.leave(d)
		}
		for c := 1; c < classes; c++ {
			assert.Greater(t, got[c], 2000/(passLimit+3), "class %d, %d destinations", c, destinations)
		}
		assert.Greater(t, got[0], 1000, "%d destinations", destinations)
	}
}

// BenchmarkLine is what the scheduler costs for each delivery, with 10,000
// destinations that have mail.
func BenchmarkLine(b *testing.B) {
	var clock time.Duration
	l, transports := lineOf(&clock, 500, Limits{Concurrency: 400}, Limits{Concurrency: 400})
	const destinations = 10_000
	for i := range destinations {
		l.add(transports[i%2].destination(fmt.Sprint(i)), jobOf(1, 0))
	}
	busy := make([]*delivery, 0, 500)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		v := l.next()
		for v == nil { // all places are taken: one becomes free
			d := busy[i%len(busy)].destination
			busy[i%len(busy)] = busy[len(busy)-1]
			busy = busy[:len(busy)-1]
			i += 7
			d.succeeded()
			l.leave(d)
			l.add(d, jobOf(1, i%classes))
			v = l.next()
		}
		busy = append(busy, v)
	}
}

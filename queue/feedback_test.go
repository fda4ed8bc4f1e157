package queue

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/mtakit/mtakit"
)

func site(limits Limits) *destination {
	m := &Manager{Limits: limits}
	t := &transport{limits: m.limits("smtp"), destinations: make(map[string]*destination)}
	return t.destination("example.net")
}

// TestFeedback follows SCHEDULER_README by hand.
func TestFeedback(t *testing.T) {
	t.Parallel()
	d := site(Limits{Concurrency: 100, Destination: 8, Initial: 5})
	assert.Equal(t, 5, d.window)

	// Each success of a window that is used raises it, up to the limit.
	for _, want := range []int{6, 7, 8, 8} {
		d.busy = d.window
		d.succeeded()
		assert.Equal(t, want, d.window)
	}
	// A window that is far above the traffic says nothing.
	d.window, d.busy = 6, 1
	d.succeeded()
	assert.Equal(t, 6, d.window)

	// Failures lower it by one each; 1/6+1/5+1/4+1/3 is below a cohort, and 1/2
	// more is above.
	for _, want := range []int{5, 4, 3, 2} {
		assert.False(t, d.failed(down, 0))
		assert.Equal(t, want, d.window)
	}
	assert.True(t, d.failed(down, time.Minute))
	assert.True(t, d.dead)
	assert.False(t, d.failed(down, time.Hour), "it dies once")
	assert.False(t, d.alive(time.Minute-1))
	assert.True(t, d.alive(time.Minute))
	assert.Equal(t, 5, d.window, "and begins anew")

	// What was under way when it died shows that it lives.
	for !d.failed(down, time.Hour) {
	}
	d.succeeded()
	assert.True(t, d.alive(0))
	assert.Equal(t, 5, d.window)

	// A success in between takes the cohorts back.
	for range 20 {
		d.busy = d.window
		assert.False(t, d.failed(down, 0))
		d.succeeded()
	}
	assert.False(t, d.dead)
	assert.GreaterOrEqual(t, d.window, 1)
}

func TestFeedbackForms(t *testing.T) {
	t.Parallel()
	tests := []struct {
		f    Feedback
		want float64 // at a window of 4
	}{
		{Feedback{}, 1},
		{Feedback{N: 0.25}, 0.25},
		{Feedback{N: 1e300}, 1},
		{Feedback{N: -1}, 0},
		{Feedback{N: math.NaN()}, 0},
		{Feedback{Form: PerConcurrency}, 0.25},
		{Feedback{N: 0.5, Form: PerConcurrency}, 0.125},
		{Feedback{Form: PerSqrtConcurrency}, 0.5},
	}
	for _, tt := range tests {
		assert.InDelta(t, tt.want, tt.f.at(4), 1e-9, "%v", tt.f)
	}
}

// TestSlowFeedback has a cohort of five raise the window by one.
func TestSlowFeedback(t *testing.T) {
	t.Parallel()
	d := site(Limits{Positive: Feedback{Form: PerConcurrency}, Negative: Feedback{N: -1}, FailedCohorts: 2})
	d.busy = 5
	for _, want := range []int{5, 5, 5, 5, 6} {
		d.succeeded()
		assert.Equal(t, want, d.window)
	}
	for range 12 {
		assert.False(t, d.failed(down, 0), "two cohorts of six")
		assert.Equal(t, 6, d.window, "no negative feedback")
	}
	assert.True(t, d.failed(down, 0))

	d = site(Limits{FailedCohorts: -1})
	for range 1000 {
		assert.False(t, d.failed(down, 0))
	}
	assert.Equal(t, 1, d.window)
}

var down = mtakit.Result{Diagnostic: "down", Site: true}

func TestRetry(t *testing.T) {
	t.Parallel()
	m := &Manager{}
	now := time.Now()
	tests := []struct {
		name      string
		age       time.Duration
		from, end time.Duration
	}{
		{"new", 0, 300 * time.Second, 338 * time.Second},
		{"as old as it waits", 1000 * time.Second, 1000 * time.Second, 1125 * time.Second},
		{"at most", 50 * time.Hour, 4000 * time.Second, 4500 * time.Second},
		{"clock set back", -30 * time.Hour, 300 * time.Second, 338 * time.Second},
		{"last attempt at the end", 120*time.Hour - 1000*time.Second, 1000 * time.Second, 1000 * time.Second},
		{"not earlier than the minimum", 120*time.Hour - 100*time.Second, 300 * time.Second, 300 * time.Second},
		{"clock set forward", 5000 * time.Hour, 4000 * time.Second, 4500 * time.Second},
	}
	for _, tt := range tests {
		e := &mtakit.Envelope{Sender: "a", Arrival: now.Add(-tt.age)}
		for range 100 {
			wait := m.retry(e, now)
			assert.GreaterOrEqual(t, wait, tt.from, tt.name)
			assert.LessOrEqual(t, wait, tt.end, tt.name)
		}
	}
}

func TestResume(t *testing.T) {
	t.Parallel()
	m := &Manager{}
	now := time.Now()
	tests := []struct {
		name  string
		entry Entry
		want  time.Duration
	}{
		{"never tried", Entry{Queue: "incoming"}, 0},
		{"to be sent later", Entry{Queue: "deferred", Next: now.Add(100 * time.Hour)}, 100 * time.Hour},
		{"cut off in the first attempt", Entry{Queue: "active", Attempts: 1, Next: now.Add(time.Hour)}, 0},
		{"deferred after the first attempt", Entry{Queue: "deferred", Attempts: 1, Next: now.Add(time.Hour)}, time.Hour},
		{"cut off in the second attempt", Entry{Queue: "active", Attempts: 2, Next: now.Add(time.Hour)}, time.Hour},
		{"overdue", Entry{Queue: "deferred", Attempts: 2, Next: now.Add(-time.Hour)}, 0},
		{"clock set back", Entry{Queue: "deferred", Attempts: 2, Next: now.Add(1000 * time.Hour)}, 4500 * time.Second},
	}
	for _, tt := range tests {
		assert.InDelta(t, float64(tt.want), float64(m.resume(tt.entry)), float64(time.Minute), tt.name)
	}
}

func TestLifetimes(t *testing.T) {
	t.Parallel()
	from, null := &mtakit.Envelope{Sender: "a"}, &mtakit.Envelope{}
	assert.Equal(t, 120*time.Hour, (&Manager{}).lifetime(null))
	assert.Equal(t, time.Hour, (&Manager{Lifetime: time.Hour}).lifetime(null))
	assert.Equal(t, time.Minute, (&Manager{Lifetime: time.Hour, BounceLifetime: time.Minute}).lifetime(null))
	assert.Equal(t, time.Hour, (&Manager{Lifetime: time.Hour, BounceLifetime: time.Minute}).lifetime(from))
	assert.Zero(t, (&Manager{Lifetime: -1}).lifetime(from))
	assert.True(t, (&Manager{Lifetime: -1}).expired(&mtakit.Envelope{Arrival: time.Now()}, time.Now()))
}

func TestFIFO(t *testing.T) {
	t.Parallel()
	var f fifo[int]
	in, out := 0, 0
	for round := range 200 {
		for range round % 7 {
			f.push(in)
			in++
		}
		for f.len() > round%5 {
			assert.Equal(t, out, f.first())
			assert.Equal(t, out, f.pop())
			out++
		}
	}
	assert.Equal(t, in-out, f.len())
	assert.Less(t, cap(f.items), 200, "what was taken is given back")
}

func TestDomain(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{"a@Example.ORG": "example.org", `"a@b"@c.example`: "c.example",
		"postmaster": "", "": "", "a@[192.0.2.1]": "[192.0.2.1]"} {
		assert.Equal(t, want, domain(address))
	}
}

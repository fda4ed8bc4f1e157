package queue_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent answers for each recipient what answer says, and remembers.
type agent struct {
	mu     sync.Mutex
	answer func(d *mtakit.Delivery, i int) mtakit.Result
	calls  []call
}

type call struct {
	id, nexthop string
	to          []string
	at          time.Time
	attempt     int
	text        string
}

func (a *agent) Deliver(_ context.Context, d *mtakit.Delivery) []mtakit.Result {
	var b strings.Builder
	_, _ = d.Message.WriteTo(&b)
	c := call{id: d.ID, nexthop: d.NextHop, at: time.Now(), attempt: d.Attempt, text: b.String()}
	results := make([]mtakit.Result, len(d.Recipients))
	for i := range d.Recipients {
		c.to = append(c.to, d.Recipients[i].Address)
		results[i] = mtakit.Result{Outcome: mtakit.Delivered}
		if a.answer != nil {
			results[i] = a.answer(d, i)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, c)
	return results
}

func (a *agent) all() []call {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

// to returns the deliveries to one address.
func (a *agent) to(address string) []call {
	a.mu.Lock()
	defer a.mu.Unlock()
	var some []call
	for _, c := range a.calls {
		for _, r := range c.to {
			if r == address {
				some = append(some, c)
			}
		}
	}
	return some
}

// bySMTP routes everything to one transport by domain.
var bySMTP = queue.RouterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Recipient) (mtakit.Route, error) {
	return mtakit.Route{Transport: "smtp"}, nil
})

func manager(s queue.Spool, a queue.DeliveryAgent) *queue.Manager {
	return &queue.Manager{Spool: s, Router: bySMTP, Agents: map[string]queue.DeliveryAgent{"smtp": a}, Hostname: "mx.example.org"}
}

// serve runs m until the test ends.
func serve(t *testing.T, m *queue.Manager) (stop func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- m.Serve(context.Background()) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			assert.NoError(t, m.Shutdown(ctx))
			assert.NoError(t, <-done)
		})
	}
	t.Cleanup(stop)
	return stop
}

// sleep lets time go by, and everything that it brings come to rest.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func send(t *testing.T, q queue.Queue, sender string, to ...string) string {
	t.Helper()
	e := &mtakit.Envelope{Sender: sender}
	for _, address := range to {
		e.Recipients = append(e.Recipients, mtakit.Recipient{Address: address})
	}
	return sendEnvelope(t, q, e)
}

func sendEnvelope(t *testing.T, q queue.Queue, e *mtakit.Envelope) string {
	t.Helper()
	d, err := q.Begin(t.Context(), 0)
	require.NoError(t, err)
	_, err = d.Write([]byte("Subject: hello\r\n\r\nHi\r\n"))
	require.NoError(t, err)
	id, err := d.Commit(t.Context(), e, nil)
	require.NoError(t, err)
	return id
}

func bounced(text string) mtakit.Result {
	return mtakit.Result{Outcome: mtakit.Bounced, Status: smtp.EnhancedCode{5, 1, 1}, Diagnostic: text}
}

func deferred(text string) mtakit.Result {
	return mtakit.Result{Status: smtp.EnhancedCode{4, 2, 0}, Diagnostic: text}
}

func down() mtakit.Result {
	return mtakit.Result{Status: smtp.EnhancedCode{4, 4, 1}, Diagnostic: "connection refused", Site: true}
}

func TestDelivered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := newSpool(), &agent{}
		m := manager(s, a)
		serve(t, m)
		id := send(t, m, "a@example.org", "b@example.net", "c@Example.NET", "d@example.com")
		synctest.Wait()
		assert.Nil(t, s.get(id))
		require.Len(t, a.all(), 2, "equal destinations travel together")
		assert.Equal(t, []string{"b@example.net", "c@Example.NET"}, a.to("b@example.net")[0].to)
		assert.Equal(t, "example.net", a.to("b@example.net")[0].nexthop)
		assert.Equal(t, "Subject: hello\r\n\r\nHi\r\n", a.all()[0].text)
		assert.Equal(t, 1, a.all()[0].attempt)
	})
}

func TestOneCommitForOneRecipient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := newSpool(), &agent{}
		m := manager(s, a)
		serve(t, m)
		synctest.Wait()
		send(t, m, "a@example.org", "b@example.net")
		synctest.Wait()
		assert.Equal(t, 2, s.commits, "the acceptance and the removal")
	})
}

func TestBounce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := newSpool(), &agent{}
		a.answer = func(d *mtakit.Delivery, i int) mtakit.Result {
			if strings.HasPrefix(d.Recipients[i].Address, "no") {
				return bounced("who is that")
			}
			return mtakit.Result{Outcome: mtakit.Delivered}
		}
		m := manager(s, a)
		serve(t, m)
		send(t, m, "a@example.org", "no1@example.net", "b@example.net", "no2@example.com")
		synctest.Wait()
		notices := a.to("a@example.org")
		require.Len(t, notices, 1, "one notification for all")
		assert.Contains(t, notices[0].text, "no1@example.net")
		assert.Contains(t, notices[0].text, "no2@example.com")
		assert.NotContains(t, notices[0].text, "b@example.net")
		assert.Contains(t, notices[0].text, "who is that")
		assert.Zero(t, s.len())
	})
}

func TestNullSenderIsNeverBounced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		a := &agent{answer: func(*mtakit.Delivery, int) mtakit.Result { return bounced("no") }}
		m := manager(s, a)
		serve(t, m)
		send(t, m, "", "b@example.net")
		send(t, m, "a@example.org", "b@example.net") // its notification bounces as well
		synctest.Wait()
		assert.Len(t, a.all(), 3)
		assert.Zero(t, s.len())
	})
}

func TestDoubleBounceToPostmaster(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		a := &agent{answer: func(*mtakit.Delivery, int) mtakit.Result { return bounced("no") }}
		m := manager(s, a)
		m.Postmaster = "postmaster@example.org"
		serve(t, m)
		send(t, m, "", "b@example.net")
		synctest.Wait()
		assert.Len(t, a.to("postmaster@example.org"), 1)
		assert.Len(t, a.all(), 2, "and that is the end of it")
		assert.Zero(t, s.len())
	})
}

func TestNotify(t *testing.T) {
	t.Parallel()
	success := []smtp.DSNNotify{smtp.DSNNotifySuccess}
	tests := []struct {
		name   string
		notify []smtp.DSNNotify
		result mtakit.Result
		want   string // Action of the notification, "" for none
	}{
		{"failure by default", nil, bounced("x"), "failed"},
		{"never", []smtp.DSNNotify{smtp.DSNNotifyNever}, bounced("x"), ""},
		{"success only", success, bounced("x"), ""},
		{"failure", []smtp.DSNNotify{smtp.DSNNotifyFailure}, bounced("x"), "failed"},
		{"delivered", success, mtakit.Result{Outcome: mtakit.Delivered}, "delivered"},
		{"delivered, not asked for", nil, mtakit.Result{Outcome: mtakit.Delivered}, ""},
		{"relayed", success, mtakit.Result{Outcome: mtakit.Relayed}, "relayed"},
		{"relayed with its duty", success, mtakit.Result{Outcome: mtakit.Relayed, DSN: true}, ""},
		{"expanded", success, mtakit.Result{Outcome: mtakit.Expanded}, "expanded"},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			s := newSpool()
			a := &agent{answer: func(d *mtakit.Delivery, i int) mtakit.Result {
				if d.Envelope.Sender == "" {
					return mtakit.Result{Outcome: mtakit.Delivered}
				}
				return tt.result
			}}
			m := manager(s, a)
			serve(t, m)
			sendEnvelope(t, m, &mtakit.Envelope{Sender: "a@example.org", Recipients: []mtakit.Recipient{
				{Address: "b@example.net", Options: smtp.RcptOptions{Notify: tt.notify}}}})
			synctest.Wait()
			notices := a.to("a@example.org")
			if tt.want == "" {
				assert.Empty(t, notices, tt.name)
			} else {
				require.Len(t, notices, 1, tt.name)
				assert.Contains(t, notices[0].text, "Action: "+tt.want, tt.name)
			}
			assert.Zero(t, s.len(), tt.name)
		})
	}
}

func TestFiveDaysOfRetries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		a := &agent{answer: func(d *mtakit.Delivery, i int) mtakit.Result {
			if d.Envelope.Sender == "" {
				return mtakit.Result{Outcome: mtakit.Delivered}
			}
			return deferred("mailbox full")
		}}
		m := manager(s, a)
		serve(t, m)
		start := time.Now()
		send(t, m, "a@example.org", "b@example.net")
		sleep(6 * 24 * time.Hour)
		calls := a.to("b@example.net")
		require.Greater(t, len(calls), 90)
		for i := 1; i < len(calls); i++ {
			gap, age := calls[i].at.Sub(calls[i-1].at), calls[i-1].at.Sub(start)
			assert.GreaterOrEqual(t, gap, 300*time.Second)
			assert.LessOrEqual(t, gap, min(max(age, 300*time.Second), 4000*time.Second)*9/8+300*time.Second)
			assert.Equal(t, i+1, calls[i].attempt)
		}
		last := calls[len(calls)-1].at.Sub(start)
		assert.InDelta(t, float64(120*time.Hour), float64(last), float64(300*time.Second))
		assert.GreaterOrEqual(t, last, 120*time.Hour)
		notices := a.to("a@example.org")
		require.Len(t, notices, 1)
		assert.Contains(t, notices[0].text, "Status: 4.4.7")
		assert.Contains(t, notices[0].text, "mailbox full")
		assert.Zero(t, s.len())
	})
}

func TestLifetimeOfOneTry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		a := &agent{answer: func(*mtakit.Delivery, int) mtakit.Result { return deferred("later") }}
		m := manager(s, a)
		m.Lifetime = -1
		serve(t, m)
		send(t, m, "a@example.org", "b@example.net")
		synctest.Wait()
		assert.Len(t, a.to("b@example.net"), 1)
		assert.Len(t, a.to("a@example.org"), 1)
		assert.Zero(t, s.len())
	})
}

func TestWarning(t *testing.T) {
	t.Parallel()
	for _, ours := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := newSpool()
			a := &agent{answer: func(d *mtakit.Delivery, _ int) mtakit.Result {
				if d.Envelope.Sender == "" {
					return mtakit.Result{Outcome: mtakit.Delivered}
				}
				return deferred("later")
			}}
			m := manager(s, a)
			m.WarningAfter = 4 * time.Hour
			m.WarnSenders = queue.SendersFunc(func(*mtakit.Envelope) bool { return ours })
			serve(t, m)
			start := time.Now()
			send(t, m, "a@example.org", "b@example.net")
			sleep(100 * time.Hour)
			notices := a.to("a@example.org")
			if !ours {
				assert.Empty(t, notices)
				return
			}
			require.Len(t, notices, 1, "once")
			assert.GreaterOrEqual(t, notices[0].at.Sub(start), 4*time.Hour)
			assert.Less(t, notices[0].at.Sub(start), 6*time.Hour)
			assert.Contains(t, notices[0].text, "Action: delayed")
		})
	}
}

func TestNotBeforeAndHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, a := newSpool(), &agent{}
		m := manager(s, a)
		serve(t, m)
		later := time.Now().Add(10 * time.Hour)
		sendEnvelope(t, m, &mtakit.Envelope{Sender: "a@example.org", NotBefore: later,
			Recipients: []mtakit.Recipient{{Address: "later@example.net"}}})
		held := sendEnvelope(t, m, &mtakit.Envelope{Sender: "a@example.org", Hold: "look at it",
			Recipients: []mtakit.Recipient{{Address: "held@example.net"}}})
		sleep(9 * time.Hour)
		assert.Empty(t, a.all())
		sleep(61 * time.Minute)
		require.Len(t, a.to("later@example.net"), 1)
		assert.Equal(t, later, a.to("later@example.net")[0].at)
		assert.Empty(t, a.to("held@example.net"))
		assert.Equal(t, "look at it", s.get(held).Hold)
	})
}

func TestRouting(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		route  mtakit.Route
		err    error
		panics bool
		status smtp.EnhancedCode
		bounce bool
	}{
		{"error", mtakit.Route{}, errors.New("table on fire"), false, smtp.EnhancedCode{4, 3, 0}, false},
		{"unknown transport", mtakit.Route{Transport: "pigeon"}, nil, false, smtp.EnhancedCode{4, 3, 5}, false},
		{"refused", mtakit.Route{Reply: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 6}, Message: "moved"}}, nil, false, smtp.EnhancedCode{}, true},
		{"not now", mtakit.Route{Reply: &smtp.SMTPError{Code: 450, EnhancedCode: smtp.EnhancedCode{4, 1, 1}, Message: "retry"}}, nil, false, smtp.EnhancedCode{4, 1, 1}, false},
		{"panic", mtakit.Route{}, nil, true, smtp.EnhancedCode{4, 3, 0}, false},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			s, a := newSpool(), &agent{}
			m := manager(s, a)
			m.Router = queue.RouterFunc(func(_ context.Context, e *mtakit.Envelope, _ *mtakit.Recipient) (mtakit.Route, error) {
				if e.Sender == "" {
					return mtakit.Route{Transport: "smtp"}, nil
				}
				if tt.panics {
					panic("router")
				}
				return tt.route, tt.err
			})
			serve(t, m)
			id := send(t, m, "a@example.org", "b@example.net")
			synctest.Wait()
			assert.Empty(t, a.to("b@example.net"), tt.name)
			if tt.bounce {
				assert.Len(t, a.to("a@example.org"), 1, tt.name)
				return
			}
			require.NotNil(t, s.get(id), tt.name)
			assert.Equal(t, tt.status, s.get(id).Marks[0].Result.Status, tt.name)
			assert.NotContains(t, s.get(id).Marks[0].Result.Diagnostic, "fire", tt.name)
			assert.Equal(t, "deferred", s.get(id).Queue, tt.name)
		})
	}
}

func TestAgentMisbehaves(t *testing.T) {
	t.Parallel()
	few := queue.DeliveryAgentFunc(func(_ context.Context, d *mtakit.Delivery) []mtakit.Result {
		return []mtakit.Result{{Outcome: mtakit.Delivered}}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		m := manager(s, few)
		serve(t, m)
		id := send(t, m, "a@example.org", "b@example.net", "c@example.net")
		synctest.Wait()
		marks := s.get(id).Marks
		assert.Equal(t, queue.Done, marks[0].State)
		assert.Equal(t, queue.Pending, marks[1].State)
		assert.NotEmpty(t, marks[1].Result.Diagnostic)
		sleep(10 * time.Minute)
		assert.Zero(t, s.len())
	})
	many := queue.DeliveryAgentFunc(func(_ context.Context, d *mtakit.Delivery) []mtakit.Result {
		d.Report(-1, mtakit.Result{Outcome: mtakit.Delivered})
		d.Report(7, mtakit.Result{Outcome: mtakit.Delivered})
		d.Report(0, mtakit.Result{Outcome: mtakit.Delivered})
		d.Report(0, mtakit.Result{Outcome: mtakit.Bounced})
		return make([]mtakit.Result, 9)
	})
	synctest.Test(t, func(t *testing.T) {
		s := newSpool()
		m := manager(s, many)
		serve(t, m)
		send(t, m, "a@example.org", "b@example.net")
		synctest.Wait()
		assert.Zero(t, s.len(), "what was reported holds")
	})
}

func TestPanicHolds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var kinds []mtakit.EventKind
		s := newSpool()
		m := manager(s, queue.DeliveryAgentFunc(func(context.Context, *mtakit.Delivery) []mtakit.Result { panic("oops") }))
		m.Observer = mtakit.ObserverFunc(func(_ context.Context, e mtakit.Event) {
			mu.Lock()
			defer mu.Unlock()
			kinds = append(kinds, e.Kind)
		})
		serve(t, m)
		id := send(t, m, "a@example.org", "b@example.net")
		synctest.Wait()
		assert.Equal(t, "deferred", s.get(id).Queue)
		sleep(24 * time.Hour)
		assert.Contains(t, s.get(id).Hold, "oops")
		round := []mtakit.EventKind{mtakit.EventActive, mtakit.EventAttempt, mtakit.EventPanic, mtakit.EventDeferred}
		want := append([]mtakit.EventKind{mtakit.EventQueued}, round...)
		want = append(append(append(want, round...), round...), mtakit.EventHeld)
		mu.Lock()
		defer mu.Unlock()
		assert.Equal(t, want, kinds)
	})
}

package queue_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/memspool"
)

// prober is an agent that answers probes, and delivers nothing.
type prober struct {
	t      *testing.T
	verify func(ctx context.Context, d *mtakit.Delivery) []mtakit.Result
	busy   atomic.Int32
	most   atomic.Int32
}

func (p *prober) Deliver(context.Context, *mtakit.Delivery) []mtakit.Result {
	p.t.Error("a probe was delivered")
	return nil
}

func (p *prober) Verify(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	n := p.busy.Add(1)
	defer p.busy.Add(-1)
	for most := p.most.Load(); n > most && !p.most.CompareAndSwap(most, n); most = p.most.Load() {
	}
	assert.NotNil(p.t, d.Message)
	assert.Equal(p.t, "double-bounce@mx.example.org", d.Envelope.Sender)
	return p.verify(ctx, d)
}

func TestVerify(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &memspool.Spool{}
		m := manager(s, &prober{t: t, verify: func(_ context.Context, d *mtakit.Delivery) []mtakit.Result {
			switch name, _, _ := strings.Cut(d.Recipients[0].Address, "@"); name {
			case "no":
				return []mtakit.Result{bounced("no such user")}
			case "none":
				return nil
			case "panic":
				panic("oh")
			}
			return []mtakit.Result{{Outcome: mtakit.Delivered}}
		}})
		m.Agents["deaf"] = &agent{}
		m.Router = queue.RouterFunc(func(_ context.Context, _ *mtakit.Envelope, r *mtakit.Recipient) (mtakit.Route, error) {
			switch name, _, _ := strings.Cut(r.Address, "@"); name {
			case "moved":
				return mtakit.Route{Reply: &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 6}, Message: "moved"}}, nil
			case "lost":
				return mtakit.Route{}, errDisk
			case "deaf", "nowhere":
				return mtakit.Route{Transport: name}, nil
			case "router":
				panic("oh")
			}
			return mtakit.Route{Transport: "smtp"}, nil
		})
		_, err := m.Verify(t.Context(), "yes@example.net")
		require.ErrorIs(t, err, queue.ErrClosed, "before Serve")
		stop := serve(t, m)
		synctest.Wait()
		for address, want := range map[string]string{
			"yes@example.net": "delivered", "no@example.net": "bounced no such user", "none@example.net": "deferred the delivery agent gave no result",
			"panic@example.net": "deferred internal error while verifying", "router@example.net": "deferred internal error while verifying",
			"moved@example.net": "bounced moved", "lost@example.net": "deferred address resolver failure",
			"deaf@example.net":    `deferred mail transport "deaf" cannot verify addresses`,
			"nowhere@example.net": `deferred mail transport unavailable: "nowhere"`,
			"":                    "bounced bad address syntax", "a>\r\nDATA": "bounced bad address syntax",
		} {
			r, err := m.Verify(t.Context(), address)
			require.NoError(t, err)
			assert.Equal(t, want, strings.TrimSpace(r.Outcome.String()+" "+r.Diagnostic), address)
		}
		assert.Empty(t, entries(t, s))
		assert.Empty(t, m.Status().Destinations)
		stop()
		_, err = m.Verify(t.Context(), "yes@example.net")
		require.ErrorIs(t, err, queue.ErrClosed)
	})
}

// TestVerifyInLine: probes stand in the line of their destination, keep its
// limits, and are no reason to ask a dead site.
func TestVerifyInLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &prober{t: t, verify: func(context.Context, *mtakit.Delivery) []mtakit.Result {
			time.Sleep(time.Second)
			return []mtakit.Result{{Outcome: mtakit.Delivered}}
		}}
		m := manager(&memspool.Spool{}, p)
		m.Limits = queue.Limits{Destination: 2}
		stop := serve(t, m)
		synctest.Wait()
		ask := func(n int) (outcomes map[string]int) {
			var mu sync.Mutex
			var wg sync.WaitGroup
			outcomes = make(map[string]int)
			for range n {
				wg.Go(func() {
					r, err := m.Verify(context.Background(), "a@example.net")
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						outcomes[err.Error()]++
						return
					}
					outcomes[r.Outcome.String()+" "+r.Diagnostic]++
				})
			}
			wg.Wait()
			return outcomes
		}
		start := time.Now()
		assert.Equal(t, map[string]int{"delivered ": 20}, ask(20))
		assert.Equal(t, int32(2), p.most.Load())
		assert.Equal(t, 10*time.Second, time.Since(start))

		p.verify = func(context.Context, *mtakit.Delivery) []mtakit.Result {
			time.Sleep(time.Second)
			return []mtakit.Result{down()}
		}
		got := ask(20)
		assert.Equal(t, 20, got["deferred connection refused"]+got["deferred delivery temporarily suspended: connection refused"])
		assert.Less(t, got["deferred connection refused"], 6, "the rest was not tried")
		assert.Equal(t, map[string]int{"deferred delivery temporarily suspended: connection refused": 5}, ask(5))
		sleep(time.Hour)

		// Whoever gives up leaves nothing behind, and is not asked for.
		release := make(chan struct{})
		p.verify = func(ctx context.Context, _ *mtakit.Delivery) []mtakit.Result {
			select {
			case <-release:
			case <-ctx.Done():
			}
			return []mtakit.Result{down()}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for range 6 {
			go func() {
				_, err := m.Verify(ctx, "a@example.net")
				assert.ErrorIs(t, err, context.DeadlineExceeded)
			}()
		}
		sleep(2 * time.Minute)
		assert.Empty(t, m.Status().Destinations)

		// At the end nobody waits for ever.
		failed := make(chan error, 5)
		for range 5 {
			go func() {
				_, err := m.Verify(context.Background(), "a@example.net")
				failed <- err
			}()
		}
		synctest.Wait()
		close(release)
		stop()
		for range 5 {
			if err := <-failed; err != nil {
				assert.True(t, errors.Is(err, queue.ErrClosed))
			}
		}
	})
}

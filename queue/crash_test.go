package queue_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/filespool"
)

// ledger is what senders and the rest of the world know, over all crashes.
type ledger struct {
	mu        sync.Mutex
	accepted  map[string][]string        // recipients by token, of what was acknowledged
	delivered map[string]int             // by token and recipient
	told      map[string]map[string]bool // notifications by token and recipient: their IDs
	recorded  map[string]bool            // by queue ID and recipient: the manager has said that it is done
	again     []string                   // delivered after that
	disk      *crashfs.Disk
}

func newLedger() *ledger {
	return &ledger{accepted: map[string][]string{}, delivered: map[string]int{}, told: map[string]map[string]bool{}, recorded: map[string]bool{}}
}

// Deliver takes mail, bounces what goes to "bad", and defers what goes to
// "second" at first. What happens after the crash did not happen.
func (l *ledger) Deliver(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	time.Sleep(time.Duration(rand.N(20)) * time.Millisecond)
	var b strings.Builder
	_, err := d.Message.WriteTo(&b)
	l.mu.Lock()
	defer l.mu.Unlock()
	results := make([]mtakit.Result, len(d.Recipients))
	for i := range d.Recipients {
		if err == nil && !l.disk.Crashed() {
			results[i] = l.one(d, i, b.String())
		}
		d.Report(i, results[i])
	}
	return results
}

func (l *ledger) one(d *mtakit.Delivery, i int, text string) mtakit.Result {
	to := d.Recipients[i].Address
	if d.Envelope.Sender == "" {
		l.notified(d.ID, text)
		return mtakit.Result{Outcome: mtakit.Delivered}
	}
	switch {
	case strings.HasPrefix(to, "bad"):
		return bounced("no such user")
	case strings.HasPrefix(to, "second") && d.Attempt == 1:
		return deferred("not now")
	}
	key := token(text) + " " + to
	l.delivered[key]++
	if l.recorded[d.ID+" "+to] {
		l.again = append(l.again, key)
	}
	return mtakit.Result{Outcome: mtakit.Relayed}
}

// Observe hears of results that are on disk.
func (l *ledger) Observe(_ context.Context, e mtakit.Event) {
	if e.Kind == mtakit.EventDelivered {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.recorded[e.ID+" "+e.Recipient] = true
	}
}

func (l *ledger) notified(id, text string) {
	for _, line := range strings.Split(text, "\r\n") {
		if to, ok := strings.CutPrefix(line, "Final-Recipient: rfc822; "); ok {
			key := token(text) + " " + to
			if l.told[key] == nil {
				l.told[key] = map[string]bool{}
			}
			l.told[key][id] = true
		}
	}
}

// token finds the name of a message in it, or in what is returned of it.
func token(text string) string {
	_, rest, _ := strings.Cut(text, "X-Token: ")
	token, _, _ := strings.Cut(rest, "\r\n")
	return token
}

// submit sends messages until the crash.
func (l *ledger) submit(m *queue.Manager, prefix string) {
	to := [][]string{{"ok@a.net"}, {"ok@a.net", "bad@a.net", "second@b.net"}, {"second@c.net"}, {"bad@b.net", "bad@c.net"}}
	for n := 0; n < 12 && !l.disk.Crashed(); n++ {
		name := fmt.Sprint(prefix, "-", n)
		d, err := m.Begin(context.Background(), 0)
		if err != nil {
			continue
		}
		_, _ = fmt.Fprintf(d, "X-Token: %s\r\n\r\n%s\r\n", name, strings.Repeat("body", rand.N(400)))
		e := &mtakit.Envelope{Sender: "a@example.org"}
		for _, address := range to[n%len(to)] {
			e.Recipients = append(e.Recipients, mtakit.Recipient{Address: address})
		}
		if _, err := d.Commit(context.Background(), e, nil); err == nil {
			l.mu.Lock()
			l.accepted[name] = to[n%len(to)]
			l.mu.Unlock()
		}
		time.Sleep(time.Duration(rand.N(30)) * time.Millisecond)
	}
}

// life runs a manager on the disk until it crashes, or until everything is
// done when there is no crash.
func (l *ledger) life(t *testing.T, disk *crashfs.Disk, name string) (left []queue.Entry) {
	l.disk = disk
	s, err := filespool.Open("q", filespool.Options{FS: disk, MemoryPerDraft: 512})
	if err != nil {
		require.True(t, disk.Crashed(), "%s: %v", name, err)
		return nil
	}
	m := manager(s, l)
	m.MinBackoff, m.MaxBackoff, m.Observer = time.Minute, time.Minute, l
	done := make(chan error, 1)
	go func() { done <- m.Serve(context.Background()) }()
	var senders sync.WaitGroup
	for n := range 4 {
		senders.Go(func() { l.submit(m, fmt.Sprint(name, "-", n)) })
	}
	senders.Wait()
	time.Sleep(20 * time.Minute)
	require.NoError(t, m.Shutdown(context.Background()))
	require.NoError(t, <-done)
	if !disk.Crashed() {
		left = entries(t, s)
	}
	require.NoError(t, s.Close())
	return left
}

// TestManagerOverCrashes crashes a manager with its spool and many senders at
// random operations, several times on the same disk, by the end of the process
// and by power cuts. In the end everything that was acknowledged is delivered, or
// its sender told; and nothing is doubled but what was not recorded at a crash.
func TestManagerOverCrashes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			l, disk := newLedger(), crashfs.New()
			for n := range 4 {
				disk.Inject(1+rng.IntN(700), crashfs.Fault{Err: crashfs.ErrCrash})
				l.life(t, disk, fmt.Sprint(seed, "-", n))
				cut := rng
				switch rng.IntN(3) {
				case 0:
					cut = nil
					fallthrough
				case 1:
					disk = disk.Restart(cut)
				default:
					disk = disk.Exit()
				}
			}
			require.Empty(t, l.life(t, disk, fmt.Sprint(seed, "-last")), "seed %d", seed)
			l.check(t, seed)
		})
	}
}

func (l *ledger) check(t *testing.T, seed uint64) {
	require.NotEmpty(t, l.accepted)
	for name, to := range l.accepted {
		for _, address := range to {
			key := name + " " + address
			if strings.HasPrefix(address, "bad") {
				require.Len(t, l.told[key], 1, "seed %d: notifications of %s", seed, key)
				continue
			}
			require.Positive(t, l.delivered[key], "seed %d: %s is lost", seed, key)
			require.Empty(t, l.told[key], "seed %d: %s", seed, key)
		}
	}
	require.Empty(t, l.again, "seed %d: what was recorded is not delivered again", seed)
}

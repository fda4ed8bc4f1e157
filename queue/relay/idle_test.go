package relay_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/queue/relay"
)

func keep(a *relay.Agent) { a.IdleTime = 0 }

func TestReuse(t *testing.T) {
	t.Parallel()
	for _, offers := range [][]string{nil, {"PIPELINING"}} {
		p := &peer{offers: offers}
		hop := fixed(p.start(t))
		a := agent(t, keep)
		for range 5 {
			assert.Equal(t, "relayed 2.0.0", brief(deliver(t, a, delivery(hop, "a@example.org"))[0]))
		}
		assert.Equal(t, 1, p.connections())
		assert.Len(t, p.mail(), 5)
	}
}

// TestReuseOfADeadOne: an idle connection that died is no failure of the host.
func TestReuseOfADeadOne(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{"close", "reset", "421 4.4.2 idle too long", "500 what", "garbage"} {
		p := &peer{replies: map[string][]string{"RSET": {reply}}}
		hop := fixed(p.start(t))
		a := agent(t, keep)
		for range 2 {
			assert.Equal(t, "relayed 2.0.0", brief(deliver(t, a, delivery(hop, "a@example.org"))[0]), reply)
		}
		assert.Equal(t, 2, p.connections(), reply)
	}
}

// TestReuseAfterUnaskedReply: a reply too many ends the connection and is not
// taken for the answer to something else.
func TestReuseAfterUnaskedReply(t *testing.T) {
	t.Parallel()
	p := &peer{replies: map[string][]string{".": {"250 2.0.0 ok\r\n250 2.0.0 and this", "451 4.3.0 no"}}}
	hop := fixed(p.start(t))
	a := agent(t, keep)
	assert.Equal(t, "relayed 2.0.0", brief(deliver(t, a, delivery(hop, "a@example.org"))[0]))
	assert.Equal(t, "deferred 4.3.0", brief(deliver(t, a, delivery(hop, "a@example.org"))[0]))
	assert.Equal(t, 2, p.connections())
}

func TestIdleTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &peer{}
		a := &relay.Agent{Hostname: "client.example.test", Dialer: pipe(p.handle)}
		send := func() {
			require.Equal(t, "relayed 2.0.0", brief(a.Deliver(context.Background(), delivery("[192.0.2.1]", "a@example.org"))[0]))
		}
		send()
		time.Sleep(1900 * time.Millisecond)
		send()
		assert.Equal(t, 1, p.connections(), "kept for 2 s")
		time.Sleep(2100 * time.Millisecond)
		synctest.Wait()
		commands := p.commands()
		assert.Equal(t, "QUIT", commands[len(commands)-1])
		send()
		assert.Equal(t, 2, p.connections())
		for range 400 {
			time.Sleep(time.Second)
			send()
		}
		assert.Equal(t, 3, p.connections(), "none is older than 300 s")
		require.NoError(t, a.Close())
		send()
		synctest.Wait()
		commands = p.commands()
		assert.Equal(t, "QUIT", commands[len(commands)-1], "nothing is kept after Close")
	})
}

func TestIdleLimit(t *testing.T) {
	t.Parallel()
	p := &peer{}
	hop := fixed(p.start(t))
	a := agent(t, keep, func(a *relay.Agent) { a.IdleLimit = 2; a.IdleTime = time.Minute })
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 5 {
				assert.Equal(t, "relayed 2.0.0", brief(deliver(t, a, delivery(hop, "a@example.org", "b@example.org"))[0]))
			}
		})
	}
	wg.Wait()
	assert.Len(t, p.mail(), 100)
	before := p.connections()
	for range 3 {
		deliver(t, a, delivery(hop, "a@example.org"))
	}
	assert.Equal(t, before, p.connections())
}

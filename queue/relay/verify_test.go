package relay_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/relay"
)

func verify(t *testing.T, a *relay.Agent, hop string, to ...string) []mtakit.Result {
	d := delivery(hop, to...)
	d.Message = nil
	d.Report = func(int, mtakit.Result) { t.Error("a probe reports nothing") }
	return a.Verify(context.Background(), d)
}

func TestVerify(t *testing.T) {
	t.Parallel()
	for _, offers := range [][]string{nil, {"PIPELINING", "SIZE", "8BITMIME"}} {
		p := &peer{offers: offers, replies: map[string][]string{
			"RCPT TO:<no@": {"550 5.1.1 who"}, "RCPT TO:<later@": {"450 4.2.0 greylisted"}, "RCPT TO:<many@": {"452 4.5.3 too many"}}}
		hop := fixed(p.start(t))
		a := agent(t, keep)
		var got []string
		for _, r := range verify(t, a, hop, "yes@example.org", "no@example.org", "later@example.org", "many@example.org") {
			got = append(got, brief(r))
		}
		assert.Equal(t, []string{"delivered 2.1.0", "bounced 5.1.1", "deferred 4.2.0", "deferred 4.5.3"}, got)
		assert.Equal(t, "relayed 2.0.0", brief(deliver(t, a, delivery(hop, "yes@example.org"))[0]))
		assert.Equal(t, "delivered 2.1.0", brief(verify(t, a, hop, "yes@example.org")[0]))
		assert.Equal(t, 1, p.connections(), "probes and deliveries share connections")
		assert.Len(t, p.mail(), 1)
		data := 0
		for _, line := range p.commands() {
			assert.NotContains(t, line, "SIZE=0")
			if line == "DATA" {
				data++
			}
			if strings.HasPrefix(line, "MAIL") {
				assert.True(t, strings.HasPrefix(line, "MAIL FROM:<"), line)
			}
		}
		assert.Equal(t, 1, data)
	}
}

// TestVerifyRefused: what stops a delivery before RCPT stops a probe too, and is
// told apart in the same way.
func TestVerifyRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		p    *peer
		want string
	}{
		{p: &peer{greeting: "554 5.3.2 no"}, want: "deferred 4.3.2 site"},
		{p: &peer{replies: map[string][]string{"MAIL": {"550 5.7.1 not you"}}}, want: "bounced 5.7.1"},
		{p: &peer{replies: map[string][]string{"MAIL": {"451 4.7.1 not now"}}}, want: "deferred 4.7.1"},
		{p: &peer{replies: map[string][]string{"RCPT": {"421 4.3.2 going"}}}, want: "deferred 4.3.2 site"},
		{p: &peer{replies: map[string][]string{"RCPT": {"close"}}}, want: "deferred 4.4.2 site"},
	} {
		r := verify(t, agent(t), fixed(c.p.start(t)), "a@example.org")[0]
		assert.Equal(t, c.want, brief(r))
		assert.Empty(t, c.p.mail())
		assert.NotContains(t, c.p.commands(), "DATA")
	}
	assert.Equal(t, "bounced 5.1.3", brief(verify(t, agent(t), "[127.0.0.1]:1", "a>\r\nDATA@x")[0]))
}

package relay_test

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/queue/relay"
)

// TestLMTP: after the end of data there is a reply for each accepted recipient
// (RFC 2033, section 4.2).
func TestLMTP(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		end  string
		want []string
	}{
		{"all", "250 2.1.5 a\r\n250 2.1.5 c", []string{"relayed 2.1.5", "bounced 5.1.1", "relayed 2.1.5"}},
		{"one over quota", "452 4.2.2 a is full\r\n250 2.1.5 c", []string{"deferred 4.2.2", "bounced 5.1.1", "relayed 2.1.5"}},
		{"one refused", "250 2.1.5 a\r\n552 5.2.2 c is full", []string{"relayed 2.1.5", "bounced 5.1.1", "bounced 5.2.2"}},
		{"421 in between", "250 2.1.5 a\r\n421 4.3.0 bye", []string{"relayed 2.1.5", "bounced 5.1.1", "deferred 4.3.0 site"}},
		{"421 at once", "421 4.3.0 bye", []string{"deferred 4.3.0 site", "bounced 5.1.1", "deferred 4.3.0 site"}},
		{"cut off", "raw:250 2.1.5 a\r\n", []string{"relayed 2.1.5", "bounced 5.1.1", "deferred 4.4.2"}},
	}
	for _, tt := range tests {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(tt.name+"/"+network, func(t *testing.T) {
				t.Parallel()
				p := &peer{offers: []string{"PIPELINING"}, name: "client.example.test", replies: map[string][]string{
					"RCPT TO:<b@": {"550 5.1.1 no"}, ".": {tt.end}, "QUIT": {"close"}}}
				handle := p.handle
				if tt.name == "cut off" {
					handle = func(c net.Conn) { p.handle(&closer{Conn: c, after: "a\r\n"}) }
				}
				hop := ""
				if network == "unix" {
					path := filepath.Join(t.TempDir(), "s")
					l, err := net.Listen("unix", path)
					require.NoError(t, err)
					serve(t, l, handle)
					hop = "unix:" + path
				} else {
					hop = "inet:" + fixed(listen(t, handle))
				}
				a := agent(t, func(a *relay.Agent) { a.LMTP = true })
				results := deliver(t, a, delivery(hop, "a@example.org", "b@example.org", "c@example.org"))
				assert.Equal(t, tt.want, briefs(results))
				assert.Equal(t, "LHLO client.example.test", p.commands()[0])
				assert.Equal(t, []string{text + ".\r\n"}, p.mail())
			})
		}
	}
}

// closer closes a connection after something was written to it.
type closer struct {
	net.Conn
	after string
}

func (c *closer) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if len(p) >= len(c.after) && string(p[len(p)-len(c.after):]) == c.after {
		c.Close()
	}
	return n, err
}

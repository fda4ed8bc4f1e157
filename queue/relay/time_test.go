package relay_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/relay"
)

// pipe is a Dialer that hands one end of a pipe to handle.
func pipe(handle func(c net.Conn)) relay.Dialer {
	return relay.DialerFunc(func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			handle(server)
		}()
		return client, nil
	})
}

// TestTimeouts: a server that falls silent at some step is waited for exactly as
// long as Postfix does.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		silent string
		after  time.Duration
		want   string
	}{
		{"GREETING", 300 * time.Second, "deferred 4.4.2 site"},
		{"EHLO", 300 * time.Second, "deferred 4.4.2 site"},
		{"STARTTLS", 300 * time.Second, "deferred 4.7.4 site"},
		{"MAIL", 300 * time.Second, "deferred 4.4.2 site"},
		{"RCPT", 300 * time.Second, "deferred 4.4.2 site"},
		{"DATA", 120 * time.Second, "deferred 4.4.2"},
		{".", 600 * time.Second, "deferred 4.4.2"},
	}
	for _, tt := range tests {
		t.Run(tt.silent, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{replies: map[string][]string{tt.silent: {"silent"}}}
				level := relay.TLSNone
				if tt.silent == "STARTTLS" {
					p.offers, level = []string{"STARTTLS"}, relay.TLSEncrypt
				}
				a := &relay.Agent{Hostname: "client.example.test", Dialer: pipe(p.handle), TLS: level}
				start := time.Now()
				results := a.Deliver(context.Background(), delivery("[192.0.2.1]", "a@example.org"))
				assert.Equal(t, tt.want, brief(results[0]))
				assert.Contains(t, results[0].Diagnostic, map[bool]string{true: "timed out", false: "STARTTLS"}[tt.silent != "STARTTLS"])
				assert.Equal(t, tt.after, time.Since(start))
			})
		})
	}
}

// TestTrickle: a byte a minute keeps nobody waiting any longer.
func TestTrickle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &relay.Agent{Hostname: "client.example.test", Dialer: pipe(func(c net.Conn) {
			for {
				if _, err := io.WriteString(c, "2"); err != nil {
					return
				}
				time.Sleep(time.Minute)
			}
		})}
		start := time.Now()
		results := a.Deliver(context.Background(), delivery("[192.0.2.1]", "a@example.org"))
		assert.Equal(t, "deferred 4.4.2 site", brief(results[0]))
		assert.Equal(t, 300*time.Second, time.Since(start))
		time.Sleep(time.Hour) // the server comes to its end
	})
}

// TestSlowReader: a server that reads a kibibyte a minute is a slow one, not a
// dead one; one that reads nothing is.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	for _, stuck := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a := &relay.Agent{Hostname: "client.example.test", Dialer: pipe(func(c net.Conn) {
				in := bufio.NewReader(c)
				for _, reply := range []string{"220 mx", "250 mx", "250 ok", "250 ok", "354 go"} {
					_, _ = io.WriteString(c, reply+"\r\n")
					_, _ = in.ReadString('\n')
				}
				if stuck {
					time.Sleep(time.Hour)
					return
				}
				var tail string
				for buf := make([]byte, 1024); !strings.HasSuffix(tail, "\r\n.\r\n"); {
					n, err := in.Read(buf)
					if err != nil {
						return
					}
					tail += string(buf[:n])
					tail = tail[max(0, len(tail)-5):]
					time.Sleep(2 * time.Second)
				}
				_, _ = io.WriteString(c, "250 2.0.0 ok\r\n")
				_, _ = in.ReadString('\n')
			})}
			d := delivery("[192.0.2.1]", "a@example.org")
			d.Message = mtakit.NewMessage([]byte(text + strings.Repeat("0123456789abcdef\r\n", 60_000)))
			start := time.Now()
			results := a.Deliver(context.Background(), d)
			if stuck {
				assert.Equal(t, "deferred 4.4.2", brief(results[0]))
				assert.Equal(t, 180*time.Second, time.Since(start))
			} else {
				assert.Equal(t, "relayed 2.0.0", brief(results[0]), results[0].Diagnostic)
				assert.Greater(t, time.Since(start), 600*time.Second)
			}
			_ = a.Close()
			time.Sleep(time.Hour) // the server comes to its end
		})
	}
}

// TestCancel: a delivery that is given up ends at once, but for the reply to the
// end of data, which is worth some seconds.
func TestCancel(t *testing.T) {
	t.Parallel()
	tests := []struct {
		silent string
		after  time.Duration
	}{{"GREETING", 0}, {"EHLO", 0}, {"RCPT", 0}, {"DATA", 0}, {".", 5 * time.Second}}
	for _, tt := range tests {
		t.Run(tt.silent, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &peer{replies: map[string][]string{tt.silent: {"silent"}}}
				a := &relay.Agent{Hostname: "client.example.test", Dialer: pipe(p.handle)}
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				start := time.Now()
				results := a.Deliver(ctx, delivery("[192.0.2.1]", "a@example.org"))
				assert.Equal(t, "deferred 4.3.2", brief(results[0]))
				assert.Equal(t, time.Minute+tt.after, time.Since(start))
			})
		})
	}
}

// TestCancelBeforeReply: the reply that comes soon after the delivery was given
// up counts, so that the message is not sent twice.
func TestCancelBeforeReply(t *testing.T) {
	t.Parallel()
	for _, lmtp := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			a := &relay.Agent{Hostname: "client.example.test", LMTP: lmtp, Dialer: pipe(func(c net.Conn) {
				in := bufio.NewReader(c)
				for _, reply := range []string{"220 mx", "250 mx", "250 ok", "250 ok", "250 ok", "354 go"} {
					_, _ = io.WriteString(c, reply+"\r\n")
					_, _ = in.ReadString('\n')
				}
				for line := ""; line != ".\r\n"; {
					line, _ = in.ReadString('\n')
				}
				cancel()
				for range 2 {
					time.Sleep(2 * time.Second)
					_, _ = io.WriteString(c, "250 2.0.0 ok\r\n")
				}
			})}
			results := a.Deliver(ctx, delivery("[192.0.2.1]", "a@example.org", "b@example.org"))
			assert.Equal(t, []string{"relayed 2.0.0", "relayed 2.0.0"}, briefs(results))
			_ = a.Close()
			time.Sleep(10 * time.Second) // the server comes to its end
		})
	}
}

func TestCancelledBefore(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p := &peer{}
	hop := fixed(p.start(t))
	dns, _ := resolver(t)
	for _, next := range []string{hop, "a.example"} {
		a := agent(t, func(a *relay.Agent) { a.Resolver = dns })
		assert.Equal(t, []string{"deferred 4.3.2", "deferred 4.3.2"}, briefs(a.Deliver(ctx, delivery(next, "a@example.org", "b@example.org"))))
	}
}

// TestDialTimeout: the time to connect is bounded, whoever dials.
func TestDialTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := &relay.Agent{Hostname: "client.example.test", Dialer: relay.DialerFunc(func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})}
		start := time.Now()
		results := a.Deliver(context.Background(), delivery("[192.0.2.1]", "a@example.org"))
		assert.Equal(t, "deferred 4.4.1 site", brief(results[0]))
		assert.Equal(t, 30*time.Second, time.Since(start))
	})
}

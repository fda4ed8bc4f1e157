package attack

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/filter"
	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/rewrite"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/filespool"
	"github.com/mtakit/mtakit/restrictions"
	"github.com/mtakit/mtakit/smtpserver"
	"github.com/mtakit/mtakit/smtpserver/auth"
	"github.com/mtakit/mtakit/tlsutil"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is a server with all that stands behind it.
type house struct {
	t      testing.TB
	addr   string
	dir    string
	server *smtpserver.Server
	intake *smtpserver.Intake

	mu       sync.Mutex
	received map[string]string // queue ID to session ID
	arrived  map[string][]delivered
	faults   []string // lines of the log at ERROR
}

// delivered is what the agent got for one recipient.
type delivered struct {
	to, raw string
	env     mtakit.Envelope
}

// build starts a house; change may alter it before it opens.
func build(t testing.TB, change func(h *house)) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), received: map[string]string{}, arrived: map[string][]delivered{}}
	logger := slog.New(faultHandler{slog.DiscardHandler, h})
	spool, err := filespool.Open(filepath.Join(h.dir, "queue"), filespool.Options{Logger: logger})
	require.NoError(t, err)
	manager := &queue.Manager{
		Spool: spool, Hostname: "mx.example.test", Logger: logger, Observer: mtakit.ObserverFunc(h.observe),
		Router: queue.RouterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Recipient) (mtakit.Route, error) {
			return mtakit.Route{Transport: "local", NextHop: "here"}, nil
		}),
		Agents: map[string]queue.DeliveryAgent{"local": queue.DeliveryAgentFunc(h.deliver)},
	}
	h.intake = &smtpserver.Intake{
		Queue: manager, Logger: logger, Observer: mtakit.ObserverFunc(h.observe), Filter: filters(t),
		Restrictions: policy(),
		Rewriter:     &rewrite.Trivial{Origin: func() string { return "example.test" }},
		AddMissing:   restrictions.PermitSASLAuthenticated{},
		Authenticator: &auth.SASL{Verifier: &auth.Passwd{Table: lookup.Inline{
			"user@example.test": "{PLAIN}secret", `"x) y\" <z>"@example.test`: "{PLAIN}secret"}}},
	}
	h.server = &smtpserver.Server{Backend: h.intake, Hostname: "mx.example.test",
		AllowInsecureAuth: true, MaxSize: 20_000_000, MaxConns: 400, ErrorDelay: -1, Logger: logger}
	if change != nil {
		change(h)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	h.addr = l.Addr().String()
	var group sync.WaitGroup
	group.Go(func() { assert.ErrorIs(t, h.server.Serve(l), smtpserver.ErrServerClosed) })
	ctx, stop := context.WithCancel(context.Background())
	group.Go(func() { manager.Serve(ctx) })
	t.Cleanup(func() {
		assert.NoError(t, h.server.Close())
		assert.Eventually(t, func() bool {
			for range manager.Entries(context.Background()) {
				return false
			}
			return true
		}, 20*time.Second, 5*time.Millisecond, "the queue is not empty")
		quiet, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		assert.NoError(t, manager.Shutdown(quiet))
		stop()
		group.Wait()
		h.settle()
		assert.NoError(t, spool.Close())
		h.clean()
	})
	return h
}

// offerTLS gives the server a certificate.
func (h *house) offerTLS() {
	dir := tlsutil.Dir{Path: filepath.Join(h.dir, "tls"), Names: []string{"localhost"}}
	pair, err := dir.Open()
	require.NoError(h.t, err)
	h.server.TLSConfig = tlsutil.Server(pair)
}

// policy takes mail for example.test.
func policy() *restrictions.Stages {
	return &restrictions.Stages{
		Sender: restrictions.CheckSenderAccess{Table: lookup.Inline{"prepend@example.test": "PREPEND X-Seen: yes\r\nX-Forged: yes"}},
		Relay: restrictions.List{restrictions.PermitSASLAuthenticated{},
			restrictions.RejectUnauthDestination{Domains: lookup.Inline{"example.test": "OK"}}},
	}
}

// filters are header and body checks and aliases, some of them bombs.
func filters(t testing.TB) filter.Chain {
	header, problems := lookup.ParseRegexp("header_checks", "/^Subject: .*forbidden/ REJECT\n/^X-Old:/ IGNORE\n", lookup.Options{})
	require.Empty(t, problems)
	body, problems := lookup.ParseRegexp("body_checks", "/forbidden fruit/ REJECT\n", lookup.Options{})
	require.Empty(t, problems)
	virtual := lookup.Inline{"wide@example.test": many("leaf", 1500), "loop@example.test": "loop2@example.test",
		"loop2@example.test": "loop@example.test", "list@example.test": many("member", 900)}
	for i := range 64 {
		virtual[fmt.Sprintf("bomb%d@example.test", i)] = fmt.Sprintf("bomb%d@example.test, x%d@example.test, bomb%d@example.test", i+1, i, i+1)
		virtual[fmt.Sprintf("tree%d@example.test", i)] = fmt.Sprintf("tree%d@example.test, tree%d@example.test", 2*i+1, 2*i+2)
	}
	return filter.Chain{filter.HeaderChecks{Table: header}, filter.BodyChecks{Table: body},
		&rewrite.Cleanup{Expander: &rewrite.Expander{Virtual: &rewrite.Virtual{Table: virtual}}}}
}

func many(name string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s%d@example.test ", name, i)
	}
	return b.String()
}

func (h *house) deliver(_ context.Context, d *mtakit.Delivery) []mtakit.Result {
	var b bytes.Buffer
	_, err := d.Message.WriteTo(&b)
	results := make([]mtakit.Result, len(d.Recipients))
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, r := range d.Recipients {
		results[i] = mtakit.ResultOf(err)
		h.arrived[d.ID] = append(h.arrived[d.ID], delivered{r.Address, b.String(), *d.Envelope.Clone()})
	}
	return results
}

func (h *house) observe(_ context.Context, e mtakit.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch e.Kind {
	case mtakit.EventReceived:
		h.received[e.ID] = e.Session
	case mtakit.EventPanic, mtakit.EventCorrupt, mtakit.EventDeferred:
		h.faults = append(h.faults, fmt.Sprint(e.Kind, " ", e.Err, " ", e.Reason))
	}
}

// settle waits until all that was received was delivered, each exactly once to
// each recipient, and nothing else.
func (h *house) settle() {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	assert.Empty(h.t, h.faults)
	for id := range h.received {
		assert.NotEmpty(h.t, h.arrived[id], "%s was acknowledged and is not there", id)
	}
	for id, all := range h.arrived {
		assert.Contains(h.t, h.received, id, "delivered and not acknowledged")
		seen := map[string]bool{}
		for _, d := range all {
			assert.False(h.t, seen[d.to], "twice to %s", d.to)
			seen[d.to] = true
			assert.Equal(h.t, strings.Count(d.raw, "\n"), strings.Count(d.raw, "\r\n"), "a bare LF came through")
			assert.Equal(h.t, strings.Count(d.raw, "\r"), strings.Count(d.raw, "\r\n"), "a bare CR came through")
		}
	}
}

// clean looks for what was left behind on disk.
func (h *house) clean() {
	err := filepath.WalkDir(filepath.Join(h.dir, "queue"), func(path string, d os.DirEntry, err error) error {
		if d.Name() == "journal" {
			return filepath.SkipDir
		}
		if err == nil && d.Type().IsRegular() && !strings.HasPrefix(d.Name(), ".") && d.Name() != "lock" && d.Name() != "version" {
			assert.Fail(h.t, "left behind", path)
		}
		return err
	})
	assert.NoError(h.t, err)
	spool, err := filespool.Open(filepath.Join(h.dir, "queue"), filespool.Options{ReadOnly: true})
	require.NoError(h.t, err)
	defer spool.Close()
	for e, err := range spool.Entries(context.Background()) {
		assert.Fail(h.t, "left behind", "%+v %v", e, err)
	}
}

// messages waits until n messages were delivered and returns all.
func (h *house) messages(n int) map[string][]delivered {
	h.t.Helper()
	require.Eventually(h.t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.arrived) >= n
	}, 20*time.Second, 5*time.Millisecond)
	h.mu.Lock()
	defer h.mu.Unlock()
	require.Len(h.t, h.received, n)
	return h.arrived
}

// one returns the only delivery there is.
func (h *house) one() delivered {
	h.t.Helper()
	for _, all := range h.messages(1) {
		return all[0]
	}
	return delivered{}
}

// faultHandler keeps what the server says of faults of its own: strangers must
// not be able to cause any.
type faultHandler struct {
	slog.Handler
	h *house
}

func (f faultHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelError
}

func (f faultHandler) WithAttrs([]slog.Attr) slog.Handler { return f }

func (f faultHandler) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	f.h.mu.Lock()
	defer f.h.mu.Unlock()
	f.h.faults = append(f.h.faults, text)
	return nil
}

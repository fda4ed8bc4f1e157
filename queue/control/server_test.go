package control_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/control"
	"github.com/mtakit/mtakit/queue/filespool"
)

// bed is a queue whose mail cannot be delivered, and a socket in front of it.
type bed struct {
	*control.Client
	manager *queue.Manager
	spool   *filespool.Spool
	server  *control.Server
	dir     string
}

func bySMTP(context.Context, *mtakit.Envelope, *mtakit.Recipient) (mtakit.Route, error) {
	return mtakit.Route{Transport: "smtp"}, nil
}

// later defers everything but what goes to senders.
func later(_ context.Context, d *mtakit.Delivery) []mtakit.Result {
	results := make([]mtakit.Result, len(d.Recipients))
	for i := range results {
		results[i] = mtakit.Result{Remote: "mx.example.net[192.0.2.1]:25",
			Reply: &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 2, 2}, Message: "mailbox full"}}
		if strings.HasSuffix(d.Recipients[i].Address, "@sender.example") {
			results[i] = mtakit.Result{Outcome: mtakit.Delivered}
		}
	}
	return results
}

func newBed(t *testing.T, change ...func(s *control.Server)) *bed {
	t.Helper()
	dir := t.TempDir()
	spool, err := filespool.Open(filepath.Join(dir, "queue"), filespool.Options{})
	require.NoError(t, err)
	b := &bed{dir: dir, spool: spool, Client: &control.Client{Path: filepath.Join(dir, "control.sock")}}
	b.manager = &queue.Manager{Spool: spool, Router: queue.RouterFunc(bySMTP),
		Agents: map[string]queue.DeliveryAgent{"smtp": queue.DeliveryAgentFunc(later)}}
	b.server = &control.Server{Local: control.Local{Queue: b.manager, Checker: spool, Corrupt: filepath.Join(dir, "queue", "corrupt")}}
	for _, c := range change {
		c(b.server)
	}
	l, err := control.Listen(b.Path, 0o666)
	require.NoError(t, err)
	managed, served := make(chan error, 1), make(chan error, 1)
	go func() { managed <- b.manager.Serve(context.Background()) }()
	go func() { served <- b.server.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		b.Close()
		assert.NoError(t, b.server.Shutdown(context.Background()))
		assert.NoError(t, <-served)
		assert.NoError(t, b.manager.Shutdown(context.Background()))
		assert.NoError(t, <-managed)
		assert.NoError(t, spool.Close())
		assert.NoFileExists(t, b.Path)
	})
	return b
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// send puts a message into the queue, and on hold unless hold is "".
func (b *bed) send(t *testing.T, hold, sender string, to ...string) string {
	t.Helper()
	e := &mtakit.Envelope{Sender: sender, Hold: hold}
	for _, address := range to {
		e.Recipients = append(e.Recipients, mtakit.Recipient{Address: address})
	}
	d, err := b.manager.Begin(t.Context(), 0)
	require.NoError(t, err)
	_, err = io.WriteString(d, "Subject: hello\r\n\r\nHi\r\n")
	require.NoError(t, err)
	id, err := d.Commit(t.Context(), e, nil)
	require.NoError(t, err)
	return id
}

// list returns what is listed, and fails for any error.
func (b *bed) list(t *testing.T, q control.Query) (all []control.Message) {
	t.Helper()
	for m, err := range b.List(t.Context(), q) {
		require.NoError(t, err)
		all = append(all, m)
	}
	return all
}

// do does something to messages, and returns the errors by ID.
func (b *bed) do(t *testing.T, op control.Operation, ids ...string) map[string]error {
	t.Helper()
	done := map[string]error{}
	for id, err := range b.Do(t.Context(), op, ids, "by hand") {
		require.NotEmpty(t, id, "%v", err)
		done[id] = err
	}
	return done
}

// until waits for something that another goroutine does.
func until(t *testing.T, what func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	overdue := time.After(30 * time.Second)
	for !what() {
		select {
		case <-tick.C:
		case <-overdue:
			require.Fail(t, "it never happens")
		}
	}
}

// runs remembers the order of queue runs.
type runs struct {
	*queue.Manager
	asked []queue.SortOrder
}

func (r *runs) QueueRun(ctx context.Context, q queue.QueueRun) (int, error) {
	r.asked = append(r.asked, q.Sort)
	return r.Manager.QueueRun(ctx, q)
}

// TestQueueRun has a part of the queue tried, through the socket.
func TestQueueRun(t *testing.T) {
	t.Parallel()
	all := &runs{}
	b := newBed(t, func(s *control.Server) {
		all.Manager = s.Queue.(*queue.Manager)
		s.Queue = all
	})
	ids := []string{b.send(t, "", "a@one.example", "x@example.net", "y@example.org"), b.send(t, "", "b@two.example", "z@example.net")}
	held := b.send(t, "look", "a@one.example", "x@example.net")
	attempts := map[string]int{ids[0]: 1, ids[1]: 1, held: 0}
	for _, tt := range []struct {
		run  control.Run
		want []string
	}{
		{control.Run{}, ids},
		{control.Run{Sort: queue.SortPriority}, ids},
		{control.Run{Selection: control.Selection{Sender: "two.example"}, Sort: queue.SortHost}, ids[1:]},
		{control.Run{Selection: control.Selection{Recipient: "y@"}}, ids[:1]},
		{control.Run{Selection: control.Selection{Recipient: "!y@example.org"}}, ids[1:]},
		{control.Run{Selection: control.Selection{Site: "example.org"}, Sort: queue.SortTime}, ids[:1]},
		{control.Run{Selection: control.Selection{IDs: ids[1:]}}, ids[1:]},
		{control.Run{Selection: control.Selection{Queue: "hold"}}, nil},
		{control.Run{Selection: control.Selection{Sender: "nobody"}}, nil},
	} {
		settled := func() bool {
			for _, m := range b.list(t, control.Query{}) {
				if m.ID != held && (m.Queue != "deferred" || m.Attempts != attempts[m.ID]) {
					return false
				}
			}
			return true
		}
		until(t, settled)
		n, err := b.QueueRun(t.Context(), tt.run)
		require.NoError(t, err)
		assert.Len(t, tt.want, n, "%+v", tt.run)
		for _, id := range tt.want {
			attempts[id]++
		}
		until(t, settled)
		assert.Equal(t, tt.run.Sort, all.asked[len(all.asked)-1])
	}
	for _, bad := range []control.Run{{Sort: "size"}, {Selection: control.Selection{Queue: "maildrop"}}, {Selection: control.Selection{Sender: "!"}}} {
		_, err := b.QueueRun(t.Context(), bad)
		assert.ErrorIs(t, err, control.ErrUsage)
	}
}

func TestOperations(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	id := b.send(t, "", "a@sender.example", "one@example.net", "two@example.org")
	until(t, func() bool { m := b.list(t, control.Query{}); return len(m) == 1 && m[0].Queue == "deferred" })
	m := b.list(t, control.Query{})[0]
	assert.Equal(t, id, m.ID)
	assert.Equal(t, "a@sender.example", m.Sender)
	assert.Equal(t, []string{"example.net", "example.org"}, m.Domains)
	const said = "host mx.example.net[192.0.2.1]:25 said: 452 4.2.2 mailbox full"
	assert.Equal(t, said, m.Reason)
	assert.Equal(t, []control.Recipient{{Address: "one@example.net", Reason: said}, {Address: "two@example.org", Reason: said}}, m.Recipients)
	assert.Equal(t, 1, m.Attempts)
	assert.Empty(t, b.list(t, control.Query{Brief: true})[0].Recipients)

	assert.Equal(t, map[string]error{id: nil}, b.do(t, control.Hold, id))
	m = b.list(t, control.Query{})[0]
	assert.Equal(t, []string{"hold", "by hand"}, []string{m.Queue, m.Reason})
	assert.ErrorIs(t, b.do(t, control.Flush, id)[id], control.ErrHeld)
	assert.ErrorIs(t, b.do(t, control.Flush, "nobody")["nobody"], queue.ErrNotFound)
	assert.Equal(t, map[string]error{id: nil}, b.do(t, control.Release, id))
	until(t, func() bool {
		m := b.list(t, control.Query{})
		return len(m) == 1 && m[0].Attempts == 2 && m[0].Queue == "deferred"
	})
	assert.Equal(t, map[string]error{id: nil}, b.do(t, control.Flush, id))
	until(t, func() bool {
		m := b.list(t, control.Query{})
		return len(m) == 1 && m[0].Attempts == 3 && m[0].Queue == "deferred"
	})
	require.NoError(t, b.Flush(t.Context(), ""))
	until(t, func() bool {
		m := b.list(t, control.Query{})
		return len(m) == 1 && m[0].Attempts == 4 && m[0].Queue == "deferred"
	})
	require.NoError(t, b.Flush(t.Context(), "example.org"))
	until(t, func() bool {
		m := b.list(t, control.Query{})
		return len(m) == 1 && m[0].Attempts == 5 && m[0].Queue == "deferred"
	})

	assert.Equal(t, map[string]error{id: nil}, b.do(t, control.Requeue, id))
	until(t, func() bool {
		m := b.list(t, control.Query{})
		return len(m) == 1 && m[0].ID != id && m[0].Queue == "deferred"
	})
	again := b.list(t, control.Query{})[0].ID
	results := b.do(t, control.Expire, id, again)
	assert.ErrorIs(t, results[id], queue.ErrNotFound)
	assert.NoError(t, results[again])
	until(t, func() bool { return len(b.list(t, control.Query{})) == 0 })

	id = b.send(t, "look", "a@sender.example", "one@example.net")
	assert.Equal(t, map[string]error{id: nil}, b.do(t, control.Delete, id, id))
	assert.Empty(t, b.list(t, control.Query{}))
	for _, err := range b.Do(t.Context(), "explode", []string{id}, "") {
		assert.ErrorIs(t, err, control.ErrUsage)
	}
}

// TestReceipts has a message that is over, and kept for its key.
func TestReceipts(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	e := &mtakit.Envelope{Sender: "a@sender.example", Recipients: []mtakit.Recipient{{Address: "b@sender.example"}}}
	id, err := b.manager.Submit(t.Context(), e, strings.NewReader("Subject: hello\r\n\r\n"), queue.Submission{Key: "order-17"})
	require.NoError(t, err)
	until(t, func() bool { return len(b.list(t, control.Query{})) == 0 })
	got := b.list(t, control.Query{Receipts: true})
	require.Len(t, got, 1)
	assert.Equal(t, id, got[0].ID)
	assert.Len(t, b.list(t, control.Query{Selection: control.Selection{IDs: []string{id}}}), 1)
	d, text, err := b.Show(t.Context(), id)
	require.NoError(t, err)
	text.Close()
	assert.Equal(t, "order-17", d.Key)
	assert.Equal(t, "done", d.All[0].State)
	for _, op := range []control.Operation{control.Hold, control.Requeue, control.Expire} {
		assert.ErrorIs(t, b.do(t, op, id)[id], queue.ErrNotFound, op)
	}
	for checked, err := range b.Check(t.Context(), control.Query{}) {
		require.NoError(t, err)
		assert.Equal(t, id, checked)
	}
}

func TestShow(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	id := b.send(t, "look", "a@sender.example", "one@example.net")
	d, text, err := b.Show(t.Context(), id)
	require.NoError(t, err)
	defer text.Close()
	got, err := io.ReadAll(text)
	require.NoError(t, err)
	assert.Equal(t, "Subject: hello\r\n\r\nHi\r\n", string(got))
	assert.EqualValues(t, len(got), d.Length)
	assert.Equal(t, "look", d.Reason)
	assert.Equal(t, []control.Destiny{{Address: "one@example.net", State: "pending", Outcome: "deferred"}}, d.All)
	for _, id := range []string{"nothing", "", "../../etc/passwd", "a/b", "..", "\x00"} {
		_, _, err := b.Show(t.Context(), id)
		require.ErrorIs(t, err, queue.ErrNotFound, id)
	}
}

func TestSubmit(t *testing.T) {
	t.Parallel()
	b := newBed(t, func(s *control.Server) {
		s.Submitter = control.SubmitterFunc(func(_ context.Context, uid int, r io.Reader) (string, error) {
			b, err := io.ReadAll(r)
			switch {
			case err != nil:
				return "", err
			case strings.HasPrefix(string(b), "bad"):
				return "", fmt.Errorf("%w: bad line", control.ErrRefused)
			case strings.HasPrefix(string(b), "5"):
				return "", &smtp.SMTPError{Code: 550, Message: "no"}
			case strings.HasPrefix(string(b), "4"):
				return "", &smtp.SMTPError{Code: 452, Message: "full"}
			case strings.HasPrefix(string(b), "err"):
				return "", errors.New("disk on fire")
			}
			return fmt.Sprintf("%d-%d", uid, len(b)), nil
		})
	})
	id, err := b.Submit(t.Context(), strings.NewReader(strings.Repeat("x", 3<<20)))
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf("%d-%d", os.Getuid(), 3<<20), id)
	for text, want := range map[string]error{"bad": control.ErrRefused, "5": control.ErrRefused, "4": control.ErrTemporary, "err": control.ErrTemporary} {
		_, err := b.Submit(t.Context(), strings.NewReader(text))
		assert.ErrorIs(t, err, want, text)
	}
	_, err = newBed(t).Submit(t.Context(), strings.NewReader(""))
	assert.ErrorIs(t, err, control.ErrUnsupported)
}

func TestNoServer(t *testing.T) {
	t.Parallel()
	c := &control.Client{Path: filepath.Join(t.TempDir(), "control.sock")}
	defer c.Close()
	require.ErrorIs(t, c.Flush(t.Context(), ""), control.ErrServer)

	l, err := net.Listen("unix", c.Path) // something else answers
	require.NoError(t, err)
	other := &http.Server{Handler: http.NotFoundHandler()}
	go other.Serve(l)
	defer other.Close()
	require.ErrorIs(t, c.Flush(t.Context(), ""), control.ErrServer)
}

package maildir_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/maildir"
)

type table map[string]string

func (t table) Lookup(_ context.Context, key string) (string, bool, error) {
	if key == "broken@example.org" {
		return "", false, errors.New("server has gone away")
	}
	v, ok := t[key]
	return v, ok, nil
}

var mailboxes = table{
	"alice@example.org":  "example.org/alice/",
	"bob@example.org":    "/example.org/bob/",
	"evil@example.org":   "../outside/",
	"dots@example.org":   "example.org/../example.org/bob/",
	"link@example.org":   "link/",
	"mbox@example.org":   "example.org/mbox",
	"file@example.org":   "plain/",
	"inline@example.org": "example.org/in\x00line/",
}

func newAgent(t *testing.T) (*maildir.Agent, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	t.Cleanup(func() { root.Close() })
	agent := &maildir.Agent{Root: root, Mailboxes: mailboxes, Hostname: "mx.example.org"}
	t.Cleanup(func() { assert.NoError(t, agent.Close()) })
	return agent, dir
}

func delivery(raw string, recipients ...string) *mtakit.Delivery {
	d := &mtakit.Delivery{ID: "Q1", Envelope: &mtakit.Envelope{Sender: "from@example.net"}, Message: mtakit.NewMessage([]byte(raw))}
	for _, r := range recipients {
		d.Recipients = append(d.Recipients, mtakit.Recipient{Address: r})
	}
	return d
}

const mail = "Subject: hello\r\nX-Odd:  a \r\n\tb\r\n\r\nbody\r\n\r\n.dot\r\nlast\r\n"

func files(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	require.NoError(t, err)
	return names
}

func TestDeliver(t *testing.T) {
	t.Parallel()
	agent, dir := newAgent(t)
	d := delivery(mail, "alice@example.org", "bob@example.org")
	d.Recipients[0].Original = "postmaster"
	var reported []int
	d.Report = func(i int, r mtakit.Result) { reported = append(reported, i) }

	results := agent.Deliver(t.Context(), d)

	require.Len(t, results, 2)
	assert.Equal(t, []int{0, 1}, reported)
	for _, r := range results {
		assert.Equal(t, mtakit.Delivered, r.Outcome)
		assert.Equal(t, smtp.EnhancedCode{2, 0, 0}, r.Status)
	}
	got := files(t, dir+"/example.org/alice/new/*")
	require.Len(t, got, 1)
	b, err := os.ReadFile(got[0])
	require.NoError(t, err)
	assert.Equal(t, "Return-Path: <from@example.net>\nX-Original-To: postmaster\nDelivered-To: alice@example.org\n"+
		strings.ReplaceAll(mail, "\r\n", "\n"), string(b))
	assert.Contains(t, results[0].Diagnostic, "example.org/alice/new/"+filepath.Base(got[0]))
	assert.True(t, strings.HasSuffix(got[0], fmt.Sprintf(".mx.example.org,S=%d", len(b))), got[0])
	assert.Empty(t, files(t, dir+"/example.org/alice/tmp/*"))
	assert.Len(t, files(t, dir+"/example.org/bob/new/*"), 1)
	info, err := os.Stat(got[0])
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestDeliverCRLF(t *testing.T) {
	t.Parallel()
	agent, dir := newAgent(t)
	agent.CRLF = true
	agent.Deliver(t.Context(), delivery(mail, "alice@example.org"))
	b, err := os.ReadFile(files(t, dir+"/example.org/alice/new/*")[0])
	require.NoError(t, err)
	assert.True(t, bytes.HasSuffix(b, []byte(mail)))
}

func TestFailures(t *testing.T) {
	t.Parallel()
	loop := "Delivered-To: ALICE@example.org\r\n" + mail
	tests := []struct {
		name, raw, recipient string
		outcome              mtakit.Outcome
		status               smtp.EnhancedCode
	}{
		{"unknown user", mail, "nobody@example.org", mtakit.Bounced, smtp.EnhancedCode{5, 1, 1}},
		{"loop", loop, "alice@example.org", mtakit.Bounced, smtp.EnhancedCode{5, 4, 6}},
		{"table error is no miss", mail, "broken@example.org", mtakit.Deferred, smtp.EnhancedCode{4, 3, 0}},
		{"path leaves the root", mail, "evil@example.org", mtakit.Deferred, smtp.EnhancedCode{4, 3, 5}},
		{"path goes to and fro", mail, "dots@example.org", mtakit.Deferred, smtp.EnhancedCode{4, 3, 5}},
		{"symbolic link leaves the root", mail, "link@example.org", mtakit.Deferred, smtp.EnhancedCode{4, 3, 5}},
		{"mbox path", mail, "mbox@example.org", mtakit.Deferred, smtp.EnhancedCode{4, 3, 5}},
		{"a file is in the way", mail, "file@example.org", mtakit.Deferred, smtp.EnhancedCode{4, 3, 0}},
		{"NUL in the path", mail, "inline@example.org", mtakit.Deferred, smtp.EnhancedCode{4, 3, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			agent, dir := newAgent(t)
			outside := t.TempDir()
			require.NoError(t, os.Symlink(outside, dir+"/link"))
			require.NoError(t, os.WriteFile(dir+"/plain", nil, 0o600))
			r := agent.Deliver(t.Context(), delivery(tt.raw, tt.recipient))[0]
			assert.Equal(t, tt.outcome, r.Outcome, r.Diagnostic)
			assert.Equal(t, tt.status, r.Status, r.Diagnostic)
			assert.Empty(t, files(t, outside+"/*"))
			assert.Empty(t, files(t, filepath.Dir(dir)+"/outside"))
		})
	}
}

// A sender that holds a line end must not become a field of its own.
func TestNoInjection(t *testing.T) {
	t.Parallel()
	agent, dir := newAgent(t)
	d := delivery(mail, "alice@example.org")
	d.Envelope.Sender = "a@b>\r\nX-Evil: yes\r\n\r\n"
	r := agent.Deliver(t.Context(), d)[0]
	assert.Equal(t, mtakit.Deferred, r.Outcome)
	assert.Empty(t, files(t, dir+"/example.org/alice/*/*"))
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	agent, dir := newAgent(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := agent.Deliver(ctx, delivery(mail, "alice@example.org"))[0]
	assert.Equal(t, smtp.EnhancedCode{4, 3, 2}, r.Status)
	assert.Empty(t, files(t, dir+"/*"))
}

type failingBody struct{ mtakit.Bytes }

func (failingBody) Size() int64 { return 10 }

func (failingBody) Open() (io.ReadCloser, error) {
	return nil, errors.New("input/output error")
}

func TestUnreadableBodyLeavesNothing(t *testing.T) {
	t.Parallel()
	agent, dir := newAgent(t)
	d := delivery(mail, "alice@example.org")
	d.Message.Body = failingBody{}
	r := agent.Deliver(t.Context(), d)[0]
	assert.Equal(t, mtakit.Deferred, r.Outcome)
	assert.Empty(t, files(t, dir+"/example.org/alice/*/*"))
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	// /dev/full is a device that has no space; a Maildir cannot lie on it, so
	// the classification is tested through a body that reports it.
	agent, dir := newAgent(t)
	d := delivery(mail, "alice@example.org")
	d.Message.Body = fullBody{}
	r := agent.Deliver(t.Context(), d)[0]
	assert.Equal(t, smtp.EnhancedCode{4, 3, 1}, r.Status)
	assert.Empty(t, files(t, dir+"/example.org/alice/*/*"))
}

type fullBody struct{ failingBody }

func (fullBody) Open() (io.ReadCloser, error) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_, err = f.Write([]byte("x"))
	return nil, err
}

// TestConcurrent has a thousand deliveries to a mailbox that there is not yet.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	for _, syncFS := range []bool{false, true} {
		agent, dir := newAgent(t)
		agent.SyncFS = syncFS
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				r := agent.Deliver(t.Context(), delivery(mail, "alice@example.org"))[0]
				assert.Equal(t, mtakit.Delivered, r.Outcome, r.Diagnostic)
			})
		}
		wg.Wait()
		assert.Len(t, files(t, dir+"/example.org/alice/new/*"), 1000)
		assert.Empty(t, files(t, dir+"/example.org/alice/tmp/*"))
	}
}

// TestManyRecipients delivers to more of them than go side by side; some are
// unknown, one is broken, one is there twice.
func TestManyRecipients(t *testing.T) {
	t.Parallel()
	agent, dir := newAgent(t)
	boxes := table{}
	var to []string
	for i := range 50 {
		name := fmt.Sprintf("u%d@example.org", i)
		if i%7 != 3 {
			boxes[name] = fmt.Sprintf("example.org/u%d/", i)
		}
		to = append(to, name)
	}
	to[20], to[30] = "broken@example.org", to[29]
	agent.Mailboxes = boxes
	d := delivery(mail, to...)
	var reported []int
	d.Report = func(i int, r mtakit.Result) { reported = append(reported, i) }
	results := agent.Deliver(t.Context(), d)
	require.Len(t, results, 50)
	want := map[mtakit.Outcome]int{}
	for i, r := range results {
		require.Equal(t, i, reported[i])
		want[r.Outcome]++
		if r.Outcome == mtakit.Delivered {
			user, _, _ := strings.Cut(to[i], "@")
			require.Contains(t, r.Diagnostic, "/"+user+"/new/")
		}
	}
	require.Equal(t, map[mtakit.Outcome]int{mtakit.Delivered: 42, mtakit.Bounced: 7, mtakit.Deferred: 1}, want)
	require.Len(t, files(t, dir+"/example.org/*/new/*"), 42)
	require.Len(t, files(t, dir+"/example.org/u29/new/*"), 2)
	require.Empty(t, files(t, dir+"/example.org/*/tmp/*"))
}

// panickingBody can be opened once.
type panickingBody struct {
	mtakit.Bytes
	opened *bool
}

func (b panickingBody) Open() (io.ReadCloser, error) {
	if *b.opened {
		panic("body")
	}
	*b.opened = true
	return b.Bytes.Open()
}

// A panic while the second of two files is written leaves nothing behind,
// neither files nor descriptors.
func TestPanic(t *testing.T) {
	t.Parallel()
	agent, dir := newAgent(t)
	d := delivery(mail, "alice@example.org", "bob@example.org")
	d.Message.Body = panickingBody{mtakit.Bytes("x"), new(bool)}
	require.Panics(t, func() { agent.Deliver(t.Context(), d) })
	require.Empty(t, files(t, dir+"/example.org/*/*/*"))
	links, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	for _, link := range links {
		target, _ := os.Readlink(link)
		require.NotContains(t, target, filepath.Join(dir, "example.org"))
	}
}

// TestLinks has the owner of a mailbox put links, and worse, in the place of its
// folders: nothing is written anywhere else.
func TestLinks(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"tmp", "new"} {
		for _, target := range []string{"../bob/new", "cur", "/"} {
			agent, dir := newAgent(t)
			require.Equal(t, mtakit.Delivered, agent.Deliver(t.Context(), delivery(mail, "bob@example.org"))[0].Outcome)
			box := dir + "/example.org/alice/"
			for _, sub := range []string{"tmp", "new", "cur"} {
				require.NoError(t, os.MkdirAll(box+sub, 0o700))
			}
			require.NoError(t, os.Remove(box+folder))
			require.NoError(t, os.Symlink(target, box+folder))
			r := agent.Deliver(t.Context(), delivery(mail, "alice@example.org"))[0]
			require.Equal(t, mtakit.Deferred, r.Outcome)
			require.Len(t, files(t, dir+"/example.org/bob/*/*"), 1)
			require.Empty(t, files(t, box+"cur/*"))
		}
	}
}

// TestReplaced has the administrator move mailboxes away and put others in their
// place while mail comes: every message lies somewhere, and the last ones in the
// last place.
func TestReplaced(t *testing.T) {
	t.Parallel()
	agent, dir := newAgent(t)
	stop := make(chan struct{})
	var delivered atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for done := false; !done; {
				select {
				case <-stop:
					done = true
				default:
				}
				switch r := agent.Deliver(t.Context(), delivery(mail, "alice@example.org"))[0]; r.Outcome {
				case mtakit.Delivered:
					delivered.Add(1)
				default: // the box was moved between two steps
					assert.Equal(t, mtakit.Deferred, r.Outcome)
				}
			}
		})
	}
	for i := range 20 {
		moved := fmt.Sprintf("%s/example.org/old%d", dir, i)
		require.Eventually(t, func() bool { return os.Rename(dir+"/example.org/alice", moved) == nil }, 10*time.Second, time.Millisecond)
	}
	close(stop)
	group.Wait()
	require.Len(t, files(t, dir+"/example.org/*/new/*"), int(delivered.Load()))
	require.NotEmpty(t, files(t, dir+"/example.org/alice/new/*"))
}

// TestBigMessage streams: memory does not grow with the message.
func TestBigMessage(t *testing.T) {
	agent, dir := newAgent(t)
	d := delivery("Subject: big\r\n\r\n", "alice@example.org")
	d.Message.Body = bigBody{mtakit.Bytes(strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1000)), 1400}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := agent.Deliver(t.Context(), d)[0]
	runtime.ReadMemStats(&after)
	require.Equal(t, mtakit.Delivered, r.Outcome, r.Diagnostic)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20))
	info, err := os.Stat(files(t, dir+"/example.org/alice/new/*")[0])
	require.NoError(t, err)
	require.Greater(t, info.Size(), d.Message.Size()*71/72)
	require.Less(t, info.Size(), d.Message.Size())
}

// bigBody is a text many times over.
type bigBody struct {
	part  mtakit.Bytes
	times int
}

func (b bigBody) Size() int64 { return int64(len(b.part) * b.times) }

func (b bigBody) Open() (io.ReadCloser, error) {
	readers := make([]io.Reader, b.times)
	for i := range readers {
		readers[i] = bytes.NewReader(b.part)
	}
	return io.NopCloser(io.MultiReader(readers...)), nil
}

func ExampleAgent() {
	dir, _ := os.MkdirTemp("", "mail")
	defer os.RemoveAll(dir)
	root, _ := os.OpenRoot(dir)
	defer root.Close()

	agent := &maildir.Agent{Root: root, Mailboxes: table{"alice@example.org": "example.org/alice/"}}
	defer agent.Close()
	results := agent.Deliver(context.Background(), &mtakit.Delivery{
		Envelope:   &mtakit.Envelope{Sender: "bob@example.net"},
		Recipients: []mtakit.Recipient{{Address: "alice@example.org"}, {Address: "nobody@example.org"}},
		Message:    mtakit.NewMessage([]byte("Subject: hello\r\n\r\nHi Alice\r\n")),
	})
	for _, r := range results {
		fmt.Println(r.Outcome, r.Status)
	}
	// Output:
	// delivered [2 0 0]
	// bounced [5 1 1]
}

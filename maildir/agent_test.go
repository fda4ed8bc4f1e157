package maildir_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

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

func TestConcurrent(t *testing.T) {
	t.Parallel()
	agent, dir := newAgent(t)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			r := agent.Deliver(t.Context(), delivery(mail, "alice@example.org"))[0]
			assert.Equal(t, mtakit.Delivered, r.Outcome)
		})
	}
	wg.Wait()
	assert.Len(t, files(t, dir+"/example.org/alice/new/*"), 50)
	assert.Empty(t, files(t, dir+"/example.org/alice/tmp/*"))
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

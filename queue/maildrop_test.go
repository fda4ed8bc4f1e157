package queue_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/memspool"
)

const submission = "sender: a@example.org\nrecipient: <b@example.net>\nrecipient: c@example.net\n\nSubject: x\n\nHi\nthere"

// direct is a Queue that only keeps.
func direct(s *spool) queue.Queue { return s }

func drop(t *testing.T, dir, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}

func TestMaildrop(t *testing.T) {
	t.Parallel()
	s, dir := newSpool(), t.TempDir()
	d := &queue.Maildrop{Dir: dir, Queue: direct(s)}
	drop(t, dir, "one", submission)
	drop(t, dir, "two", strings.ReplaceAll(submission, "\n", "\r\n"))
	drop(t, dir, ".unfinished", submission)
	drop(t, dir, "tmp.unfinished", submission)
	n, err := d.Look(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 2, n)
	assert.Equal(t, []string{".unfinished", "tmp.unfinished"}, names(t, dir))
	for _, id := range []string{"M1", "M2"} {
		m := s.get(id)
		assert.Equal(t, "a@example.org", m.Envelope.Sender)
		require.Len(t, m.Envelope.Recipients, 2)
		assert.Equal(t, "b@example.net", m.Envelope.Recipients[0].Address)
		var b bytes.Buffer
		_, err := m.Message.WriteTo(&b)
		require.NoError(t, err)
		assert.Equal(t, "Subject: x\r\n\r\nHi\r\nthere\r\n", b.String())
	}
}

func TestMaildropRefuses(t *testing.T) {
	t.Parallel()
	s, dir, outside := newSpool(), t.TempDir(), t.TempDir()
	drop(t, outside, "secret", submission)
	bad := map[string]string{
		"empty": "", "noend": "sender: a\nrecipient: b\n", "nosender": "recipient: b\n\nx", "norecipient": "sender: a\n\nx",
		"twosenders": "sender: a\nsender: b\nrecipient: c\n\n", "unknown": "sender: a\nrecipient: b\nx: y\n\n",
		"nocolon": "sender a\n\n", "control": "sender: a\x01b\nrecipient: c\n\n", "nul": "sender: a\nrecipient: \x00\n\n",
		"space": "sender: a\nrecipient: b c\n\n", "long": "sender: " + strings.Repeat("x", 5000) + "\n\n",
		"endless": strings.Repeat("x", 200000), "big": submission + strings.Repeat("y", 2000), "nobody": "sender: a\nrecipient: <>\n\n",
		"many": "sender: a\n" + strings.Repeat("recipient: b\n", 20) + "\n",
	}
	for name, text := range bad {
		drop(t, dir, name, text)
	}
	drop(t, dir, "good", submission)
	require.NoError(t, os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "symlink")))
	require.NoError(t, os.Link(filepath.Join(outside, "secret"), filepath.Join(dir, "hardlink")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "directory"), 0o700))
	d := &queue.Maildrop{Dir: dir, Queue: direct(s), MaxSize: 1500, MaxRecipients: 10}
	n, err := d.Look(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	assert.Equal(t, []string{"corrupt", "directory"}, names(t, dir))
	moved := names(t, filepath.Join(dir, "corrupt"))
	assert.Len(t, moved, 2*(len(bad)+3), "each with its reason")
	assert.FileExists(t, filepath.Join(outside, "secret"))
	for _, name := range moved {
		if strings.HasPrefix(name, "symlink") && strings.HasSuffix(name, ".reason") {
			reason, err := os.ReadFile(filepath.Join(dir, "corrupt", name))
			require.NoError(t, err)
			assert.Contains(t, string(reason), "not a plain file")
		}
	}
}

func TestMaildropFilter(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		verdict  mtakit.Verdict
		err      error
		stays    bool
		accepted int
		corrupt  bool
	}{
		{"accepted", mtakit.Verdict{}, nil, false, 1, false},
		{"fault", mtakit.Verdict{}, errors.New("down"), true, 0, false},
		{"later", mtakit.Verdict{Action: mtakit.Reject, Reply: &smtp.SMTPError{Code: 450}}, nil, true, 0, false},
		{"never", mtakit.Verdict{Action: mtakit.Reject, Reply: &smtp.SMTPError{Code: 550}}, nil, false, 0, true},
		{"discarded", mtakit.Verdict{Action: mtakit.Discard}, nil, false, 0, false},
	}
	for _, tt := range tests {
		s, dir := newSpool(), t.TempDir()
		drop(t, dir, "file", submission)
		d := &queue.Maildrop{Dir: dir, Queue: direct(s), Filter: queue.FilterFunc(
			func(context.Context, *mtakit.Envelope, *mtakit.Message) (mtakit.Verdict, error) {
				return tt.verdict, tt.err
			})}
		_, err := d.Look(t.Context())
		assert.Equal(t, tt.stays, err != nil, tt.name)
		assert.Equal(t, tt.accepted, s.len(), tt.name)
		_, err = os.Stat(filepath.Join(dir, "file"))
		assert.Equal(t, tt.stays, err == nil, tt.name)
		_, err = os.Stat(filepath.Join(dir, "corrupt"))
		assert.Equal(t, tt.corrupt, err == nil, tt.name)
	}
}

// TestMaildropFilterPanics leaves the file where it is, and goes on.
// A filter that cannot see the whole header is not asked: a field behind what
// it sees would get past it.
func TestMaildropRefusesHiddenFields(t *testing.T) {
	t.Parallel()
	padding := strings.Repeat("X-Padding: "+strings.Repeat("x", 900)+"\n", mtakit.MaxHeader/900)
	text := strings.Replace(submission, "Subject: x\n", padding+"Subject: x\n", 1)
	filter := queue.FilterFunc(func(context.Context, *mtakit.Envelope, *mtakit.Message) (mtakit.Verdict, error) {
		return mtakit.Verdict{}, nil
	})
	for _, tt := range []struct {
		filter   queue.Filter
		accepted int
	}{{nil, 1}, {filter, 0}} {
		dir := t.TempDir()
		d := &queue.Maildrop{Dir: dir, Queue: new(memspool.Spool), Filter: tt.filter}
		drop(t, dir, "one", text)
		n, err := d.Look(t.Context())
		require.NoError(t, err)
		assert.Equal(t, tt.accepted, n)
		if tt.accepted == 0 {
			moved := names(t, filepath.Join(dir, "corrupt")) // the file and why
			require.Len(t, moved, 2)
			why, err := os.ReadFile(filepath.Join(dir, "corrupt", moved[1]))
			require.NoError(t, err)
			assert.Contains(t, string(why), "the header is longer than 1048576 bytes")
		}
	}
}

func TestMaildropFilterPanics(t *testing.T) {
	t.Parallel()
	s, dir := newSpool(), t.TempDir()
	drop(t, dir, "bad", submission)
	drop(t, dir, "good", submission)
	calls := 0
	d := &queue.Maildrop{Dir: dir, Queue: direct(s), Filter: queue.FilterFunc(
		func(context.Context, *mtakit.Envelope, *mtakit.Message) (mtakit.Verdict, error) {
			if calls++; calls == 1 {
				panic("filter fell")
			}
			return mtakit.Verdict{}, nil
		})}
	n, err := d.Look(t.Context())
	require.ErrorContains(t, err, "filter fell")
	assert.Equal(t, 1, n)
	assert.Equal(t, []string{"bad"}, names(t, dir))
}

func TestMaildropEffects(t *testing.T) {
	t.Parallel()
	s, dir := newSpool(), t.TempDir()
	drop(t, dir, "file", submission)
	d := &queue.Maildrop{Dir: dir, Queue: direct(s), Filter: queue.FilterFunc(
		func(context.Context, *mtakit.Envelope, *mtakit.Message) (mtakit.Verdict, error) {
			return mtakit.Verdict{Hold: "look", Redirect: "r@example.org", BCC: []string{"bcc@example.org"}, Prepend: []string{"X-A: 1", "X-B: 2"}}, nil
		})}
	_, err := d.Look(t.Context())
	require.NoError(t, err)
	m := s.get("M1")
	assert.Equal(t, "look", m.Hold)
	require.Len(t, m.Envelope.Recipients, 2)
	assert.Equal(t, "r@example.org", m.Envelope.Recipients[0].Address)
	assert.Equal(t, "X-A: 1\r\nX-B: 2\r\nSubject: x\r\n\r\n", string(m.Message.Header.Bytes()))
}

func TestMaildropWaitsForRoom(t *testing.T) {
	t.Parallel()
	s, dir := newSpool(), t.TempDir()
	s.fail = func(int, []queue.Accept, []queue.Change) error { return errDisk }
	drop(t, dir, "file", submission)
	d := &queue.Maildrop{Dir: dir, Queue: direct(s)}
	_, err := d.Look(t.Context())
	require.ErrorIs(t, err, errDisk)
	assert.Equal(t, []string{"file"}, names(t, dir))
}

func TestMaildropServes(t *testing.T) {
	t.Parallel()
	s, dir := newSpool(), t.TempDir()
	d := &queue.Maildrop{Dir: dir, Queue: direct(s), QueueRun: time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx) }()
	drop(t, dir, ".one", submission)
	require.NoError(t, os.Rename(filepath.Join(dir, ".one"), filepath.Join(dir, "one")))
	require.Eventually(t, func() bool { return s.len() == 1 }, 10*time.Second, time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	require.Error(t, (&queue.Maildrop{Dir: filepath.Join(dir, "absent"), Queue: direct(s)}).Serve(t.Context()))
}

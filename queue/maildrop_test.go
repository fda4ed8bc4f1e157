package queue_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
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
	half := filepath.Join(dir, ".half")
	require.NoError(t, os.WriteFile(half, []byte(text), 0o600))
	require.NoError(t, os.Rename(half, filepath.Join(dir, name)))
}

// untraced takes our own field off a message.
func untraced(t *testing.T, text string) string {
	t.Helper()
	own := regexp.MustCompile(`(?m)^Received: by \S+ \(mtakit, from userid \d+\)\r\n\tid \S+; .*\r\n`)
	require.Regexp(t, own, text)
	return own.ReplaceAllString(text, "")
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
		assert.Equal(t, "Subject: x\r\n\r\nHi\r\nthere\r\n", untraced(t, b.String()))
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
	var calls atomic.Int32
	d := &queue.Maildrop{Dir: dir, Queue: direct(s), Filter: queue.FilterFunc(
		func(context.Context, *mtakit.Envelope, *mtakit.Message) (mtakit.Verdict, error) {
			if calls.Add(1) == 1 {
				panic("filter fell")
			}
			return mtakit.Verdict{}, nil
		})}
	n, err := d.Look(t.Context())
	require.ErrorContains(t, err, "filter fell")
	assert.Equal(t, 1, n)
	assert.Len(t, names(t, dir), 1)
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
	assert.Equal(t, "X-A: 1\r\nX-B: 2\r\nSubject: x\r\n\r\n", untraced(t, string(m.Message.Header.Bytes())))
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

func TestMaildropParameters(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		line string
		bad  bool
	}{
		{"sender: <a@example.org> body=7bit smtputf8 ret=full envid=x+20y", false},
		{"sender: <a@example.org> BODY=BINARYMIME", true},
		{"sender: <a@example.org> RET=SOME", true},
		{"sender: <a@example.org> ENVID=", true},
		{"sender: <a@example.org> ENVID=+0A", true},
		{"sender: <a@example.org> ENVID=+4g", true},
		{"sender: <a@example.org> ENVID=" + strings.Repeat("x", 101), true},
		{"sender: <a@example.org> XVERP", true},
		{"sender: <a@example.org>BODY=7BIT", true},
		{"sender: a@example.org BODY=7BIT", true},
		{"sender: <a@example.org", true},
		{`sender: <"a>b\"c"@example.org> BODY=7BIT`, false},
		{`sender: a\b@example.org`, true},
		{"sender: <>", false},
		{"recipient: <x@example.net> notify=success,delay,failure", false},
		{"recipient: <x@example.net> NOTIFY=NEVER,SUCCESS", true},
		{"recipient: <x@example.net> NOTIFY=SUCCESS,SUCCESS", true},
		{"recipient: <x@example.net> NOTIFY=", true},
		{"recipient: <x@example.net> ORCPT=rfc822;y+2Bz@example.net", false},
		{"recipient: <x@example.net> ORCPT=rfc822;", true},
		{"recipient: <x@example.net> ORCPT=x400;y", true},
		{"recipient: <x@example.net> ORCPT=rfc822;a+0D+0Ab", true},
		{`recipient: <x@example.net> ORCPT=utf-8;\x{FC}@example.net`, false},
		{`recipient: <x@example.net> ORCPT=utf-8;\x{A}@example.net`, true},
		{`recipient: <x@example.net> ORCPT=utf-8;\x{110000}@example.net`, true},
		{"not-before: 2030-01-01T08:00:00+02:00", false},
		{"not-before: tomorrow", true},
		{"attribute: a=b", false},
		{"attribute: a", true},
		{"attribute: fullname=x", true},
		{"full-name: Alice \"A\" Example", false},
		{"full-name: a\nfull-name: b", true},
		{"attribute: a=b\nattribute: a=c", true},
		{"attribute: a=b c", true},
		{"length: -1", true},
		{"length: 1\nlength: 1", true},
		{"version: 1", true}, // not the first
	} {
		text := "version: 1\n"
		if !strings.HasPrefix(tt.line, "sender") {
			text += "sender: <>\n"
		}
		_, _, err := queue.ReadSubmission(strings.NewReader(text+tt.line+"\nrecipient: b\n\n"), 0)
		assert.Equal(t, tt.bad, errors.Is(err, queue.ErrSubmission), "%s: %v", tt.line, err)
		assert.Equal(t, tt.bad, err != nil, "%s: %v", tt.line, err)
	}
}

// What a later version writes is not thrown away by this one.
func TestMaildropVersion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	drop(t, dir, "later", "version: 2\n"+submission)
	drop(t, dir, "now", "version: 1\n"+submission)
	n, err := (&queue.Maildrop{Dir: dir, Queue: direct(newSpool())}).Look(t.Context())
	require.ErrorIs(t, err, queue.ErrVersion)
	assert.Equal(t, 1, n)
	assert.Equal(t, []string{"later"}, names(t, dir))
}

func TestMaildropSubmit(t *testing.T) {
	t.Parallel()
	s := newSpool()
	d := &queue.Maildrop{Queue: direct(s), MaxSize: 1000, Hostname: "mx.example.org",
		Rewriter: rewriterFunc(func(address string) (string, error) {
			if address == "down" {
				return "", errDisk
			}
			return strings.TrimSuffix(address, "@") + "@example.org", nil
		}),
		Submitters: table{"1001": nil, "1002": errDisk}}
	text := "sender: a\nrecipient: b@\n\nSubject: x\n\nHi\n"
	id, err := d.Submit(t.Context(), 1001, strings.NewReader(text))
	require.NoError(t, err)
	got := s.get(id)
	assert.Equal(t, "a@example.org", got.Envelope.Sender)
	assert.Equal(t, "b@example.org", got.Envelope.Recipients[0].Address)
	assert.Equal(t, "1001", got.Envelope.Attrs[queue.AttrUID])
	assert.Regexp(t, `^Received: by mx\.example\.org \(mtakit, from userid 1001\); `, string(got.Message.Header.Bytes()))

	for _, tt := range []struct {
		uid   int
		text  string
		is    error
		final bool
	}{
		{1000, text, queue.ErrSubmitter, true},
		{1002, text, errDisk, false},
		{1001, strings.Replace(text, "sender: a", "sender: down", 1), errDisk, false},
		{1001, text + strings.Repeat("x", 2000), queue.ErrSubmission, true},
		{1001, "attribute: uid=0\n" + text, queue.ErrSubmission, true},
		{1001, "version: 9\n" + text, queue.ErrVersion, false},
		{1001, strings.Replace(text, "Subject: x\n", strings.Repeat("Received: x\n", 49), 1), queue.ErrSubmission, true},
		{1001, strings.Replace(text, "Subject: x\n", strings.Repeat("Received: x\n", 48), 1), nil, false},
		{1001, "", queue.ErrSubmission, true},
	} {
		_, err := d.Submit(t.Context(), tt.uid, strings.NewReader(tt.text))
		require.ErrorIs(t, err, tt.is)
		assert.Equal(t, tt.final, errors.Is(err, queue.ErrSubmission), "%v", err)
	}
	assert.Equal(t, 2, s.len())
	id, err = d.Submit(t.Context(), 0, strings.NewReader("attribute: uid=5\nattribute: k=v\n"+text))
	require.NoError(t, err, "root may set attributes, but not who it is")
	assert.Equal(t, map[string]string{"uid": "0", "k": "v"}, s.get(id).Envelope.Attrs)
}

type rewriterFunc func(string) (string, error)

func (f rewriterFunc) Rewrite(_ context.Context, address string) (string, error) { return f(address) }

// table has the keys with a nil error, and cannot answer for the others.
type table map[string]error

func (t table) Lookup(_ context.Context, key string) (string, bool, error) {
	err, ok := t[key]
	return "", ok && err == nil, err
}

// The owner of a file is who submits it.
func TestMaildropOwner(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	s, dir := newSpool(), t.TempDir()
	for name, uid := range map[string]int{"a": 54321, "b": 54322, "c": 54323, "d": 0} {
		drop(t, dir, name, submission)
		require.NoError(t, os.Chown(filepath.Join(dir, name), uid, -1))
	}
	drop(t, dir, "e", "attribute: k=v\n"+submission)
	require.NoError(t, os.Chown(filepath.Join(dir, "e"), 54321, -1))
	d := &queue.Maildrop{Dir: dir, Queue: direct(s), Submitters: table{"54321": nil, "54323": errDisk}}
	n, err := d.Look(t.Context())
	require.ErrorIs(t, err, errDisk)
	assert.Equal(t, 2, n)
	var uids []string
	for _, id := range []string{"M1", "M2"} {
		uids = append(uids, s.get(id).Envelope.Attrs[queue.AttrUID])
	}
	assert.ElementsMatch(t, []string{"54321", "0"}, uids)
	assert.Equal(t, []string{"c", "corrupt"}, names(t, dir))
	moved := names(t, filepath.Join(dir, "corrupt"))
	require.Len(t, moved, 4)
	assert.True(t, strings.HasPrefix(moved[0], "b.") && strings.HasPrefix(moved[2], "e."), moved)
}

func TestMaildropForEverybody(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, mode := range []fs.FileMode{0o1777, 0o733} {
		require.NoError(t, os.Chmod(dir, mode))
		d := &queue.Maildrop{Dir: dir, Queue: direct(newSpool())}
		_, err := d.Look(t.Context())
		require.ErrorIs(t, err, fs.ErrPermission)
		require.ErrorIs(t, d.Serve(t.Context()), fs.ErrPermission)
	}
}

// A name as long as the file system allows can be moved away too.
func TestMaildropLongName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	drop(t, dir, strings.Repeat("x", 255), "nothing")
	n, err := (&queue.Maildrop{Dir: dir, Queue: direct(newSpool())}).Look(t.Context())
	require.NoError(t, err)
	assert.Zero(t, n)
	assert.Len(t, names(t, filepath.Join(dir, "corrupt")), 2)
}

func TestMaildropSweeps(t *testing.T) {
	t.Parallel()
	dir, old := t.TempDir(), time.Now().Add(-48*time.Hour)
	for _, name := range []string{"tmp.old", "tmp.new", ".old"} {
		drop(t, dir, name, submission)
		if strings.HasSuffix(name, "old") {
			require.NoError(t, os.Chtimes(filepath.Join(dir, name), old, old))
		}
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "tmpdir"), 0o700))
	require.NoError(t, os.Chtimes(filepath.Join(dir, "tmpdir"), old, old))
	_, err := (&queue.Maildrop{Dir: dir, Queue: direct(newSpool())}).Look(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{".old", "tmp.new", "tmpdir"}, names(t, dir))
}

// Files that have to wait are left alone for longer and longer, and do not keep
// others from being taken.
func TestMaildropWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var mu sync.Mutex
		var at []time.Duration
		start := time.Now()
		d := &queue.Maildrop{Dir: dir, Queue: new(memspool.Spool), Filter: queue.FilterFunc(
			func(_ context.Context, env *mtakit.Envelope, _ *mtakit.Message) (mtakit.Verdict, error) {
				mu.Lock()
				defer mu.Unlock()
				if env.Sender == "a@example.org" {
					at = append(at, time.Since(start).Round(time.Second))
					return mtakit.Verdict{}, errDisk
				}
				return mtakit.Verdict{}, nil
			})}
		drop(t, dir, "waits", submission)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Serve(ctx) }()
		time.Sleep(5 * time.Second)
		drop(t, dir, "other", strings.Replace(submission, "a@", "b@", 1))
		time.Sleep(200 * time.Second)
		synctest.Wait()
		assert.Equal(t, []string{"waits"}, names(t, dir))
		cancel()
		require.NoError(t, <-done)
		assert.Equal(t, []time.Duration{0, 1e9, 3e9, 7e9, 15e9, 31e9, 63e9, 123e9, 183e9}, at)
	})
}

func TestMaildropMany(t *testing.T) {
	t.Parallel()
	const n = 2500 // more than are read at a time
	s, dir := newSpool(), t.TempDir()
	s.latency = time.Millisecond
	for i := range n {
		drop(t, dir, strconv.Itoa(i), submission)
	}
	var calls, now, most atomic.Int32
	second := make(chan struct{})
	d := &queue.Maildrop{Dir: dir, Queue: direct(s), Concurrency: 20, Filter: queue.FilterFunc(
		func(context.Context, *mtakit.Envelope, *mtakit.Message) (mtakit.Verdict, error) {
			k := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); k > m && !most.CompareAndSwap(m, k); m = most.Load() {
			}
			switch calls.Add(1) {
			case 1:
				<-second // they are not taken one by one
			case 2:
				close(second)
			}
			return mtakit.Verdict{}, nil
		})}
	got, err := d.Look(t.Context())
	require.NoError(t, err)
	assert.Equal(t, n, got)
	assert.Equal(t, n, s.len())
	assert.Empty(t, names(t, dir))
	assert.LessOrEqual(t, most.Load(), int32(20))
}

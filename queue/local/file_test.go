package local

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
)

func TestFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	box := filepath.Join(dir, "box")
	h := newHouse(t, aliases{"a@here": {box}})
	for range 2 {
		r := h.deliver("a@here")
		require.Equal(t, mtakit.Delivered, r.Outcome, r.Diagnostic)
	}
	b, err := os.ReadFile(box)
	require.NoError(t, err)
	one := "From bob@there DATE\nReturn-Path: <bob@there>\nX-Original-To: a@here\nDelivered-To: a@here\nSubject: hello\n\n>From here on\nbye\n\n"
	date := regexp.MustCompile(`(?m)^(From bob@there ).*$`)
	assert.Equal(t, one+one, date.ReplaceAllString(string(b), "${1}DATE"))
	assert.NoFileExists(t, box+".lock")
}

func TestFileThatIsNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name := func(n string) string { return filepath.Join(dir, n) }
	require.NoError(t, os.WriteFile(name("program"), []byte("#!/bin/sh\n"), 0o755))
	require.NoError(t, os.WriteFile(name("file"), nil, 0o600))
	require.NoError(t, os.Symlink("file", name("link")))
	require.NoError(t, os.Link(name("file"), name("hard")))
	require.NoError(t, syscall.Mkfifo(name("fifo"), 0o600))
	require.NoError(t, os.WriteFile(name("full"), []byte(strings.Repeat("x", 100)), 0o600))
	h := newHouse(t, aliases{"program@here": {name("program")}, "link@here": {name("link")}, "hard@here": {name("hard")},
		"fifo@here": {name("fifo")}, "dir@here": {dir}, "full@here": {name("full")}, "null@here": {"/dev/null"}})
	h.Files.Limit = 110
	for _, to := range []string{"program", "link", "hard", "fifo", "dir"} {
		r := h.deliver(to + "@here")
		assert.Equal(t, smtp.EnhancedCode{5, 2, 0}, r.Status, "%s: %s", to, r.Diagnostic)
	}
	assert.Equal(t, smtp.EnhancedCode{5, 2, 2}, h.deliver("full@here").Status)
	assert.Equal(t, mtakit.Delivered, h.deliver("null@here").Outcome)
	info, err := os.Stat(name("full"))
	require.NoError(t, err)
	assert.EqualValues(t, 100, info.Size())
}

// All deliveries at once, and somebody else's locks: no message is torn.
func TestFileIsLocked(t *testing.T) {
	t.Parallel()
	box := filepath.Join(t.TempDir(), "box")
	h := newHouse(t, aliases{"a@here": {box}})
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			text := fmt.Sprintf("Subject: %d\r\n\r\n%s", i, strings.Repeat(fmt.Sprintf("%d\r\n", i), 5000))
			assert.Equal(t, mtakit.Delivered, h.Deliver(t.Context(), delivery(text, "a@here"))[0].Outcome)
		})
	}
	group.Wait()
	b, err := os.ReadFile(box)
	require.NoError(t, err)
	messages := strings.Split(string(b), "\nFrom bob@there")
	require.Len(t, messages, 20)
	for _, m := range messages {
		_, body, _ := strings.Cut(m, "\n\n")
		lines := strings.Fields(body)
		require.Len(t, lines, 5000)
		assert.Equal(t, 5000, strings.Count(body, lines[0]+"\n"))
	}

	require.NoError(t, os.WriteFile(box+".lock", nil, 0o600))
	h.Files.Wait = 100 * time.Millisecond
	assert.Equal(t, smtp.EnhancedCode{4, 2, 0}, h.deliver("a@here").Status)
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(box+".lock", old, old))
	assert.Equal(t, mtakit.Delivered, h.deliver("a@here").Outcome, "a lock that was left behind")
}

func TestUnixLines(t *testing.T) {
	t.Parallel()
	const text = "From a\r\nFro\r\nx From b\r\n\rFrom c\nFrom d\r\r\nFr"
	const want = ">From a\nFro\nx From b\n\rFrom c\n>From d\r\nFr\n\n"
	for size := 1; size <= len(text); size++ {
		var b strings.Builder
		l := letterLines(&b)
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			l.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		require.NoError(t, l.end())
		assert.Equal(t, want, b.String(), "pieces of %d", size)
	}
}

func TestMbox(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	me := current()
	line := func(name string) string { return fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh", name, me.UID, me.GID, dir) }
	b := &Mbox{Users: table{"alice": line("alice"), "..": line(".."), "broken": "broken:x"}, Spool: dir, Delimiter: "+"}
	got := b.Deliver(t.Context(), delivery(hello, "alice+x@here", "bob@here", "..@here", "broken@here"))
	assert.Equal(t, mtakit.Delivered, got[0].Outcome, got[0].Diagnostic)
	assert.Equal(t, smtp.EnhancedCode{5, 1, 1}, got[1].Status)
	assert.Equal(t, mtakit.Deferred, got[2].Outcome)
	assert.Equal(t, mtakit.Deferred, got[3].Outcome)
	assert.FileExists(t, filepath.Join(dir, "alice"))
	b.Home = "Mailbox"
	require.Equal(t, mtakit.Delivered, b.Deliver(t.Context(), delivery(hello, "Alice@here"))[0].Outcome)
	assert.FileExists(t, filepath.Join(dir, "Mailbox"))
}

// A mail reader that puts a new file in the place of the mailbox while its lock is waited
// for loses no mail: it goes to the new one.
func TestFileIsReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	box, next := filepath.Join(dir, "box"), filepath.Join(dir, "next")
	require.NoError(t, os.WriteFile(box, []byte("old\n"), 0o600))
	require.NoError(t, os.WriteFile(next, []byte("new\n"), 0o600))
	f, err := os.OpenFile(box, os.O_RDWR, 0)
	require.NoError(t, err)
	require.NoError(t, tryLock(f))
	opened, err := os.OpenFile(box, os.O_RDWR, 0)
	require.NoError(t, err)
	defer opened.Close()
	require.ErrorIs(t, tryLock(opened), syscall.EAGAIN)
	require.NoError(t, still(box, opened))
	require.NoError(t, os.Rename(next, box))
	require.NoError(t, f.Close())
	require.NoError(t, tryLock(opened))
	require.ErrorIs(t, still(box, opened), errReplaced)
	require.NoError(t, os.Remove(box))
	require.ErrorIs(t, still(box, opened), errReplaced)
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/control"
	"github.com/mtakit/mtakit/queue/filespool"
)

// asProgram makes the test binary behave as the program itself.
const asProgram = "MTAKIT_TEST_AS_MQUEUE"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// mqueue runs the program as a process of its own.
func mqueue(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Dir = t.TempDir() // without mta-data
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		require.IsType(t, &exec.ExitError{}, err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// letter is a message to be put into a spool.
type letter struct {
	sender, hold string
	to           []string
	text         string
}

// spoolOf makes a spool with messages, and returns its folder and their IDs.
func spoolOf(t *testing.T, letters ...letter) (dir string, ids []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "queue")
	s, err := filespool.Open(dir, filespool.Options{})
	require.NoError(t, err)
	for _, l := range letters {
		d, err := s.Begin(t.Context(), 0)
		require.NoError(t, err)
		_, err = io.WriteString(d, "Subject: hello\r\nX-Evil: \x1b[2J\r\n\r\n"+l.text)
		require.NoError(t, err)
		e := &mtakit.Envelope{Sender: l.sender, Hold: l.hold}
		for _, address := range l.to {
			e.Recipients = append(e.Recipients, mtakit.Recipient{Address: address})
		}
		id, err := d.Commit(t.Context(), e, nil)
		require.NoError(t, err)
		ids = append(ids, id)
	}
	require.NoError(t, s.Close())
	return dir, ids
}

// entries reads a spool.
func entries(t *testing.T, dir string) map[string]queue.Entry {
	t.Helper()
	s, err := filespool.Open(dir, filespool.Options{ReadOnly: true})
	require.NoError(t, err)
	defer s.Close()
	all := map[string]queue.Entry{}
	for e, err := range s.Entries(t.Context()) {
		if _, damaged := errors.AsType[*queue.CorruptError](err); damaged {
			continue
		}
		require.NoError(t, err)
		all[e.ID] = e
	}
	return all
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"", "-nonsense list", "explode", "list -nonsense", "-queue a -socket b list", "list -queue a -socket b", "delete", "hold", "expire -v", "requeue -reason x ALL",
		"delete ALL x", "delete -sender x ALL", "show", "list -in outgoing", "delete -in maildrop", "check -in corrupt", "flush -order size", "list -order time", "list -older soon", "list -older -1s", "list -older 5000000d", "list -sender !",
		"shape -b 1", "shape -t 0", "delete -", "show -json",
	} {
		code, stdout, stderr := mqueue(t, "", strings.Fields(args)...)
		assert.Equal(t, exitUsage, code, "%q: %s", args, stderr)
		assert.Empty(t, stdout, args)
		assert.Equal(t, 1, strings.Count(stderr, "\n"), "%q: %s", args, stderr)
	}
	for _, args := range []string{"-h", "list -h", "-help"} {
		code, stdout, stderr := mqueue(t, "", strings.Fields(args)...)
		assert.Equal(t, exitDone, code)
		assert.Equal(t, help, stdout)
		assert.Empty(t, stderr)
	}
	for _, name := range subcommands {
		assert.Contains(t, help, "\n  "+name+" ")
	}
}

func TestNothingThere(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	for _, args := range []string{"list", "flush", "delete ALL"} {
		for _, where := range []string{"", "-queue " + empty + "/none ", "-socket " + empty + "/none "} {
			code, _, stderr := mqueue(t, "", strings.Fields(where+args)...)
			assert.Equal(t, exitUnavailable, code, stderr)
		}
	}
	// A folder that is none of ours stays as it is.
	code, _, stderr := mqueue(t, "", "-queue", empty, "delete", "ALL")
	assert.Equal(t, exitUnavailable, code, stderr)
	files, err := os.ReadDir(empty)
	require.NoError(t, err)
	assert.Empty(t, files)
}

func TestAtRest(t *testing.T) {
	t.Parallel()
	dir, ids := spoolOf(t, letter{sender: "alice@example.org", to: []string{"bob@example.net", "carol@sub.example.com"}, text: "one\r\n"},
		letter{sender: "", to: []string{"\x1b[2Jdave@example.net"}, text: "two\r\n"},
		letter{sender: "eve@example.org", hold: "suspicious", to: []string{"frank@example.com"}, text: "three\r\n"})

	code, stdout, stderr := mqueue(t, "", "-queue", dir, "list")
	assert.Equal(t, exitDone, code, stderr)
	for _, s := range []string{ids[0] + " ", ids[2] + "!", "MAILER-DAEMON", "?[2Jdave@example.net", "(suspicious)", " Kbytes in 3 Requests."} {
		assert.Contains(t, stdout, s)
	}
	assert.NotContains(t, stdout, "\x1b")

	_, stdout, _ = mqueue(t, "", "list", "-json", "-queue", dir)
	assert.NotContains(t, stdout, "\x1b")
	seen := map[string]control.Message{}
	for d := json.NewDecoder(strings.NewReader(stdout)); d.More(); {
		var m control.Message
		require.NoError(t, d.Decode(&m))
		seen[m.ID] = m
	}
	require.Len(t, seen, 3)
	assert.Equal(t, "\x1b[2Jdave@example.net", seen[ids[1]].Recipients[0].Address)
	assert.Equal(t, []string{"hold", "suspicious"}, []string{seen[ids[2]].Queue, seen[ids[2]].Reason})

	for selection, want := range map[string][]int{
		"-sender alice": {0}, "-sender <>": {1}, "-recipient *@example.com": {2}, "-site .example.com": {0}, "-in hold": {2},
		"-id " + ids[1]: {1}, ids[0] + " " + ids[2]: {0, 2}, "*": {0, 1, 2}, "ALL": {0, 1, 2}, "-older 1h": nil, "-sender !example.org": {1}, "-recipient !example.net": {2},
	} {
		_, stdout, stderr := mqueue(t, "", append([]string{"-queue", dir, "list"}, strings.Fields(selection)...)...)
		for i, id := range ids {
			assert.Equal(t, contains(want, i), strings.Contains(stdout, "\n"+id), "%s\n%s%s", selection, stdout, stderr)
		}
	}

	_, stdout, _ = mqueue(t, "", "-queue", dir, "show", ids[0])
	assert.Contains(t, stdout, "Sender:       <alice@example.org>\n")
	assert.Contains(t, stdout, "Recipient:    <carol@sub.example.com> pending\n")
	assert.True(t, strings.HasSuffix(stdout, "\n\nSubject: hello\r\nX-Evil: \x1b[2J\r\n\r\none\r\n"), "what goes to a pipe is as it is: %q", stdout)
	for flag, want := range map[string]string{"-header": "Subject: hello\r\nX-Evil: \x1b[2J\r\n\r\n", "-body": "one\r\n", "-header -body": "Subject: hello\r\nX-Evil: \x1b[2J\r\n\r\none\r\n"} {
		_, stdout, _ := mqueue(t, "", append([]string{"-queue", dir, "show", ids[0]}, strings.Fields(flag)...)...)
		assert.Equal(t, want, stdout, flag)
	}
	for selection, want := range map[string]string{"ALL": "one two three", "*": "one two three", "-sender <>": "two", ids[0] + " -sender <>": ""} {
		_, stdout, _ := mqueue(t, "", append([]string{"-v", "-queue", dir, "show", "-body"}, strings.Fields(selection)...)...)
		assert.ElementsMatch(t, strings.Fields(want), strings.Fields(stdout), selection)
	}
	code, stdout, stderr = mqueue(t, "", "-queue", dir, "show", "nobody", "-body", ids[1])
	assert.Equal(t, exitSome, code)
	assert.Equal(t, "two\r\n", stdout)
	assert.Equal(t, "mqueue: nobody: no such message\n", stderr)

	_, stdout, _ = mqueue(t, "", "-queue", dir, "shape", "-b", "3")
	assert.Contains(t, stdout, "TOTAL  4  4  0   0\n")

	// Nothing is done when one of the IDs is not there.
	code, stdout, stderr = mqueue(t, "", "-queue", dir, "delete", ids[0], "nobody")
	assert.Equal(t, []any{exitSome, "nothing deleted\n", "mqueue: nobody: no such message\n"}, []any{code, stdout, stderr})
	assert.Len(t, entries(t, dir), 3)

	for _, step := range []struct{ args, says string }{
		{"hold -v -reason look " + ids[0], ids[0] + ": held\nheld 1 of 1 message, for the server's next start\n"},
		{"release ALL", "released 2 of 2 messages, for the server's next start\n"},
		{"expire " + ids[0], "expired 1 of 1 message, for the server's next start\n"},
		{"requeue " + ids[1], "requeued 1 of 1 message, for the server's next start\n"},
		{"flush", "flushed everything, for the server's next start\n"},
		{"flush -site example.net", "flushed what is for example.net, for the server's next start\n"},
		{"flush -sender eve", "flushed 1 message, for the server's next start\n"},
		{"check", "3 messages good, 0 damaged\n"},
		{"check -repair", "3 messages good, 0 damaged\n"},
		{"hold -sender nobody@nowhere", "held 0 of 0 messages, for the server's next start\n"},
	} {
		code, stdout, stderr := mqueue(t, "", append([]string{"-queue", dir}, strings.Fields(step.args)...)...)
		assert.Equal(t, []any{exitDone, step.says, ""}, []any{code, stdout, stderr}, step.args)
	}
	code, _, stderr = mqueue(t, "", "-queue", dir, "flush", "-order", "host")
	assert.Equal(t, exitUnavailable, code)
	assert.Contains(t, stderr, "only a running server")
	all := entries(t, dir)
	assert.True(t, all[ids[0]].Expire)
	assert.True(t, all[ids[1]].Requeue)
	assert.Empty(t, all[ids[2]].Hold)

	code, stdout, _ = mqueue(t, ids[1]+"\n\n"+ids[2]+"\n", "-queue", dir, "delete", "-")
	assert.Equal(t, []any{exitDone, "deleted 2 of 2 messages, for the server's next start\n"}, []any{code, stdout})
	assert.Len(t, entries(t, dir), 1)
}

func contains(list []int, n int) bool {
	for _, i := range list {
		if i == n {
			return true
		}
	}
	return false
}

// TestMaildrop has mail that no server has taken yet: it can be seen, and no more.
func TestMaildrop(t *testing.T) {
	t.Parallel()
	dir, ids := spoolOf(t, letter{sender: "a@example.org", to: []string{"b@example.net"}})
	drop := filepath.Join(dir, "maildrop")
	require.NoError(t, os.MkdirAll(drop, 0o700))
	for name, text := range map[string]string{
		"good": "version: 1\nlength: 20\nsender: alice@example.org\nrecipient: bob@example.net\n\nSubject: hello\n\nHi.\n", "empty": "",
		"foreign": "Lorem ipsum\n\n", "long": strings.Repeat("x", 1<<20), "tmp.x": "half", ".x": "half",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(drop, name), []byte(text), 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(drop, "folder"), 0o700))
	require.NoError(t, os.Symlink("good", filepath.Join(drop, "link")))
	require.NoError(t, syscall.Mkfifo(filepath.Join(drop, "fifo"), 0o600))

	listed := func(args ...string) map[string]control.Message {
		code, stdout, stderr := mqueue(t, "", append([]string{"-queue", dir, "list", "-json"}, args...)...)
		require.Equal(t, exitDone, code, stderr)
		seen := map[string]control.Message{}
		for d := json.NewDecoder(strings.NewReader(stdout)); d.More(); {
			var m control.Message
			require.NoError(t, d.Decode(&m))
			seen[m.ID] = m
		}
		return seen
	}
	all := listed("-in", "maildrop")
	assert.Len(t, all, 6)
	assert.Equal(t, []any{"maildrop", "alice@example.org", int64(20), []control.Recipient{{Address: "bob@example.net"}}, ""},
		[]any{all["good"].Queue, all["good"].Sender, all["good"].Size, all["good"].Recipients, all["good"].Reason})
	for _, name := range []string{"empty", "foreign", "long", "link", "fifo"} {
		assert.Contains(t, all[name].Reason, "not a submission", name)
	}
	assert.Len(t, listed(), 7)
	assert.Len(t, listed("good"), 1)
	assert.Len(t, listed("good", ids[0]), 2)
	assert.Len(t, listed("-sender", "alice"), 1)
	assert.Len(t, listed("-recipient", "bob"), 1)
	assert.Empty(t, listed("-in", "corrupt"))

	_, stdout, _ := mqueue(t, "", "-queue", dir, "list")
	assert.Contains(t, stdout, "bob@example.net")
	assert.Contains(t, stdout, "in 7 Requests.")
	_, stdout, _ = mqueue(t, "", "-queue", dir, "show", "good")
	assert.Contains(t, stdout, "Recipient:    <bob@example.net> pending\n")
	assert.True(t, strings.HasSuffix(stdout, "\n\nSubject: hello\n\nHi.\n"), stdout)
	code, _, stderr := mqueue(t, "", "-queue", dir, "delete", "good")
	assert.Equal(t, exitSome, code)
	assert.Contains(t, stderr, "good waits in the maildrop until the server takes it")
	for _, name := range []string{"foreign", "fifo"} {
		code, _, stderr = mqueue(t, "", "-queue", dir, "show", name)
		assert.Equal(t, exitSome, code)
		assert.Contains(t, stderr, "not a submission", name)
	}
	for _, name := range []string{"../queue/maildrop/good", "tmp.x", "folder", ".."} {
		_, _, stderr = mqueue(t, "", "-queue", dir, "show", name)
		assert.Contains(t, stderr, "no such message", name)
	}
	code, stdout, stderr = mqueue(t, "", "-queue", dir, "delete", "ALL")
	assert.Equal(t, []any{exitDone, "deleted 1 of 1 message, for the server's next start\n", ""}, []any{code, stdout, stderr})
	assert.FileExists(t, filepath.Join(drop, "good"))
}

// TestInUse has a spool that somebody works on: it can be looked at.
func TestInUse(t *testing.T) {
	t.Parallel()
	dir, ids := spoolOf(t, letter{sender: "a@example.org", to: []string{"b@example.net"}})
	s, err := filespool.Open(dir, filespool.Options{})
	require.NoError(t, err)
	defer s.Close()
	code, stdout, stderr := mqueue(t, "", "-queue", dir, "list")
	assert.Equal(t, exitDone, code, stderr)
	assert.Contains(t, stdout, ids[0])
	code, _, stderr = mqueue(t, "", "-queue", dir, "delete", "ALL")
	assert.Equal(t, exitTemporary, code)
	assert.Equal(t, "mqueue: the spool is in use: a server runs on "+dir+"; use -socket\n", stderr)
}

// TestDamage has a message with a file of its own whose bytes were changed.
func TestDamage(t *testing.T) {
	t.Parallel()
	long := "original text\r\n" + strings.Repeat("and more of it\r\n", 30_000)
	dir, ids := spoolOf(t, letter{sender: "a@example.org", to: []string{"b@example.net"}, text: long},
		letter{sender: "a@example.org", to: []string{"b@example.net"}, text: "good\r\n"})
	damage(t, dir, "original text", "0riginal text")
	code, stdout, stderr := mqueue(t, "", "-queue", dir, "check")
	assert.Equal(t, exitSome, code)
	assert.Equal(t, "1 message good, 1 damaged\n", stdout)
	assert.Contains(t, stderr, ids[0]+": damaged: ")
	aside, err := os.ReadDir(filepath.Join(dir, "corrupt"))
	require.NoError(t, err)
	assert.Empty(t, aside, "it was only to be looked at")

	code, stdout, stderr = mqueue(t, "", "-queue", dir, "check", "-repair")
	assert.Equal(t, exitSome, code)
	assert.Contains(t, stderr, ids[0]+": damaged: ")
	assert.Contains(t, stdout, "\ncorrupt/"+ids[0])
	assert.Len(t, entries(t, dir), 1)
	code, stdout, _ = mqueue(t, "", "-queue", dir, "check")
	assert.Equal(t, exitDone, code)
	assert.Contains(t, stdout, "1 message good, 0 damaged\ncorrupt/"+ids[0])
	code, stdout, _ = mqueue(t, "", "-queue", dir, "list", "-in", "corrupt")
	assert.Equal(t, exitDone, code)
	assert.Contains(t, stdout, ids[0])
	assert.Contains(t, stdout, "checksum")
	_, stdout, _ = mqueue(t, "", "-queue", dir, "list")
	assert.NotContains(t, stdout, ids[0])
}

// TestDamagedJournal has one whose bytes were changed in the journal.
func TestDamagedJournal(t *testing.T) {
	t.Parallel()
	dir, ids := spoolOf(t, letter{sender: "a@example.org", to: []string{"b@example.net"}, text: "original text\r\n"},
		letter{sender: "a@example.org", to: []string{"b@example.net"}, text: "good\r\n"})
	damage(t, dir, "original text", "0riginal text")
	for _, args := range [][]string{{"check"}, {"check", "-repair"}} {
		code, stdout, stderr := mqueue(t, "", append([]string{"-queue", dir}, args...)...)
		assert.Equal(t, exitSome, code, args)
		assert.Contains(t, stdout, "1 message good, 1 damaged\n")
		assert.Contains(t, stderr, ids[0]+": damaged: ")
	}
	assert.Contains(t, entries(t, dir), ids[1])
}

// damage replaces bytes in whatever file of a spool has them.
func damage(t *testing.T, dir, old, changed string) {
	t.Helper()
	found := 0
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(b, []byte(old)) {
			return err
		}
		found++
		return os.WriteFile(name, bytes.Replace(b, []byte(old), []byte(changed), 1), 0o600)
	})
	require.NoError(t, err)
	require.Equal(t, 1, found)
}

// TestRootLeavesNothing has root work on the spool of a user, who must be able to
// read and write all of it afterwards.
func TestRootLeavesNothing(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir, ids := spoolOf(t, letter{sender: "a@example.org", to: []string{"b@example.net"}}, letter{sender: "a@example.org", to: []string{"b@example.net"}})
	const uid = 65534
	for up := filepath.Dir(dir); up != os.TempDir(); up = filepath.Dir(up) {
		require.NoError(t, os.Chmod(up, 0o755))
	}
	each := func(do func(name string) error) {
		require.NoError(t, filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return do(name)
		}))
	}
	each(func(name string) error { return os.Lchown(name, uid, uid) })
	for _, args := range [][]string{{"hold", ids[0]}, {"release", ids[0]}, {"delete", ids[1]}, {"check", "-repair"}} {
		code, _, stderr := mqueue(t, "", append([]string{"-queue", dir}, args...)...)
		require.Equal(t, exitDone, code, stderr)
	}
	each(func(name string) error {
		info, err := os.Lstat(name)
		if err == nil {
			assert.EqualValues(t, uid, info.Sys().(*syscall.Stat_t).Uid, name)
		}
		return err
	})
}

// TestManyMessages changes as many as a bar would be shown for, and then is
// interrupted before it begins.
func TestManyMessages(t *testing.T) {
	t.Parallel()
	n := 1500
	if testing.Short() {
		n = 100
	}
	letters := make([]letter, n)
	for i := range letters {
		letters[i] = letter{sender: fmt.Sprintf("s%d@example.org", i), to: []string{"b@example.net"}}
	}
	dir, _ := spoolOf(t, letters...)
	code, stdout, stderr := mqueue(t, "", "-queue", dir, "hold", "ALL")
	assert.Equal(t, []any{exitDone, fmt.Sprintf("held %d of %d messages, for the server's next start\n", n, n), ""}, []any{code, stdout, stderr})

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	assert.Equal(t, exitSome, run(ctx, []string{"-queue", dir, "delete", "ALL"}, nil, &out, &errs))
	assert.Len(t, entries(t, dir), n)
}

func TestSafe(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{"plain\r\n": "plain\n", "a\tb\x1b[2J\n": "a\tb?[2J\n", "no end": "no end", "a\rb\r\n": "a?b\n", "\r\n": "\n", "": ""} {
		assert.Equal(t, want, safe(line), "%q", line)
	}
}

func TestBar(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	var b bar
	b.start(&out, "hold", 5000)
	b.step()
	b.clear()
	assert.Empty(t, out.String(), "that is no terminal")
	b = bar{w: &out, what: "hold", total: 2000}
	b.step()
	b.step()
	b.clear()
	b.clear()
	assert.Equal(t, "\rhold ["+strings.Repeat(".", 40)+"] 1/2000 \r\x1b[K", out.String())
	out.Reset()
	b = bar{w: &out, what: "check", done: 2000, total: 2000}
	b.step()
	assert.Equal(t, "\rcheck ["+strings.Repeat("#", 40)+"] 2001/2000 ", out.String(), "mail came meanwhile")
}

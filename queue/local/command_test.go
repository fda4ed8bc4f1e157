package local

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
)

func itoa(i int) string { return strconv.Itoa(i) }

func TestCommand(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		command string
		outcome mtakit.Outcome
		status  smtp.EnhancedCode
		says    string
	}{
		"success":            {"cat >/dev/null", mtakit.Delivered, smtp.EnhancedCode{2, 0, 0}, "delivered to command"},
		"reads nothing":      {"exit 0", mtakit.Delivered, smtp.EnhancedCode{2, 0, 0}, "delivered"},
		"closes its input":   {"exec <&-; exec true", mtakit.Delivered, smtp.EnhancedCode{2, 0, 0}, "delivered"},
		"temporary":          {"exit 75", mtakit.Deferred, smtp.EnhancedCode{4, 3, 0}, "temporary failure"},
		"no user":            {"echo who is that; exit 67", mtakit.Bounced, smtp.EnhancedCode{5, 1, 1}, "who is that"},
		"own code":           {"echo 4.2.2 over quota; exit 67", mtakit.Deferred, smtp.EnhancedCode{4, 2, 2}, "over quota"},
		"own code for ever":  {"echo 5.7.1 go away >&2; exit 75", mtakit.Bounced, smtp.EnhancedCode{5, 7, 1}, "go away"},
		"a lie":              {"echo 2.0.0 fine; exit 1", mtakit.Bounced, smtp.EnhancedCode{5, 3, 0}, "Command died with status 1"},
		"no such program":    {"/no/such/program", mtakit.Bounced, smtp.EnhancedCode{5, 3, 0}, "status 127"},
		"killed":             {"kill -9 $$", mtakit.Deferred, smtp.EnhancedCode{4, 3, 0}, "killed"},
		"controls in a text": {`printf 'a\033[2Jb\r\nc'; exit 69`, mtakit.Bounced, smtp.EnhancedCode{5, 3, 0}, "a[2Jb c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, aliases{"a@here": {"|" + c.command}})
			r := h.Deliver(t.Context(), delivery(hello+strings.Repeat("x\r\n", 1<<17), "a@here"))[0]
			assert.Equal(t, c.outcome, r.Outcome, r.Diagnostic)
			assert.Equal(t, c.status, r.Status)
			assert.Contains(t, r.Diagnostic, c.says)
		})
	}
}

func TestCommandGets(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "out")
	h := newHouse(t, aliases{"alice@here": {"|(pwd; env; cat) >" + out}})
	d := delivery(hello, "alice+list@here")
	h.Aliases = aliases{"alice+list@here": {"|(pwd; env; cat) >" + out}}
	d.Envelope.Sender = "$(reboot)@there"
	d.Recipients[0].Original = "Alice+list@here"
	require.Equal(t, mtakit.Delivered, h.Deliver(t.Context(), d)[0].Outcome)
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	text := string(b)
	for _, line := range []string{"/", "SENDER=$(reboot)@there", "RECIPIENT=alice+list@here", "ORIGINAL_RECIPIENT=Alice+list@here",
		"LOCAL=alice+list", "DOMAIN=here", "MAILBOX_NAME=alice", "EXTENSION=list", "PATH=/usr/bin:/bin", "SHELL=/bin/sh"} {
		assert.Contains(t, strings.Split(text, "\n"), line)
	}
	assert.NotContains(t, text, "GOFLAGS", "nothing of the server's own environment")
	_, message, found := strings.Cut(text, "\nFrom $(reboot)@there ")
	require.True(t, found)
	_, message, _ = strings.Cut(message, "\n")
	assert.Equal(t, "Return-Path: <$(reboot)@there>\nX-Original-To: Alice+list@here\nDelivered-To: alice+list@here\n"+
		"Subject: hello\n\nFrom here on\nbye\n", message)
}

// A command that never ends is killed with its children, and the mail waits.
func TestCommandTime(t *testing.T) {
	t.Parallel()
	left := filepath.Join(t.TempDir(), "left")
	h := newHouse(t, aliases{"a@here": {"|(sleep 3; touch " + left + ") & sleep 1000"}})
	h.Commands.Time = 300 * time.Millisecond
	r := h.deliver("a@here")
	assert.Equal(t, mtakit.Deferred, r.Outcome)
	assert.Contains(t, r.Diagnostic, "time limit exceeded")
	assert.NoFileExists(t, left)
}

func TestCommandRights(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can run commands as others")
	}
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		require.NoError(t, os.Chmod(d, 0o755))
	}
	out := filepath.Join(dir, "out")
	require.NoError(t, os.WriteFile(out, nil, 0o666))
	require.NoError(t, os.Chmod(out, 0o666))
	h := newHouse(t, aliases{"a@here": {"|id -u >" + out + "; id -G >>" + out}, "b@here": {filepath.Join(dir, "box")}})
	h.Default = nil
	assert.Equal(t, smtp.EnhancedCode{4, 3, 5}, h.deliver("a@here").Status, "never as root because nobody said otherwise")
	h.Default = &User{Name: "nobody", UID: 65534, GID: 65534}
	r := h.deliver("a@here")
	require.Equal(t, mtakit.Delivered, r.Outcome, r.Diagnostic)
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	assert.Equal(t, "65534\n65534\n", string(b))

	assert.Equal(t, mtakit.Deferred, h.deliver("b@here").Outcome, "nobody may make files there")
	require.NoError(t, os.Chmod(dir, 0o777))
	r = h.deliver("b@here")
	require.Equal(t, mtakit.Delivered, r.Outcome, r.Diagnostic)
	info, err := os.Stat(filepath.Join(dir, "box"))
	require.NoError(t, err)
	assert.True(t, ownedBy(info, 65534))
	assert.Equal(t, 0, os.Geteuid(), "and the process is what it was")

	h.Users, h.DotForward = table{"root": "root:x:0:0::" + dir + ":/bin/sh"}, ".forward"
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".forward"), []byte("|id>"+out), 0o600))
	require.NoError(t, os.Chmod(dir, 0o755))
	r = h.deliver("root@here")
	require.Equal(t, mtakit.Delivered, r.Outcome, r.Diagnostic)
	b, err = os.ReadFile(out)
	require.NoError(t, err)
	assert.Contains(t, string(b), "uid=65534", "root's .forward is not run as root")
	h.Users = table{"root": "root:x:0:0::/dev/null:/bin/sh"}
	assert.Equal(t, smtp.EnhancedCode{5, 1, 1}, h.deliver("root@here").Status, "a home that is none has no .forward")

	secret := filepath.Join(dir, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("x@there"), 0o600))
	_, err = readForward(*h.Default, secret)
	assert.ErrorIs(t, err, os.ErrPermission)
}

// broken is a body that cannot be read to its end.
type broken struct{ mtakit.Bytes }

func (b broken) Open() (io.ReadCloser, error) {
	r, err := b.Bytes.Open()
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(r, iotest.ErrReader(errors.New("disk on fire"))), r}, err
}

// A message that cannot be read is never half a message for a command or in a file.
func TestBrokenBody(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	done, box := filepath.Join(dir, "done"), filepath.Join(dir, "box")
	require.NoError(t, os.WriteFile(box, []byte("old\n"), 0o600))
	h := newHouse(t, aliases{"a@here": {"|cat >/dev/null && touch " + done}, "b@here": {box}})
	for _, to := range []string{"a@here", "b@here"} {
		d := delivery(hello, to)
		d.Message.Body = broken{mtakit.Bytes(strings.Repeat("x\r\n", 1<<17))}
		r := h.Deliver(t.Context(), d)[0]
		assert.Equal(t, mtakit.Deferred, r.Outcome, r.Diagnostic)
	}
	assert.NoFileExists(t, done)
	b, err := os.ReadFile(box)
	require.NoError(t, err)
	assert.Equal(t, "old\n", string(b))
}

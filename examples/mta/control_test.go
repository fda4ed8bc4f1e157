package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/queue/control"
)

// mqueue is examples/mqueue as a program, on a socket or a folder.
type mqueue struct {
	t     *testing.T
	path  string
	where []string
}

// buildMqueue builds the program.
func buildMqueue(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mqueue")
	out, err := exec.Command("go", "build", "-o", path, "github.com/mtakit/mtakit/examples/mqueue").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// say runs the program, and returns its exit code and what it says on standard
// output and error.
func (q mqueue) say(args ...string) (int, string) {
	q.t.Helper()
	cmd := exec.Command(q.path, append(q.where, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		require.IsType(q.t, &exec.ExitError{}, err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// done runs the program, which must succeed, and returns what it says.
func (q mqueue) done(args ...string) string {
	q.t.Helper()
	code, out := q.say(args...)
	require.Zero(q.t, code, "%q: %s", args, out)
	return out
}

// list returns the messages.
func (q mqueue) list(args ...string) (all []control.Message) {
	q.t.Helper()
	out := q.done(append([]string{"list", "-json"}, args...)...)
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var m control.Message
		require.NoError(q.t, d.Decode(&m), out)
		all = append(all, m)
	}
	return all
}

// TestOperate takes mail that cannot go out through everything that mqueue does,
// while the server runs, and after it was killed.
func TestOperate(t *testing.T) {
	t.Parallel()
	tool := buildMqueue(t)
	dir := tablesIn(t, map[string]string{"header_checks": "/^Subject: hold/ HOLD for review\n"})
	p := launch(t, dir, "-relayhost", "127.0.0.1:1", "-min-backoff", "1h", "-max-backoff", "1h")
	live := mqueue{t, tool, []string{"-socket", filepath.Join(p.dir, "control.sock")}}
	rest := mqueue{t, tool, []string{"-queue", filepath.Join(p.dir, "queue")}}
	assert.Equal(t, "Mail queue is empty\n", live.done("list"))

	c := dial(t, p.smtp)
	const text = "Subject: hello\r\n\r\nHello.\r\n"
	one := c.send("alice@example.test", "one@one.example", text)
	two := c.send("bob@example.test", "two@two.example", text)
	held := c.send("bob@example.test", "alice@example.test", "Subject: hold\r\n\r\nHello.\r\n")
	deferred := func(n int) func() bool {
		return func() bool { return len(live.list("-in", "deferred")) == n }
	}
	eventually(t, deferred(2), p)

	assert.Regexp(t, `(?m)^`+held+`! +\d+ `, live.done("list"))
	m := live.list(one)[0]
	assert.Equal(t, []any{"alice@example.test", "one@one.example", 1}, []any{m.Sender, m.Recipients[0].Address, m.Attempts})
	assert.Contains(t, m.Reason, "connection refused")
	shown := live.done("show", held)
	assert.Contains(t, shown, "Reason:       hold: header Subject: hold: for review\n")
	assert.True(t, strings.HasSuffix(shown, "Subject: hold\r\n\r\nHello.\r\n"), shown)
	assert.Regexp(t, `(?m)^ +two\.example +1 +1 `, live.done("shape"))
	assert.Equal(t, "3 messages good, 0 damaged\n", live.done("check", "-repair"))
	assert.Equal(t, "3 messages good, 0 damaged\n", rest.done("check"), "while the server runs")
	code, out := rest.say("delete", "ALL")
	assert.Equal(t, 75, code, out)
	assert.Contains(t, out, "use -socket")

	// Its release delivers it.
	live.done("release", held)
	p.mails(t, "example.test/alice", 1)
	attempts := func(id string, n int) func() bool {
		return func() bool {
			m := live.list(id)
			return len(m) == 1 && m[0].Attempts == n && m[0].Queue == "deferred"
		}
	}
	live.done("hold", "-reason", "by hand", two)
	live.done("flush")
	eventually(t, attempts(one, 2), p)
	assert.Equal(t, 1, live.list(two)[0].Attempts)
	live.done("flush", one)
	eventually(t, attempts(one, 3), p)
	live.done("flush", "-site", "one.example")
	eventually(t, attempts(one, 4), p)

	live.done("requeue", one)
	var again string
	eventually(t, func() bool {
		for _, m := range live.list("-site", "one.example", "-in", "deferred") {
			again = m.ID
		}
		return again != "" && again != one
	}, p)
	code, out = live.say("delete", again, one)
	assert.Equal(t, 1, code)
	assert.Equal(t, "mqueue: "+one+": no such message\nnothing deleted\n", out)
	live.done("expire", two)
	report := p.mails(t, "example.test/bob", 1)[0]
	assert.Contains(t, report, "message is administratively expired")
	live.done("delete", again)
	assert.Equal(t, "Mail queue is empty\n", live.done("list"))

	// The same at rest.
	one = c.send("alice@example.test", "one@one.example", text)
	two = c.send("bob@example.test", "two@two.example", text)
	held = c.send("carol@example.test", "carol@example.test", "Subject: hold\r\n\r\nHello.\r\n")
	eventually(t, deferred(2), p)
	p.kill(t)
	code, out = live.say("list")
	assert.Equal(t, 69, code, out)
	assert.Len(t, rest.list(), 3)
	rest.done("hold", one)
	rest.done("release", held)
	rest.done("expire", two)
	assert.Contains(t, rest.done("show", "-envelope", two), "it will be given up")
	assert.Contains(t, rest.done("shape"), "TOTAL  3  3 ")
	assert.Equal(t, "3 messages good, 0 damaged\n", rest.done("check", "-repair"))

	p = launch(t, dir, "-relayhost", "127.0.0.1:1", "-min-backoff", "1h", "-max-backoff", "1h") // the socket of the killed one is replaced
	p.mails(t, "example.test/carol", 1)
	p.mails(t, "example.test/bob", 2)
	assert.Equal(t, one, live.list()[0].ID)
	assert.Regexp(t, regexp.MustCompile(`(?m)^`+one+`!`), live.done("list"))
	rest.done("list", "-sender", "alice")
	live.done("requeue", "ALL")
	eventually(t, func() bool { m := live.list(); return len(m) == 1 && m[0].ID != one && m[0].Queue == "deferred" }, p)
}

// TestControlSocket has sockets where they cannot be, and none.
func TestControlSocket(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "mine")
	assert.Contains(t, failing(t, "-dir", t.TempDir(), "-smtp", "127.0.0.1:0", "-submission", "", "-control", file), "-control")
	assert.FileExists(t, file)
	p := launch(t, t.TempDir(), "-control", "")
	assert.NoFileExists(t, filepath.Join(p.dir, "control.sock"))
	launch(t, t.TempDir(), "-control", filepath.Join(filepath.Dir(file), "elsewhere.sock"))
	info, err := os.Stat(filepath.Join(filepath.Dir(file), "elsewhere.sock"))
	require.NoError(t, err)
	assert.Equal(t, os.ModeSocket|0o666, info.Mode())
}

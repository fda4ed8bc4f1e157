package rewrite_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup/rewrite"
)

func TestInclude(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	write := func(name, text string) string {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	list := write("list", "# our list\nalice, bob@example.net\n  , carol\n\n\"odd user\"\nAlice\n:include:"+dir+"/more\n")
	write("more", "dave (who is new)\nErin <erin@example.net>\n")
	self := write("self", "alice\n:include:"+dir+"/self\n")
	command := write("command", "alice\n\"|/bin/sh\"\n")
	huge := write("huge", strings.Repeat("x@example.net\n", 400_000))
	many := write("many", "")
	var b strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&b, "u%d@example.net\n", i)
	}
	write("many", b.String())
	open := write("open", "alice\n")
	require.NoError(t, os.Chmod(open, 0o666))
	secret := write(filepath.Join(outside, "secret"), "alice\n")
	require.NoError(t, os.Symlink(secret, filepath.Join(dir, "link")))
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))

	aliases := func(value string) *rewrite.Aliases {
		return &rewrite.Aliases{Table: table{"list": value}, Domains: table{"example.org": ""}, Includes: rewrite.IncludeDirs{dir}}
	}
	got, err := aliases(":include:"+list+", zoe").Expand(t.Context(), "list@example.org")
	require.NoError(t, err)
	assert.Equal(t, []string{"alice@example.org", "bob@example.net", "carol@example.org", `"odd user"@example.org`, "dave@example.org", "erin@example.net", "zoe@example.org"}, got)

	for name, want := range map[string]error{
		self: rewrite.ErrExpansion, command: rewrite.ErrDisabled, huge: rewrite.ErrExpansion, many: rewrite.ErrExpansion, open: rewrite.ErrInclude,
		filepath.Join(dir, "missing"): os.ErrNotExist, secret: rewrite.ErrInclude, filepath.Join(dir, "link"): rewrite.ErrInclude, fifo: rewrite.ErrInclude, dir: rewrite.ErrInclude,
		dir + "/../" + filepath.Base(outside) + "/secret": rewrite.ErrInclude, "/dev/zero": rewrite.ErrInclude,
	} {
		_, err := aliases(":include:"+name).Expand(t.Context(), "list@example.org")
		require.ErrorIs(t, err, want, name)
	}
	a := aliases(":include:" + list)
	a.Includes = nil
	_, err = a.Expand(t.Context(), "list@example.org")
	require.ErrorIs(t, err, rewrite.ErrDisabled)
	var problems []string
	for _, problem := range aliases("").Check("aliases", strings.NewReader("a: :include:"+list+"\nb: :include:/x\nc: |cmd\n")) {
		problems = append(problems, problem.Error())
	}
	assert.Equal(t, []string{`aliases:2: alias "b": :include:/x: lstat /x: no such file or directory`, `aliases:3: alias "c": |command not enabled: "cmd"`}, problems)
}

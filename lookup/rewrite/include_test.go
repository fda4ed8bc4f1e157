package rewrite_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup/rewrite"
)

// counted counts the files that are opened.
type counted struct {
	rewrite.Includes
	opened *int
}

func (c counted) Open(name string) (io.ReadCloser, error) {
	*c.opened++
	return c.Includes.Open(name)
}

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
	self := write("self", "alice\n:include:"+dir+"/self\nbob\n:include:"+list+"\n")
	var wide strings.Builder
	for i := range 12 {
		write(fmt.Sprintf("deep%d", i), fmt.Sprintf(":include:%s/deep%d\n", dir, i+1))
	}
	for i := range 30 { // of which each includes all
		fmt.Fprintf(&wide, ":include:%s/wide%d\n", dir, i)
	}
	for i := range 30 {
		write(fmt.Sprintf("wide%d", i), wide.String()+"alice\n")
	}
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

	opened := 0
	a := aliases(":include:" + self + ", :include:" + list)
	a.Includes = counted{a.Includes, &opened}
	got, _, err = a.Destinations(t.Context(), "list@example.org")
	require.NoError(t, err)
	assert.Equal(t, []string{"alice@example.org", "bob@example.org", "alice@example.org", "bob@example.net", "carol@example.org", `"odd user"@example.org`, "Alice@example.org", "dave@example.org", "erin@example.net"}, got)
	assert.Equal(t, 3, opened)
	a.Table, opened = table{"list": ":include:" + dir + "/wide0"}, 0
	_, err = a.Expand(t.Context(), "list@example.org")
	require.ErrorIs(t, err, rewrite.ErrExpansion, "11 files deep")
	assert.LessOrEqual(t, opened, 30)
	a.Limit = 5
	_, err = a.Expand(t.Context(), "list@example.org")
	require.ErrorContains(t, err, "more than 5 files")

	for name, want := range map[string]error{
		dir + "/deep0": rewrite.ErrExpansion, command: rewrite.ErrDisabled, huge: rewrite.ErrExpansion, many: rewrite.ErrExpansion, open: rewrite.ErrInclude,
		filepath.Join(dir, "missing"): os.ErrNotExist, secret: rewrite.ErrInclude, filepath.Join(dir, "link"): rewrite.ErrInclude, fifo: rewrite.ErrInclude, dir: rewrite.ErrInclude,
		dir + "/../" + filepath.Base(outside) + "/secret": rewrite.ErrInclude, "/dev/zero": rewrite.ErrInclude,
	} {
		_, err := aliases(":include:"+name).Expand(t.Context(), "list@example.org")
		require.ErrorIs(t, err, want, name)
	}
	a = aliases(":include:" + list)
	a.Includes = nil
	_, err = a.Expand(t.Context(), "list@example.org")
	require.ErrorIs(t, err, rewrite.ErrDisabled)
	var problems []string
	for _, problem := range aliases("").Check("aliases", strings.NewReader("a: :include:"+list+"\nb: :include:/x\nc: |cmd\n")) {
		problems = append(problems, problem.Error())
	}
	assert.Equal(t, []string{`aliases:2: alias "b": :include:/x: lstat /x: no such file or directory`, `aliases:3: alias "c": |command not enabled: "cmd"`}, problems)
}

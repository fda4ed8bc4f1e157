package lookup_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/tabletest"
)

func TestSmallTables(t *testing.T) {
	t.Setenv("MTAKIT_TEST_VARIABLE", "its value")
	o := &lookup.Opener{}
	open := func(reference string) lookup.LookupTable {
		t.Helper()
		table, err := o.Open(t.Context(), reference)
		require.NoError(t, err)
		return table
	}
	none := []string{"none", "-h", "x:y", "a,b"}
	tabletest.Run(t, open("inline:{a=b, {C = d e}}"), tabletest.Contents{Found: map[string]string{"a": "b", "A": "b", "c": "d e"}, Missing: none})
	tabletest.Run(t, open("pipemap:{inline:{a=b,c=d},{inline:{b=e,x=y}}}"), tabletest.Contents{Found: map[string]string{"a": "e"}, Missing: []string{"c", "none"}})
	tabletest.Run(t, open("unionmap:{inline:{a=b},inline:{a=c,d=e}}"), tabletest.Contents{Found: map[string]string{"a": "b,c", "d": "e"}, Missing: none})
	tabletest.Run(t, lookup.Environ{"MTAKIT_TEST_VARIABLE", "MTAKIT_TEST_UNSET"}, tabletest.Contents{Found: map[string]string{"MTAKIT_TEST_VARIABLE": "its value"}, Missing: append(none, "MTAKIT_TEST_UNSET", "PATH")})
	value, ok, err := open("static:{a b}").Lookup(t.Context(), "x")
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, "a b", value)
	_, ok, err = open("fail:x").Lookup(t.Context(), "x")
	require.ErrorIs(t, err, lookup.ErrFail)
	assert.False(t, ok)
	seen := map[string]bool{}
	for range 200 {
		value, ok, err := open("randmap:{a,{b c}}").Lookup(t.Context(), "x")
		require.NoError(t, err)
		require.True(t, ok)
		seen[value] = true
	}
	assert.Equal(t, map[string]bool{"a": true, "b c": true}, seen)
}

func TestGetent(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("getent"); err != nil {
		absent(t, "getent", "libc-bin")
	}
	root, err := exec.Command("getent", "passwd", "root").Output()
	require.NoError(t, err)
	contents := tabletest.Contents{Found: map[string]string{"root": strings.TrimSpace(string(root))},
		Missing: []string{"0", "-h", "--help", "nobody-of-this-name", "root:x", "root,daemon", "root\n", "ROOT", "root daemon"}}
	tabletest.Run(t, lookup.Getent{}, contents)
	for _, broken := range []lookup.Getent{{Program: "/nonexistent/getent"}, {Database: "nosuch"}, {Program: "false"}} {
		_, ok, err := broken.Lookup(t.Context(), "root")
		require.Error(t, err)
		assert.False(t, ok)
	}
	sleeps := filepath.Join(t.TempDir(), "getent")
	require.NoError(t, os.WriteFile(sleeps, []byte("#!/bin/sh\nexec sleep 60\n"), 0o700))
	_, _, err = lookup.Getent{Program: sleeps, Timeout: 50 * time.Millisecond}.Lookup(t.Context(), "root")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestAliasReferences has "hash:/etc/aliases", which says nothing of the file's format.
func TestAliasReferences(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text    string
		aliases bool
	}{
		{"# comment\nroot: admin\n\"two words\": x\nlist:a,\n  b\nprog:\"|x y\"\nlast : y\n", true},
		{"\"a:b\": x\n", true},
		{"\"unbalanced x\nroot: admin\n", true},
		{"", false},
		{"root admin\nother: x\n", false},
		{"root: admin\nother x\n", false},
		{"2001:db8:: REJECT\n", false},
		{"2001:db8::1 REJECT\nroot: x\n", false},
		{"2001:db8::1\n", false}, // of a list without values
		{"example.org :[mail.example.org]\n", false},
		{"user@example.org: x\nuser@example.com x\n", false},
	} {
		assert.Equal(t, c.aliases, lookup.IsAliases("x", c.text), c.text)
		path := filepath.Join(t.TempDir(), "aliases")
		require.NoError(t, os.WriteFile(path, []byte(c.text), 0o600))
		o := &lookup.Opener{Dirs: []string{filepath.Dir(path)}}
		for _, kind := range []string{"hash:", "btree:", "texthash:"} {
			table, err := o.Open(t.Context(), kind+path)
			require.NoError(t, err)
			for e, err := range lookup.AliasEntries("x", c.text) {
				if err == nil && c.aliases {
					value, ok, err := table.Lookup(t.Context(), e.Key)
					require.NoError(t, err)
					assert.Equal(t, kind != "texthash:", ok && value == e.Value, "%s %q", kind, e.Key)
				}
			}
		}
	}
}

// TestInlineRules has a bad rule in braces, which is told of and skipped as in a file.
func TestInlineRules(t *testing.T) {
	t.Parallel()
	for _, reference := range []string{"regexp:{{/c(/ b}, {/1/ c}}", "pcre:{{/c(/ b}, {/1/ c}}", "cidr:{{10.0.0.1/8 b}, {10.0.0.0/8 c}}"} {
		var log strings.Builder
		o := &lookup.Opener{Options: lookup.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}}
		table, err := o.Open(t.Context(), reference)
		require.NoError(t, err)
		value, ok, err := table.Lookup(t.Context(), "10.0.0.1")
		require.NoError(t, err)
		assert.True(t, ok)
		assert.Equal(t, "c", value)
		assert.Contains(t, log.String(), "file=inline line=1 reason=")
	}
}

// TestPostmapReferences compares with postmap what stands in a reference alone.
func TestPostmapReferences(t *testing.T) {
	t.Parallel()
	p := newPostmap(t)
	for _, reference := range []string{
		"static:abc", "static:{a b}", "static:{a} b", "static:{a", "static:{a}{b}", "inline:{{a=b}x}", "inline:{{a = b}, {A = c}, a=d}", "inline:{a=b, {c = d e}}", "inline:{A=b}", "inline:{ a=b c=d, e=f }", "inline:{}", "inline:a=b", "inline:{a}", "inline:{{a=b}",
		"pipemap:{static:a,inline:{a=b}}", "pipemap:{inline:{a=x,c=y},static:q}", "pipemap:{}", "pipemap:static:a", "unionmap:{static:a,static:b}", "unionmap:{inline:{a=1},fail:x}",
		"randmap:{a}", "randmap:{}", "unix:passwd.byname", "unix:group.byname", "unix:passwd.nosuch", "fail:x", "static:", "nosuchtype:x", "x", ":x",
		"regexp:{{/a/ b}, {/(c)/ $1}}", "regexp:{{if /a/}, {/ab/ x}, {endif}}", "pcre:{{/a(?=b)/ b}}", "cidr:{{10.0.0.0/8 x}}",
		"regexp:{{/c(/ b}, {/a/ c}}", "pcre:{{/c(/ b}, {/a/ c}}", "cidr:{{10.0.0.1/8 x}, {10.0.0.0/8 y}}", "regexp:{{/a/ $2}, {if /a/}, {/A/ b}}",
	} {
		t.Run(reference, func(t *testing.T) {
			t.Parallel() // postmap sleeps when it fails
			p.agreeOn(t, reference)
		})
	}
}

// agreeOn compares the answers of a table that is nothing but its reference.
func (p *postmap) agreeOn(t *testing.T, reference string) {
	o := &lookup.Opener{}
	table, openErr := o.Open(t.Context(), reference)
	for _, key := range []string{"a", "ab", "A", "c", "e", "root", "ROOT", "10.1.2.3", "none"} {
		out, err := exec.Command(p.program, "-c", p.dir, "-q", key, reference).Output()
		var exit *exec.ExitError
		failed := errors.As(err, &exit) && strings.Contains(string(exit.Stderr), "fatal:")
		if openErr != nil {
			assert.True(t, failed, "%v, and postmap says %q", openErr, out)
			return
		}
		value, ok, err := table.Lookup(t.Context(), key)
		assert.Equal(t, failed, err != nil, "%s: %v", key, err)
		if failed {
			return
		}
		assert.Equal(t, strings.TrimSuffix(string(out), "\n"), value, key)
		assert.Equal(t, len(out) > 0, ok, key)
	}
	require.NoError(t, o.Close())
}

func TestOpener(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	write := func(path, text string) {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	write(filepath.Join(dir, "virtual"), "a@example.org b\n")
	write(filepath.Join(dir, "aliases"), "root: admin\n")
	write(filepath.Join(outside, "secret"), "a b\n")
	require.NoError(t, os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink(filepath.Join(dir, "virtual"), filepath.Join(dir, "inside")))
	o := &lookup.Opener{Dirs: []string{dir}, Base: dir}
	for reference, want := range map[string]error{
		"hash:" + dir + "/virtual": nil, "hash:virtual": nil, "hash:inside": nil, "proxy:hash:virtual": nil, "aliases:aliases": nil,
		"hash:" + outside + "/secret": lookup.ErrOutside, "hash:link": lookup.ErrOutside, "hash:../" + filepath.Base(outside) + "/secret": lookup.ErrOutside,
		"hash:" + outside + "/missing": lookup.ErrOutside, "hash:/etc/passwd": lookup.ErrOutside, "hash:missing": fs.ErrNotExist,
		"mysql:x": lookup.ErrType, "hash": lookup.ErrReference, ":x": lookup.ErrReference, "hash:": lookup.ErrReference, "pipemap:{hash:link}": lookup.ErrOutside,
		"tcp:localhost": lookup.ErrReference, "socketmap:inet:localhost:name": lookup.ErrReference, "socketmap:x:localhost:1:name": lookup.ErrReference, "socketmap:unix:/s:": lookup.ErrReference,
		"tcp:127.0.0.1:1": nil, "socketmap:inet:127.0.0.1:1:name": nil, "socketmap:unix:/nowhere:name": nil,
		"inline:{a=b": lookup.ErrReference, "pipemap:{": lookup.ErrReference,
		strings.Repeat("pipemap:{", 30) + "static:a" + strings.Repeat("}", 30): lookup.ErrReference,
	} {
		table, err := o.Open(t.Context(), reference)
		if want == nil {
			require.NoError(t, err, reference)
			require.NotNil(t, table)
			again, err := o.Open(t.Context(), reference)
			require.NoError(t, err)
			require.Same(t, table, again)
			continue
		}
		require.ErrorIs(t, err, want, reference)
		require.Nil(t, table)
	}
	maps, err := o.Maps(t.Context(), "hash:virtual, inline:{x=y, z=q} aliases:aliases")
	require.NoError(t, err)
	require.Len(t, maps, 3)
	value, _, err := maps.Lookup(t.Context(), "root")
	require.NoError(t, err)
	require.Equal(t, "admin", value)
	write(filepath.Join(dir, "virtual"), "a@example.org c\n")
	require.NoError(t, o.Reload(t.Context()))
	value, _, err = maps.Lookup(t.Context(), "a@example.org")
	require.NoError(t, err)
	require.Equal(t, "c", value)
	empty, err := o.Maps(t.Context(), " ")
	require.NoError(t, err)
	require.Empty(t, empty)
	require.NoError(t, o.Close())

	only := &lookup.Opener{Types: map[string]lookup.OpenFunc{"static": lookup.Types()["static"]}}
	_, err = only.Open(t.Context(), "hash:virtual")
	require.ErrorIs(t, err, lookup.ErrType)
	nowhere := &lookup.Opener{}
	_, err = nowhere.Open(t.Context(), "hash:/etc/passwd")
	require.ErrorIs(t, err, lookup.ErrOutside)
	_, err = nowhere.Open(t.Context(), "hash:passwd")
	require.ErrorIs(t, err, lookup.ErrReference)
}

// closes is a table that counts how often it is closed.
type closes struct {
	lookup.Static
	n atomic.Int64
}

func (c *closes) Close() error {
	c.n.Add(1)
	return nil
}

// TestOpenerSharesTables opens one table under two references, and under one of them
// twice at the same time: it stays open until the Opener is closed, once.
func TestOpenerSharesTables(t *testing.T) {
	t.Parallel()
	table := &closes{Static: "x"}
	var both sync.WaitGroup
	both.Add(2)
	o := &lookup.Opener{Types: lookup.Types()}
	o.Types["one"] = func(context.Context, *lookup.Opener, string) (lookup.LookupTable, error) { return table, nil }
	o.Types["also"] = func(ctx context.Context, o *lookup.Opener, name string) (lookup.LookupTable, error) {
		found, err := o.Open(ctx, "proxy:one:"+name)
		both.Done()
		both.Wait()
		return found, err
	}
	_, err := o.Open(t.Context(), "inline:{a=b}") // is a map, which compares with nothing
	require.NoError(t, err)
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			found, err := o.Open(t.Context(), "also:x")
			assert.NoError(t, err)
			assert.Same(t, table, found)
		})
	}
	group.Wait()
	assert.Zero(t, table.n.Load(), "it is in use")
	require.NoError(t, o.Close())
	assert.EqualValues(t, 1, table.n.Load())
}

// TestOpenerDomains reads lists of domains in files: they are lists as good as that in
// the parameter, and what cannot be read of them is no list without it.
func TestOpenerDomains(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"list":  "# ours\none.example, two.example\n  !three.example four.example\nhash:" + dir + "/table " + dir + "/more !" + dir + "/except\nsix.example inline:{seven.example=x} eight.example\n",
		"table": "in.example x\n", "more": "five.example\nthree.example\n", "except": "six.example\n", "empty": "# nothing\n",
		"loop": dir + "/loop\n", "bad": "one.example\x00\n", "broken": "nosuch:x\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	o := &lookup.Opener{Dirs: []string{dir}}
	domains, err := o.Domains(t.Context(), "zero.example "+dir+"/list")
	require.NoError(t, err)
	for domain, want := range map[string]bool{"zero.example": true, "one.example": true, "TWO.example": true, "three.example": false, "four.example": true, "in.example": true, "five.example": true, "six.example": false, "seven.example": true, "eight.example": true, "nine.example": false} {
		_, ok, err := domains.Lookup(t.Context(), domain)
		require.NoError(t, err)
		assert.Equal(t, want, ok, domain)
	}
	empty, err := o.Domains(t.Context(), dir+"/empty")
	require.NoError(t, err)
	_, ok, err := empty.Lookup(t.Context(), "one.example")
	require.NoError(t, err)
	assert.False(t, ok)
	for name, want := range map[string]string{"loop": "nested too deep", "bad": "NUL byte", "broken": "unknown type", "pipe": "not a regular file", "missing": "no such file"} {
		_, err := o.Domains(t.Context(), dir+"/"+name)
		require.ErrorContains(t, err, want)
	}
	require.NoError(t, o.Close())
}

// TestOpenerLinks has links to a file that may be opened. One that stands where anybody
// may write is not followed again when the table is read again.
func TestOpenerLinks(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	outside := t.TempDir()
	file, link, inside, alias := filepath.Join(dir, "file"), filepath.Join(outside, "link"), filepath.Join(dir, "inside"), filepath.Join(outside, "dir")
	secret := filepath.Join(outside, "secret")
	require.NoError(t, os.WriteFile(file, []byte("a fine\n"), 0o600))
	require.NoError(t, os.WriteFile(secret, []byte("a secret\n"), 0o600))
	require.NoError(t, os.Symlink(file, link))
	require.NoError(t, os.Symlink("file", inside))
	require.NoError(t, os.Symlink(dir, alias))
	o := &lookup.Opener{Dirs: []string{alias}} // itself a link, whose both names are good
	for name, want := range map[string]string{file: file, inside: inside, link: file, filepath.Join(alias, "inside"): filepath.Join(alias, "inside")} {
		path, err := o.File(name)
		require.NoError(t, err, name)
		assert.Equal(t, want, path)
	}
	table, err := o.Open(t.Context(), "hash:"+link)
	require.NoError(t, err)
	require.NoError(t, os.Remove(link))
	require.NoError(t, os.Symlink(secret, link))
	require.NoError(t, o.Reload(t.Context()))
	value, _, err := table.Lookup(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, "fine", value)
}

// TestSQLiteWithoutPath has a file without dbpath: the driver would be asked for a
// database of no name, which is a new one without tables.
func TestSQLiteWithoutPath(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.cf")
	require.NoError(t, os.WriteFile(path, []byte("query = SELECT '%s'\n"), 0o600))
	o := &lookup.Opener{Dirs: []string{filepath.Dir(path)}, Types: map[string]lookup.OpenFunc{
		"sqlite": lookup.OpenSQL(lookup.SQLite, func(context.Context, *lookup.Config) (lookup.Querier, error) {
			t.Error("connected")
			return nil, nil
		}),
	}}
	_, err := o.Open(t.Context(), "sqlite:"+path)
	require.ErrorContains(t, err, "no dbpath")
}

func FuzzOpener(f *testing.F) {
	for _, s := range []string{"inline:{a=b, {c = d}}", "pipemap:{static:{a b},inline:{a=b}}", "regexp:{{/a/ b},{if /c/}}", "cidr:{{::/0 x}}", "randmap:{{}{}}", "}{", "hash:/etc/passwd"} {
		f.Add(s)
	}
	types := lookup.Types()
	delete(types, "unix")
	f.Fuzz(func(t *testing.T, text string) {
		o := &lookup.Opener{Types: types}
		tables, err := o.Maps(t.Context(), text)
		if err != nil {
			return
		}
		_, _, err = tables.Lookup(t.Context(), "key")
		assert.True(t, err == nil || errors.Is(err, lookup.ErrFail))
		assert.NoError(t, o.Close())
	})
}

func ExampleOpener() {
	o := &lookup.Opener{}
	defer o.Close()
	table, err := o.Open(context.Background(), "pipemap:{inline:{alice=wonderland, bob=builders}, regexp:{{/^w/ mail.wonderland.example}}}")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(table.Lookup(context.Background(), "alice"))
	// Output: mail.wonderland.example true <nil>
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/internal/servertest"
)

// call runs the program in a directory and returns what it prints, as a shell
// sees it.
func call(t *testing.T, stdin string, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	found, err := run(context.Background(), args, strings.NewReader(stdin), &o, &e)
	if err != nil {
		fmt.Fprintln(&e, "postmap: fatal:", err)
	}
	if !found || err != nil {
		code = 1
	}
	return o.String(), e.String(), code
}

func write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	old := time.Now().Add(-time.Hour) // postmap waits for what was only just written
	require.NoError(t, os.Chtimes(name, old, old))
}

// realPostmap returns the path of Postfix's program.
func realPostmap(t *testing.T) string {
	t.Helper()
	theirs, err := exec.LookPath("postmap")
	if err != nil {
		theirs, err = exec.LookPath("/usr/sbin/postmap")
	}
	if err != nil {
		text := "postmap is absent: apt-get install --no-install-recommends postfix postfix-cdb postfix-pcre"
		if os.Getenv("MTAKIT_REQUIRE") == "all" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	return theirs
}

// writeConfig writes what the real program wants in its directory.
func writeConfig(t *testing.T) {
	t.Helper()
	write(t, "main.cf", "compatibility_level = 3.6\nmail_owner = postfix\nsetgid_group = postdrop\nqueue_directory = /tmp\ndata_directory = /tmp\n")
	write(t, "master.cf", "")
}

// TestAgainstPostfix has both programs do the same: what is printed and the exit
// codes are equal, and failures fail.
func TestAgainstPostfix(t *testing.T) {
	theirs := realPostmap(t)
	t.Chdir(t.TempDir())
	write(t, "virtual", "# comment\na@Example.org  alice\nb@example.org bob, carol\nDup one\ndup two\nnovalue\n@example.net d\n")
	write(t, "checks", "/^subject: (.*)$/ got $1\nif /x/\n!/y/ x without y\nendif\n")
	write(t, "every", "/./ hit\n")
	const message = "From: a@b\nSubject: x\n y\nContent-Type: multipart/mixed; boundary=q\n\npre\n--q\nContent-Type: text/plain\nX-Part: 1\n\npart\n--q\n" +
		"Content-Type: message/rfc822\n\nSubject: nested\n\nnested body\n--q--\nend\n"
	write(t, "networks", "10.0.0.0/8 inside\n!192.0.2.0/24 outside\n")
	writeConfig(t)
	write(t, "old", "A one\nb two\n")
	write(t, "aliases", "postmaster: root\nRoot: alice\n\"two words\": bob\n")
	require.NoError(t, exec.Command(strings.TrimSuffix(theirs, "postmap")+"postalias", "-c", ".", "hash:aliases").Run())
	for _, kind := range []string{"hash", "lmdb"} {
		require.Zero(t, ask(theirs, "", kind+":old").code, "apt-get install --no-install-recommends postfix-lmdb")
	}
	require.NoError(t, os.Remove("old")) // what they made of it is all that is left
	cases := []struct{ args, stdin string }{
		{"cdb:virtual", ""},
		{"-q a@example.org texthash:virtual", ""},
		{"-q A@EXAMPLE.ORG texthash:virtual", ""},
		{"-qa@example.org texthash:virtual", ""},
		{"-q none texthash:virtual", ""},
		{"-q dup texthash:virtual", ""},
		{"-q none texthash:virtual inline:{none=x}", ""},
		{"-q a@example.org texthash:virtual inline:{a@example.org=x}", ""},
		{"-q - texthash:virtual", "a@example.org\nnone\n\nDUP\n"},
		{"-q - texthash:virtual", "none\n"},
		{"-q - texthash:virtual", ""},
		{"-s texthash:virtual", ""},
		{"-s pcre:checks", ""},
		{"-q - regexp:checks", "Subject: hello\nx\nxy\nz\n"},
		{"-q - pcre:checks", "Subject: hello\nx\nxy\nz\n"},
		{"-q - cidr:networks", "10.1.2.3\n192.0.2.1\n8.8.8.8\nhost\n"},
		{"-h -q - regexp:every", message}, {"-hm -q - regexp:every", message}, {"-b -q - regexp:every", message}, {"-bm -q - regexp:every", message},
		{"-hb -q - regexp:every", message}, {"-m -q - regexp:every", message}, {"-h -q - regexp:checks", message}, {"-h -q - regexp:checks", "no header\n"},
		{"-h -q k regexp:checks", ""}, {"-bm -s regexp:checks", ""},
		{"-q k texthash:missing", ""},
		{"-q a@example.org texthash:virtual texthash:missing", ""},
		{"-q none texthash:virtual texthash:missing", ""},
		{"-q k nosuch:virtual", ""},
		{"-q k", ""},
		{"", ""},
		{"-x texthash:virtual", ""},
		{"-q k -s texthash:virtual", ""},
		{"-q k -q k2 texthash:virtual", ""},
		{"-q k -d k texthash:virtual", ""},
		{"-q", ""},
		{"-q k fail:x", ""},
		{"-d k texthash:virtual", ""},
		{"-q root unix:passwd.byname", ""},
		{"-q a@example.org cdb:virtual", ""},
		{"-q - cdb:virtual", "dup\nnone\nb@example.org\n"},
		{"cdb:missing", ""},
		{"-q a hash:old", ""},
		{"-q - hash:aliases", "postmaster\nROOT\ntwo words\nnone\n"},
		{"-q - lmdb:old", "a\nB\nc\n"},
		{"-s hash:old", ""},
		{"-s lmdb:old", ""},
		{"-s hash:none", ""},
		{"-ov -q dup cdb:virtual", ""},
	}
	answers := make([]answer, len(cases))
	answers[0] = ask(theirs, "", cases[0].args)
	var group sync.WaitGroup
	for i := 1; i < len(cases); i++ { // together, since it sleeps before it says that something failed
		group.Go(func() { answers[i] = ask(theirs, cases[i].stdin, cases[i].args) })
	}
	group.Wait()
	for i, c := range cases {
		out, errs, code := call(t, c.stdin, strings.Fields(c.args)...)
		assert.Equal(t, answers[i], answer{inOrder(out, c.args), code}, "%s: %s", c.args, errs)
	}
}

type answer struct {
	out  string
	code int
}

// ask runs the real program.
func ask(program, stdin, args string) answer {
	cmd := exec.Command(program, append([]string{"-c", "."}, strings.Fields(args)...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	}
	return answer{inOrder(string(out), args), code}
}

// inOrder sorts a listing, which is in the order of a hash there.
func inOrder(out, args string) string {
	if !strings.HasPrefix(args, "-s") {
		return out
	}
	lines := strings.SplitAfter(out, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "")
}

func TestBuild(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "v", "a one\nb two\nbad\na three\n")
	out, errs, code := call(t, "", "cdb:v")
	require.Zero(t, code)
	assert.Empty(t, out)
	assert.Contains(t, errs, `duplicate entry: "a"`)
	assert.Contains(t, errs, `key "bad" without a value`)
	is := func(want string) {
		t.Helper()
		out, _, code := call(t, "", "-s", "cdb:v")
		require.Zero(t, code)
		assert.Equal(t, want, out)
	}
	is("a\tone\nb\ttwo\n")
	_, errs, code = call(t, "b new\nc more\n", "-i", "cdb:v")
	require.Zero(t, code)
	assert.Contains(t, errs, `duplicate entry: "b"`)
	is("a\tone\nb\ttwo\nc\tmore\n")
	_, errs, code = call(t, "B new\n", "-ir", "cdb:v")
	require.Zero(t, code)
	assert.Empty(t, errs)
	is("a\tone\nb\tnew\nc\tmore\n")
	_, _, code = call(t, "", "-d", "A", "cdb:v")
	require.Zero(t, code)
	is("b\tnew\nc\tmore\n")
	_, _, code = call(t, "", "-d", "A", "cdb:v")
	require.Equal(t, 1, code, "it is not there any more")
	_, _, code = call(t, "b\nnone\n", "-d", "-", "cdb:v")
	require.Zero(t, code)
	is("c\tmore\n")
	_, _, code = call(t, "x y\n", "-i", "cdb:new")
	require.Zero(t, code)
	_, errs, code = call(t, "", "hash:v")
	require.Zero(t, code)
	assert.Contains(t, errs, "stands there already")
	for _, args := range [][]string{{"-d", "a", "hash:v"}, {"-i", "hash:v"}, {"mysql:v"}, {"-d", "a", "cdb:none"}, {"-h", "-q", "x", "hash:v"}, {"-F", "-q", "x", "hash:v"}} {
		_, errs, code = call(t, "", args...)
		assert.Equal(t, 1, code, args)
		assert.Contains(t, errs, "fatal:", args)
	}
	// What is damaged is not written anew without the rest.
	b, err := os.ReadFile("new.cdb")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("new.cdb", b[:len(b)-40], 0o600))
	_, _, code = call(t, "z y\n", "-i", "cdb:new")
	require.Equal(t, 1, code)
	left, err := filepath.Glob(".*")
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestMessage: a message has its lines end as it likes, and may have all kinds of keys.
func TestMessage(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "checks", "/^subject: (.*)$/ got $1\n/^body/ b\n")
	for _, end := range []string{"\n", "\r\n"} {
		out, errs, code := call(t, strings.ReplaceAll("Subject: x\n\nbody 1\nbody 2", "\n", end), "-hbm", "-q", "-", "regexp:checks")
		assert.Zero(t, code, errs)
		assert.Equal(t, "Subject: x\tgot x\nbody 1\tb\nbody 2\tb\n", out)
	}
	_, errs, code := call(t, "Subject: x\n", "-h", "-q", "-", "fail:broken")
	assert.Equal(t, 1, code)
	assert.Contains(t, errs, "query error")
}

// TestEndings has texts whose names end as compiled files do: they are not written over.
func TestEndings(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "v.cdb", "a one\n")
	_, errs, code := call(t, "", "cdb:v.cdb")
	require.Zero(t, code, errs)
	text, err := os.ReadFile("v.cdb")
	require.NoError(t, err)
	assert.Equal(t, "a one\n", string(text))
	out, _, code := call(t, "", "-q", "a", "cdb:v.cdb")
	require.Zero(t, code)
	assert.Equal(t, "one\n", out)
	assert.FileExists(t, "v.cdb.cdb")
}

// TestAliases lists a text of postalias(1), whose type does not say that it is one.
func TestAliases(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "aliases", "Root: alice\n\"two words\": bob\n")
	for _, kind := range []string{"hash", "aliases"} {
		out, errs, code := call(t, "", "-s", kind+":aliases")
		require.Zero(t, code, errs)
		assert.Equal(t, "root\talice\ntwo words\tbob\n", out)
	}
}

// TestPermissions makes tables of a text with passwords: nobody may read more of them
// than of the text. A table that everybody could read is no reason to go on so.
func TestPermissions(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "secret", "host user:password\n")
	write(t, "open", "a b\n")
	require.NoError(t, os.Chmod("open", 0o666))
	for _, c := range []struct {
		args, name string
		want       os.FileMode
	}{
		{"cdb:open", "open.cdb", 0o644},
		{"cdb:secret", "secret.cdb", 0o600},
		{"-p cdb:secret", "secret.cdb", 0o644},
		{"cdb:secret", "secret.cdb", 0o600},
		{"-i cdb:secret", "secret.cdb", 0o600},
		{"-d host cdb:secret", "secret.cdb", 0o600},
		{"convert hash:secret cdb:copy", "copy.cdb", 0o600},
		{"convert cdb:copy hash:text", "text", 0o600},
		{"convert inline:{a=b} cdb:public", "public.cdb", 0o644},
	} {
		_, errs, code := call(t, "", strings.Fields(c.args)...)
		require.Zero(t, code, "%s: %s", c.args, errs)
		info, err := os.Stat(c.name)
		require.NoError(t, err)
		assert.Equal(t, c.want, info.Mode().Perm(), c.args)
	}
}

// TestMain is the program itself when a test asks for it.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_POSTMAP") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestInterrupt ends the program while it waits for keys.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-q", "-", "static:x")
	cmd.Env = append(os.Environ(), "TEST_POSTMAP=1")
	keys, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = io.WriteString(keys, strings.Repeat("key\n", 100_000)) // more than a pipe takes that nobody reads
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.Error(t, cmd.Wait())
	require.False(t, cmd.ProcessState.Exited(), "the signal has ended it")
}

// TestLostAnswer has nowhere to print the value to.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	for _, key := range []string{"a", "-"} {
		_, err := run(t.Context(), []string{"-q", key, "static:x"}, strings.NewReader("a\n"), full, io.Discard)
		require.Error(t, err, key)
	}
}

func TestConvert(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "v", "a one\n\"b c\"@example.org two, three\n")
	write(t, "aliases", "Root: admin, \"|/bin/true\"\nempty:\n")
	for _, pair := range [][2]string{{"hash:v", "cdb:w"}, {"cdb:w", "hash:x"}, {"aliases:aliases", "cdb:a"}, {"inline:{k=v}", "hash:k"}} {
		_, errs, code := call(t, "", "convert", pair[0], pair[1])
		require.Zero(t, code, "%v: %s", pair, errs)
	}
	for name, want := range map[string]string{"hash:x": "a\tone\n\"b c\"@example.org\ttwo, three\n", "cdb:a": "root\tadmin, \"|/bin/true\"\n", "k": "k\tv\n"} {
		out, _, _ := call(t, "", "-s", name)
		assert.Equal(t, want, out, name)
	}
	for _, args := range [][]string{{"convert", "hash:v", "hash:x"}, {"convert", "hash:v"}, {"convert", "hash:v", "pcre:y"}, {"convert", "static:x", "cdb:y"}, {"convert", "cdb:none", "hash:y"}} {
		_, _, code := call(t, "", args...)
		assert.Equal(t, 1, code, args)
	}
	// A key that no line of text can hold.
	_, _, code := call(t, "", "convert", "inline:{{a b = c}}", "hash:z")
	require.Equal(t, 1, code)
	require.NoFileExists(t, "z")
}

// TestLostText has what the real programs made of a text, and no text: it comes back,
// or becomes a cdb file, but for what postalias adds of its own. Of a file that is
// damaged nothing is made.
func TestLostText(t *testing.T) {
	theirs := realPostmap(t)
	t.Chdir(t.TempDir())
	writeConfig(t)
	table := "\"b c\"@example.org\t" + strings.Repeat("x", 20_000) + "\na\tone\n"
	aliases := "\"two words\":\tb\na:\t|/bin/true, b\n"
	for kind, ending := range map[string]string{"hash": ".db", "btree": ".db", "lmdb": ".lmdb"} {
		for _, c := range []struct{ program, name, text, to string }{
			{theirs, kind + "table", table, "hash:"},
			{strings.TrimSuffix(theirs, "postmap") + "postalias", kind + "aliases", aliases, "aliases:"},
		} {
			write(t, c.name, c.text)
			require.NoError(t, exec.Command(c.program, "-c", ".", kind+":"+c.name).Run(), kind)
			require.NoError(t, os.Remove(c.name))
			from := kind + ":" + c.name
			listed, errs, code := call(t, "", "-s", from)
			require.Zero(t, code, errs)
			assert.Equal(t, ask(theirs, "", "-s "+from).out, inOrder(listed, "-s"))
			for _, to := range []string{c.to + c.name, "cdb:" + c.name} {
				_, errs, code = call(t, "", "convert", from, to)
				require.Zero(t, code, errs)
			}
			text, err := os.ReadFile(c.name)
			require.NoError(t, err)
			assert.Equal(t, c.text, inOrder(string(text), "-s"), from)
			fromText, _, _ := call(t, "", "-s", c.to+c.name)
			fromCDB, _, _ := call(t, "", "-s", "cdb:"+c.name)
			assert.Equal(t, fromText, fromCDB, from)
		}
		name := kind + "table"
		require.NoError(t, os.Remove(name))
		require.NoError(t, os.Remove(name+".cdb"))
		whole, err := os.ReadFile(name + ending)
		require.NoError(t, err)
		write(t, name+ending, string(whole[:8192]))
		for _, args := range []string{"-s " + kind + ":" + name, "convert " + kind + ":" + name + " hash:" + name, "convert " + kind + ":" + name + " cdb:" + name} {
			_, errs, code := call(t, "", strings.Fields(args)...)
			assert.Equal(t, 1, code, args)
			assert.Contains(t, errs, "bad format", args)
		}
		assert.NoFileExists(t, name)
		assert.NoFileExists(t, name+".cdb")
	}
}

func TestExplain(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "access", "example.org REJECT\nuser@ OK\n")
	write(t, "checks", "/example/ OK\n")
	out, _, code := call(t, "", "explain", "-kind", "access", "-delimiters", "+", "user+x@mail.example.org", "hash:access")
	require.Zero(t, code)
	assert.Equal(t, strings.TrimLeft(`
user+x@mail.example.org        hash:access              not there
user@mail.example.org          hash:access              not there
mail.example.org               hash:access              not there
example.org                    hash:access              found: REJECT

user+x@mail.example.org: REJECT
`, "\n"), out)
	out, _, code = call(t, "", "explain", "-kind", "client", "192.0.2.1", "cidr:{{10.0.0.0/8 x}}", "inline:{192.0=y}")
	require.Zero(t, code)
	assert.Contains(t, out, "not asked for a part of the key")
	assert.Contains(t, out, "found: y")
	out, _, code = call(t, "", "explain", "nothing", "hash:access")
	require.Equal(t, 1, code)
	assert.Contains(t, out, "nothing: not found")
	out, errs, code := call(t, "", "explain", "x", "fail:y")
	require.Equal(t, 1, code)
	assert.Contains(t, out, "fails:")
	assert.Contains(t, errs, "query error")
	for _, args := range [][]string{{"explain"}, {"explain", "x"}, {"explain", "-kind", "nosuch", "x", "hash:access"}} {
		_, _, code := call(t, "", args...)
		assert.Equal(t, 1, code, args)
	}
}

func TestLDAP(t *testing.T) {
	s := servertest.Slapd(t, "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: test\n")
	t.Chdir(t.TempDir())
	write(t, "table.cf", "server_host = ldap://"+s.Addr+"\nsearch_base = dc=example,dc=org\nquery_filter = dc=%s\nresult_attribute = o\n")
	for key, want := range map[string]string{"example": "test\n", "none": ""} {
		out, errs, code := call(t, "", "-q", key, "ldap:table.cf")
		assert.Equal(t, want, out)
		assert.Empty(t, errs)
		assert.Equal(t, want == "", code == 1)
	}
	s.Kill()
	out, errs, code := call(t, "", "-q", "example", "ldap:table.cf")
	assert.Empty(t, out)
	assert.Contains(t, errs, "fatal")
	assert.Equal(t, 1, code)
}

// TestMySQL connects as the file says, with TLS and with a charset, and not at all
// where it says what is not done.
func TestMySQL(t *testing.T) {
	s, other := servertest.MariaDB(t), servertest.MariaDB(t)
	t.Chdir(t.TempDir())
	write(t, "root.cf", "user = root\nhosts = unix:"+s.Socket+"\ndbname = mysql\nrequire_result_set = no\nquery = CREATE USER mail REQUIRE SSL\n")
	_, errs, _ := call(t, "", "-q", "x", "mysql:root.cf")
	require.Empty(t, errs)
	connect := "user = mail\nhosts = " + s.Addr + "\ndbname = information_schema\nquery = SELECT '%s', HEX(CONVERT('%s' USING utf8mb4))\n"
	ca := connect + "tls_verify_cert = yes\ntls_CAfile = " + s.CA + "\n"
	for _, c := range []struct{ text, out, errs string }{
		{connect, "", "Access denied"},
		{ca, "\u00e9,C3A9\n", ""},
		{ca + "charset = latin1\n", "\u00e9,C383C2A9\n", ""}, // two letters, as with Postfix
		{connect + "tls_CAfile = " + other.CA + "\n", "", "unknown authority"},
		{ca + "charset = gbk\n", "", "bad charset"},
		{ca + "option_group = client\n", "", "option_group"},
		{ca + "tls_ciphers = HIGH\n", "", "tls_ciphers"},
	} {
		write(t, "mail.cf", c.text)
		out, errs, code := call(t, "", "-q", "\u00e9", "mysql:mail.cf")
		assert.Equal(t, c.out, out, c.text)
		assert.Contains(t, errs, c.errs, c.text)
		assert.Equal(t, c.errs == "", code == 0, c.text)
	}
}

func TestCaches(t *testing.T) {
	memcached, server := servertest.Memcached(t), servertest.Redis(t)
	t.Chdir(t.TempDir())
	write(t, "redis.cf", "hosts = unix:"+server.Socket+"\nkey_format = mail:%s\n")
	write(t, "memcache.cf", "memcache = inet:"+memcached.Addr+"\nbackup = static:backed up\n")
	c, err := net.Dial("unix", server.Socket)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.Write([]byte("SET mail:alice box\r\n"))
	require.NoError(t, err)
	reply := make([]byte, len("+OK\r\n"))
	_, err = io.ReadFull(c, reply)
	require.NoError(t, err)
	for reference, want := range map[string]string{"redis:redis.cf": "box\n", "memcache:memcache.cf": "backed up\n"} {
		out, errs, code := call(t, "", "-q", "alice", reference)
		assert.Equal(t, want, out)
		assert.Empty(t, errs)
		assert.Zero(t, code)
	}
	out, _, code := call(t, "", "-q", "bob", "redis:redis.cf")
	assert.Empty(t, out)
	assert.Equal(t, 1, code)
}

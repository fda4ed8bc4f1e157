// Package postfixtest lets tests make and ask tables with Postfix's own programs.
package postfixtest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Find returns the path of a program, which may stand in /usr/sbin. Without it the
// test is skipped, or fails under MTAKIT_REQUIRE=all; debian is the package.
func Find(t testing.TB, program, debian string) string {
	t.Helper()
	for _, name := range []string{program, "/usr/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	text := fmt.Sprintf("%s is absent: apt-get install --no-install-recommends %s", program, debian)
	if os.Getenv("MTAKIT_REQUIRE") == "all" {
		t.Fatal(text)
	}
	t.Skip(text)
	return ""
}

// Postfix has a configuration of its own.
type Postfix struct{ postmap, postalias, dir string }

// New makes the configuration. debian is the package with the type of table.
func New(t testing.TB, debian string) *Postfix {
	t.Helper()
	p := &Postfix{Find(t, "postmap", debian), Find(t, "postalias", debian), t.TempDir()}
	// Any owner and group will do: no queue is touched.
	p.write(t, "main.cf", "compatibility_level = 3.6\nmail_owner = postfix\nsetgid_group = postdrop\n"+
		"queue_directory = "+p.dir+"\ndata_directory = "+p.dir+"\nsmtputf8_enable = yes\n")
	p.write(t, "master.cf", "")
	return p
}

func (p *Postfix) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Make writes a text and compiles it with postmap, or with postalias. It returns
// the path of the text.
func (p *Postfix) Make(t testing.TB, kind, name, text string, alias bool) string {
	t.Helper()
	p.write(t, name, text)
	path := filepath.Join(p.dir, name)
	program := p.postmap
	if alias {
		program = p.postalias
	}
	// -o: the tests may run as root, and own the directory.
	out, err := exec.CommandContext(t.Context(), program, "-o", "-c", p.dir, kind+":"+path).CombinedOutput()
	if bytes.Contains(out, []byte("unsupported dictionary type")) {
		t.Skipf("%s: %s", program, out)
	}
	if err != nil {
		t.Fatalf("%s: %v: %s", program, err, out)
	}
	return path
}

// Query asks a table that stands beside the text at path for keys without line
// ends, and returns what is found.
func (p *Postfix) Query(t testing.TB, kind, path string, keys []string) map[string]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.postmap, "-c", p.dir, "-q", "-", kind+":"+path)
	cmd.Stdin = strings.NewReader(strings.Join(keys, "\n") + "\n")
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	// 1 says that some were not found.
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || strings.Contains(stderr.String(), "fatal:")) {
		t.Fatalf("postmap: %v: %s", err, stderr.String())
	}
	answers := map[string]string{}
	for line := range strings.Lines(out.String()) {
		key, value, _ := strings.Cut(line, "\t")
		answers[key] = strings.TrimSuffix(value, "\n")
	}
	return answers
}

// List returns the lines of a table, "key<tab>value", sorted.
func (p *Postfix) List(t testing.TB, kind, path string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), p.postmap, "-c", p.dir, "-s", kind+":"+path).Output()
	if err != nil {
		t.Fatalf("postmap -s: %v", err)
	}
	return slices.Sorted(strings.Lines(string(out)))
}

// Delete takes keys without line ends out of a table.
func (p *Postfix) Delete(t testing.TB, kind, path string, keys []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.postmap, "-c", p.dir, "-d", "-", kind+":"+path)
	cmd.Stdin = strings.NewReader(strings.Join(keys, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("postmap -d: %v: %s", err, out)
	}
}

// AskAll asks a table for keys that may fail: those that postmap ends at are in
// failed, with what it says. Keys have no line ends.
func (p *Postfix) AskAll(t testing.TB, kind, path string, keys []string) (found map[string]string, failed map[string]error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), p.postmap, "-c", p.dir, "-q", "-", kind+":"+path)
	cmd.Stdin = strings.NewReader(strings.Join(keys, "\n") + "\n")
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	found, failed = map[string]string{}, map[string]error{}
	switch exit := (*exec.ExitError)(nil); {
	case err != nil && !errors.As(err, &exit):
		t.Error(err)
	case !strings.Contains(stderr.String(), "fatal:"): // 1 says that some were not found
		for line := range strings.Lines(out.String()) {
			key, value, _ := strings.Cut(line, "\t")
			found[key] = strings.TrimSuffix(value, "\n")
		}
	case len(keys) == 1:
		failed[keys[0]] = fmt.Errorf("%w: %s", err, stderr.String())
	default: // postmap sleeps for a second or two before it ends so
		var mu sync.Mutex
		var group sync.WaitGroup
		for _, key := range keys {
			group.Go(func() {
				f, e := p.AskAll(t, kind, path, []string{key})
				mu.Lock()
				defer mu.Unlock()
				maps.Copy(found, f)
				maps.Copy(failed, e)
			})
		}
		group.Wait()
	}
	return found, failed
}

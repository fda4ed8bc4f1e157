package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
)

// asProgram makes the test binary behave as the program itself, so that tests
// can start, stop and kill it, with the race detector when they have it.
const asProgram = "MTAKIT_TEST_AS_MTA"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// program is the mail server as a process of its own.
type program struct {
	cmd              *exec.Cmd
	smtp, submission string
	dir              string
	stderr           *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

var readyLine = regexp.MustCompile(`^ready smtp=(\S+) submission=(\S*) dir=(\S+)$`)

// launch runs the program on free ports and waits until it says that it is ready.
// Tests count mail, so that it does not report what they do wrong.
func launch(t *testing.T, dir string, args ...string) *program {
	t.Helper()
	p := &program{stderr: &syncBuffer{}}
	p.cmd = command(append([]string{"-dir", dir, "-smtp", "127.0.0.1:0", "-submission", "127.0.0.1:0", "-notify", ""}, args...)...)
	p.cmd.Stderr = p.stderr
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err, p.stderr.String())
	m := readyLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
	require.NotNil(t, m, line)
	p.smtp, p.submission, p.dir = m[1], m[2], m[3]
	return p
}

// kill is kill -9.
func (p *program) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Kill())
	p.cmd.Wait()
}

// load sends numbered messages on several connections and remembers which ones
// got a 250.
type load struct {
	base  int // numbers begin behind this one
	to    []string
	mu    sync.Mutex
	next  int
	acked map[int]bool
	reach chan struct{} // closed when so many are acknowledged as reaches says

	reaches int // 0 means half of them
}

func newLoad(base int, to ...string) *load {
	return &load{base: base, to: to, acked: map[int]bool{}, reach: make(chan struct{})}
}

// run returns when total messages have been sent or every connection is gone.
func (l *load) run(addr string, connections, total int) {
	var wg sync.WaitGroup
	for range connections {
		wg.Go(func() { l.connection(addr, total) })
	}
	wg.Wait()
}

func (l *load) connection(addr string, total int) {
	c, err := smtp.Dial(addr)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		n, ok := l.take(total)
		if !ok {
			return
		}
		if c.SendMail("load@example.net", []string{l.to[n%len(l.to)]}, strings.NewReader(message(n))) != nil {
			return
		}
		l.acknowledge(n, total)
	}
}

func (l *load) take(total int) (int, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next >= total {
		return 0, false
	}
	l.next++
	return l.base + l.next, true
}

func (l *load) acknowledge(n, total int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[n] = true
	if len(l.acked) == cmp.Or(l.reaches, total/2) {
		close(l.reach)
	}
}

// message makes the n-th message; its text can be made again from the number.
func message(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "From: <load@example.net>\r\nMessage-Id: <%d.load@example.net>\r\nSubject: number %d\r\n\r\n", n, n)
	h := fnv.New64a()
	for i := range 20 + n%40 {
		fmt.Fprintf(h, "%d.%d", n, i)
		fmt.Fprintf(&b, "%x line %d\r\n", h.Sum64(), i)
	}
	if n%100 == 0 { // longer than what is held in memory
		b.WriteString(strings.Repeat(fmt.Sprintf("%062d\r\n", n), 6000))
	}
	return b.String()
}

var number = regexp.MustCompile(`(?m)^Message-Id: <(\d+)\.load@example\.net>$`)

// delivered counts the copies of each numbered message below the mail directory
// and fails for one whose bytes are not right.
func delivered(t require.TestingT, dir string) map[int]int {
	found := map[int]int{}
	err := filepath.WalkDir(filepath.Join(dir, "mail"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(filepath.Dir(name)) != "new" {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		m := number.FindSubmatch(b)
		if m == nil {
			return nil
		}
		n, err := strconv.Atoi(string(m[1]))
		if err != nil {
			return err
		}
		found[n]++
		require.True(t, strings.HasSuffix(string(b), strings.ReplaceAll(message(n), "\r\n", "\n")), "bytes of message %d in %s", n, name)
		return nil
	})
	require.NoError(t, err)
	return found
}

// missing returns which acknowledged messages are in no mailbox, and how many
// are there more than once.
func (l *load) missing(t require.TestingT, dir string) (lost []int, doubled int) {
	found := delivered(t, dir)
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.acked {
		switch found[n] {
		case 0:
			lost = append(lost, n)
		case 1:
		default:
			doubled++
		}
	}
	return lost, doubled
}

// listing names the files in the queue, to tell what is late from what is lost.
func listing(dir string) (names []string) {
	filepath.WalkDir(filepath.Join(dir, "queue"), func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return nil
	})
	return names
}

// requireDelivered waits until everything acknowledged is in a mailbox, and
// returns how many messages are there twice.
func (l *load) requireDelivered(t *testing.T, p *program) (doubled int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		lost, doubled := l.missing(t, p.dir)
		if len(lost) == 0 {
			t.Logf("%d acknowledged, none lost, %d doubled", len(l.acked), doubled)
			return doubled
		}
		select {
		case <-ctx.Done():
			require.Failf(t, "mail was lost", "%d of %d acknowledged messages: %v\n%s", len(lost), len(l.acked), lost[:min(10, len(lost))], strings.Join(listing(p.dir), "\n")+p.stderr.String())
		case <-tick.C:
		}
	}
}

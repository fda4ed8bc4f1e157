package lookup_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/internal/peertest"
	"github.com/mtakit/mtakit/lookup/tabletest"
)

// served starts a server and returns where it listens.
func served(t *testing.T, s *lookup.Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		assert.NoError(t, s.Close())
		assert.ErrorIs(t, <-done, net.ErrClosed)
	})
	return l.Addr().String()
}

var remoteContents = tabletest.Contents{
	Found:   map[string]string{"a@example.org": "one", "key": "with spaces, %25 and gr\u00fcn", "long": strings.Repeat("v", 2000)},
	Missing: []string{"none", "a b", "%", strings.Repeat("k", 5000)},
}

func remoteTable() lookup.Inline { return lookup.Inline(remoteContents.Found) }

func TestRemoteTables(t *testing.T) {
	t.Parallel()
	sockets := served(t, &lookup.Server{Tables: map[string]lookup.LookupTable{"virtual": remoteTable()}})
	socketmap := &lookup.Socketmap{Remote: lookup.Remote{Address: sockets}, Name: "virtual"}
	tabletest.Run(t, socketmap, remoteContents)
	require.NoError(t, socketmap.Close())
	_, _, err := socketmap.Lookup(t.Context(), "key")
	require.ErrorIs(t, err, net.ErrClosed)

	tcp := &lookup.TCP{Remote: lookup.Remote{Address: served(t, &lookup.Server{Protocol: lookup.TCPProtocol, Tables: map[string]lookup.LookupTable{"": remoteTable()}})}}
	tabletest.Run(t, tcp, remoteContents)
	require.NoError(t, tcp.Close())

	unix := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", unix)
	require.NoError(t, err)
	s := &lookup.Server{Tables: map[string]lookup.LookupTable{"virtual": remoteTable()}}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	local := &lookup.Socketmap{Remote: lookup.Remote{Network: "unix", Address: unix}, Name: "virtual"}
	value, ok, err := local.Lookup(t.Context(), "A@Example.org")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "one", value)
	require.NoError(t, s.Shutdown(t.Context()))
	require.ErrorIs(t, <-done, net.ErrClosed)
	require.NoError(t, local.Close())
}

// TestRemoteKeys has tables asked for whole keys only, in their own case, as Postfix
// asks them: of an address that is rewritten the case may count.
func TestRemoteKeys(t *testing.T) {
	t.Parallel()
	var keys []string
	tables := map[string]lookup.LookupTable{"": lookup.LookupTableFunc(func(_ context.Context, key string) (string, bool, error) {
		keys = append(keys, key)
		return "", false, nil
	})}
	tables["x"] = tables[""]
	socketmap := &lookup.Socketmap{Remote: lookup.Remote{Address: served(t, &lookup.Server{Tables: tables})}, Name: "x"}
	tcp := &lookup.TCP{Remote: lookup.Remote{Address: served(t, &lookup.Server{Protocol: lookup.TCPProtocol, Tables: tables})}}
	for _, table := range []lookup.LookupTable{socketmap, tcp} {
		keys = nil
		_, ok, err := lookup.Address(table).Lookup(t.Context(), "SRS0=Ab+x@Example.org")
		require.NoError(t, err)
		assert.False(t, ok)
		assert.Equal(t, []string{"SRS0=Ab+x@Example.org"}, keys)
	}
	require.NoError(t, errors.Join(socketmap.Close(), tcp.Close()))
}

// TestRemotePostfix has Postfix ask our servers.
func TestRemotePostfix(t *testing.T) {
	t.Parallel()
	p := newPostmap(t)
	tables := map[string]lookup.LookupTable{"virtual": remoteTable(), "": remoteTable(), "broken": lookup.Fail{}}
	sockets := served(t, &lookup.Server{Tables: tables})
	tcp := served(t, &lookup.Server{Tables: tables, Protocol: lookup.TCPProtocol})
	ask := func(key, reference string) (string, int) {
		out, err := exec.Command(p.program, "-c", p.dir, "-q", key, reference).Output()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			if strings.Contains(string(exit.Stderr), "fatal:") {
				return "failed", exit.ExitCode()
			}
			return string(out), exit.ExitCode()
		}
		return string(out), 0
	}
	for _, reference := range []string{"socketmap:inet:" + sockets + ":virtual", "tcp:" + tcp} {
		for key, want := range remoteContents.Found {
			got, code := ask(key, reference)
			assert.Equal(t, want+"\n", got, reference)
			assert.Zero(t, code)
		}
		got, code := ask("none", reference)
		assert.Empty(t, got)
		assert.Equal(t, 1, code)
	}
	got, _ := ask("key", "socketmap:inet:"+sockets+":broken")
	assert.Equal(t, "failed", got)
	got, _ = ask("key", "socketmap:inet:"+sockets+":nosuch")
	assert.Equal(t, "failed", got)
}

// TestHostileServers has peers that say anything but an answer: that is an error,
// never a miss, and takes no longer than the time limit.
func TestHostileServers(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{
		"", "x", "\n", "200", "200\n", "500\n", "2:OK,", "200 %4\n", "200 %zz\n", "600 x\n", "400 try later\n", "500", strings.Repeat("2", 10_000) + "\n", "200 a\n200 b\n",
		"0:,", "3:OK", "5:OK a,", "5:OK abcX", "99999999:", "100001:x", ":,", "-1:,", "6:MAYBE ,", "7:TEMP x,,", "4:OK a,4:OK b,", "12:PERM go away,",
	} {
		for _, hang := range []bool{false, true} {
			if hang && strings.HasSuffix(answer, "\n") && len(answer) < 100 {
				continue
			}
			addr := peertest.Answer(t, answer, hang)
			remote := func() lookup.Remote { return lookup.Remote{Address: addr, Timeout: 100 * time.Millisecond} }
			tcp, socketmap := &lookup.TCP{Remote: remote()}, &lookup.Socketmap{Remote: remote(), Name: "x"}
			for _, table := range []interface {
				lookup.LookupTable
				io.Closer
			}{tcp, socketmap} {
				value, ok, err := table.Lookup(t.Context(), "key")
				assert.Error(t, err, "%T %.50q", table, answer)
				assert.False(t, ok)
				assert.Empty(t, value)
				assert.NoError(t, table.Close())
			}
		}
	}
	dead := &lookup.TCP{Remote: lookup.Remote{Address: "127.0.0.1:1"}}
	_, ok, err := dead.Lookup(t.Context(), "key")
	require.Error(t, err)
	require.False(t, ok)
}

// TestRemoteConnections has a thousand ask at once, over few connections, and the
// server go and come back.
func TestRemoteConnections(t *testing.T) {
	t.Parallel()
	var open, most atomic.Int64
	table := lookup.LookupTableFunc(func(ctx context.Context, key string) (string, bool, error) {
		n := open.Add(1)
		defer open.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		return "value", true, nil
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	s := &lookup.Server{Tables: map[string]lookup.LookupTable{"x": table}}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	c := &lookup.Socketmap{Remote: lookup.Remote{Address: addr, Conns: 5}, Name: "x"}
	var group sync.WaitGroup
	for range 1000 {
		group.Go(func() {
			value, ok, err := c.Lookup(t.Context(), "key")
			assert.NoError(t, err)
			assert.True(t, ok)
			assert.Equal(t, "value", value)
		})
	}
	group.Wait()
	assert.LessOrEqual(t, most.Load(), int64(5))

	require.NoError(t, s.Close())
	require.ErrorIs(t, <-done, net.ErrClosed)
	_, ok, err := c.Lookup(t.Context(), "key")
	require.Error(t, err)
	require.False(t, ok)
	l, err = net.Listen("tcp", addr)
	require.NoError(t, err)
	again := &lookup.Server{Tables: map[string]lookup.LookupTable{"x": table}}
	go func() { done <- again.Serve(l) }()
	_, ok, err = c.Lookup(t.Context(), "key")
	require.NoError(t, err, "it has come back")
	require.True(t, ok)
	require.NoError(t, c.Close())
	require.NoError(t, again.Close())
	require.ErrorIs(t, <-done, net.ErrClosed)
}

// TestHostileClients has clients that send nonsense, hang, and go away; the server
// goes on for others, and Shutdown gives those who wait their answers.
func TestHostileClients(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	entered := make(chan struct{}, 1)
	slow := lookup.LookupTableFunc(func(context.Context, string) (string, bool, error) {
		entered <- struct{}{}
		<-release
		return "at last", true, nil
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &lookup.Server{Tables: map[string]lookup.LookupTable{"x": remoteTable(), "slow": slow}, Idle: time.Second}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	for _, text := range []string{"x", "5:x key", "99999999999:", "3:abc,", "0:,", "\x00\x00", "4:x ke,"} {
		conn, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		_, err = io.WriteString(conn, text)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
	c := &lookup.Socketmap{Remote: lookup.Remote{Address: l.Addr().String()}, Name: "x"}
	value, _, err := c.Lookup(t.Context(), "a@example.org")
	require.NoError(t, err)
	require.Equal(t, "one", value)
	require.NoError(t, c.Close())

	idle, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer idle.Close()
	waits, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer waits.Close()
	_, err = io.WriteString(waits, "8:slow key,")
	require.NoError(t, err)
	<-entered
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(t.Context()) }()
	require.ErrorIs(t, <-done, net.ErrClosed)
	_, err = idle.Read(make([]byte, 1))
	require.Error(t, err, "who asks nothing is not waited for")
	close(release)
	answer, err := bufio.NewReader(waits).ReadString(',')
	require.NoError(t, err)
	require.Equal(t, "10:OK at last,", answer)
	require.NoError(t, <-ended)
	require.ErrorIs(t, s.Serve(l), net.ErrClosed)
}

// TestServerOfPanics has a table that panics: it cannot answer, and the others can.
func TestServerOfPanics(t *testing.T) {
	t.Parallel()
	panics := lookup.LookupTableFunc(func(context.Context, string) (string, bool, error) { panic("at the disco") })
	tables := map[string]lookup.LookupTable{"x": panics, "": panics, "virtual": remoteTable()}
	sockets := served(t, &lookup.Server{Tables: tables})
	lines := served(t, &lookup.Server{Tables: tables, Protocol: lookup.TCPProtocol})
	broken, tcp := &lookup.Socketmap{Remote: lookup.Remote{Address: sockets}, Name: "x"}, &lookup.TCP{Remote: lookup.Remote{Address: lines}}
	good := &lookup.Socketmap{Remote: lookup.Remote{Address: sockets}, Name: "virtual"}
	for _, table := range []lookup.LookupTable{broken, tcp} {
		_, ok, err := table.Lookup(t.Context(), "key")
		require.ErrorContains(t, err, "table cannot answer")
		require.False(t, ok)
	}
	_, ok, err := good.Lookup(t.Context(), "key")
	require.NoError(t, err)
	require.True(t, ok)
	for _, c := range []io.Closer{broken, tcp, good} {
		require.NoError(t, c.Close())
	}
}

// piped is a listener of clients in the same process, to whom time is virtual.
type piped chan net.Conn

func (l piped) Accept() (net.Conn, error) {
	if conn, ok := <-l; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (l piped) Close() error   { return nil }
func (l piped) Addr() net.Addr { return nil }

// TestServerAnswersLate asks a table that takes longer than a client may say nothing,
// and does not take an answer.
func TestServerAnswersLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		late := lookup.LookupTableFunc(func(context.Context, string) (string, bool, error) {
			time.Sleep(20 * time.Second)
			return "at last", true, nil
		})
		l := make(piped, 1)
		s := &lookup.Server{Tables: map[string]lookup.LookupTable{"x": late}, Idle: 10 * time.Second}
		done := make(chan error, 1)
		go func() { done <- s.Serve(l) }()
		client, server := net.Pipe()
		l <- server
		in := bufio.NewReader(client)
		for range 2 {
			time.Sleep(9 * time.Second)
			_, err := io.WriteString(client, "5:x key,")
			require.NoError(t, err)
			answer, err := in.ReadString(',')
			require.NoError(t, err)
			require.Equal(t, "10:OK at last,", answer)
		}
		_, err := io.WriteString(client, "5:x key,")
		require.NoError(t, err)
		time.Sleep(31 * time.Second)
		_, err = in.ReadByte()
		require.ErrorIs(t, err, io.EOF)
		close(l)
		require.ErrorIs(t, <-done, net.ErrClosed)
		require.NoError(t, s.Close())
	})
}

// TestRemoteIdle has nobody ask any more: the connections are given back all the same.
func TestRemoteIdle(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c := &lookup.TCP{Remote: lookup.Remote{Address: l.Addr().String(), Idle: time.Millisecond}}
	defer c.Close()
	for range 2 {
		var group sync.WaitGroup
		group.Go(func() {
			_, ok, err := c.Lookup(t.Context(), "key")
			assert.NoError(t, err)
			assert.True(t, ok)
		})
		conn, err := l.Accept()
		require.NoError(t, err)
		in := bufio.NewReader(conn)
		_, err = in.ReadString('\n')
		require.NoError(t, err)
		_, err = io.WriteString(conn, "200 value\n")
		require.NoError(t, err)
		_, err = in.ReadByte()
		require.ErrorIs(t, err, io.EOF, "it has hung up")
		group.Wait()
		require.NoError(t, conn.Close())
	}
}

// scarce is a listener that has no descriptors at first.
type scarce struct {
	net.Listener
	fails atomic.Int64
}

func (l *scarce) Accept() (net.Conn, error) {
	if l.fails.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return l.Listener.Accept()
}

// TestServerWithoutDescriptors has accept(2) fail for a while.
func TestServerWithoutDescriptors(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &scarce{Listener: inner}
	l.fails.Store(3)
	s := &lookup.Server{Tables: map[string]lookup.LookupTable{"virtual": remoteTable()}}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	c := &lookup.Socketmap{Remote: lookup.Remote{Address: inner.Addr().String()}, Name: "virtual"}
	_, ok, err := c.Lookup(t.Context(), "key")
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, c.Close())
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-done, net.ErrClosed)

	// Who is to end does not try again.
	l.fails.Store(1 << 30)
	again := &lookup.Server{}
	go func() { done <- again.Serve(l) }()
	require.NoError(t, again.Close())
	require.ErrorIs(t, <-done, net.ErrClosed)
}

func ExampleServer() {
	s := &lookup.Server{Tables: map[string]lookup.LookupTable{"virtual": lookup.Inline{"info@example.org": "alice"}}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go s.Serve(l)
	table := &lookup.Socketmap{Remote: lookup.Remote{Address: l.Addr().String()}, Name: "virtual"}
	fmt.Println(table.Lookup(context.Background(), "info@example.org"))
	table.Close()
	s.Close()
	// Output: alice true <nil>
}

package control

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// dialAs connects as another user, by a thread that is that user and is thrown
// away.
func dialAs(t *testing.T, uid int, path string) net.Conn {
	t.Helper()
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked
		id := uintptr(uid)
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, id, id, id); errno != 0 {
			done <- result{nil, errno}
			return
		}
		conn, err := net.Dial("unix", path)
		done <- result{conn, err}
	}()
	r := <-done
	require.NoError(t, r.err)
	t.Cleanup(func() { r.conn.Close() })
	return r.conn
}

// say sends a request, and returns the status of the answer and its text.
func say(t *testing.T, c net.Conn, path, body string) (int, string) {
	t.Helper()
	_, err := fmt.Fprintf(c, "POST /v1/%s HTTP/1.1\r\nHost: mta\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	require.NoError(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(b)
}

// TestOtherUsers connects as somebody else, whom the kernel knows.
func TestOtherUsers(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root to be somebody else")
	}
	q := &many{n: 2}
	c := live(t, &Server{Local: Local{Queue: q}, MayFlush: table1{name: "nobody"}})
	dir := filepath.Dir(c.Path)
	for ; dir != os.TempDir(); dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
	require.NoError(t, os.Chmod(c.Path, 0o666))
	conn := dialAs(t, stranger.UID, c.Path)
	for _, tt := range []struct {
		path, body string
		status     int
	}{{"list", `{"brief":true}`, 200}, {"do/flush", `{"ids":["M1"]}`, 403}, {"do/hold", `{"ids":["M1"]}`, 403}, {"show", `{"id":"M1"}`, 403}} {
		status, text := say(t, conn, tt.path, tt.body)
		assert.Equal(t, tt.status, status, text)
	}
	status, text := say(t, dialAs(t, 65534, c.Path), "do/flush", `{"ids":["M1"]}`)
	assert.Equal(t, 200, status, text)
	assert.Equal(t, []string{"retry M1"}, q.asked)

	for range 20 { // more than one may have: some are closed at once
		other := dialAs(t, stranger.UID, c.Path)
		_, _ = io.WriteString(other, "POST ")
	}
	for id, err := range c.Do(t.Context(), Hold, []string{"M1"}, "") {
		require.NoError(t, err, "root is kept out by %s", id)
	}
	// Without the write bit the kernel lets nobody in.
	require.NoError(t, os.Chmod(c.Path, 0o600))
	denied := make(chan error)
	go func() {
		runtime.LockOSThread()
		_, _, _ = syscall.RawSyscall(syscall.SYS_SETRESUID, 4321, 4321, 4321)
		_, err := dial(c.Path)
		denied <- err
	}()
	require.ErrorIs(t, <-denied, syscall.EACCES)
}

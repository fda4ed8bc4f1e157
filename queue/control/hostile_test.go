package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/queue"
)

// many is a queue with as many messages as it says, which counts what is asked.
type many struct {
	Queue
	n int
	// late is how long a listing takes before it begins.
	late  time.Duration
	begun chan struct{} // closed when a listing has begun, when it is not nil

	mu    sync.Mutex
	asked []string
}

func (q *many) Entries(ctx context.Context) iter.Seq2[queue.Entry, error] {
	return func(yield func(queue.Entry, error) bool) {
		if q.begun != nil {
			close(q.begun)
		}
		select {
		case <-time.After(q.late):
		case <-ctx.Done():
		}
		for i := range q.n {
			if ctx.Err() != nil || !yield(queue.Entry{ID: fmt.Sprint("M", i), Pending: 1, Sender: strings.Repeat("s", 200)}, nil) {
				return
			}
		}
	}
}

func (q *many) Open(_ context.Context, id string) (*queue.Stored, error) {
	return nil, fmt.Errorf("%s: %w", id, queue.ErrNotFound)
}

func (q *many) note(op, id string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asked = append(q.asked, op+" "+id)
	return nil
}

func (q *many) Hold(_ context.Context, id, _ string) error { return q.note("hold", id) }
func (q *many) Retry(_ context.Context, id string) error   { return q.note("retry", id) }
func (q *many) Flush(context.Context) error                { return q.note("flush", "") }

// table is a lookup table with one key.
type table1 struct {
	name string
	err  error
}

func (t table1) Lookup(_ context.Context, key string) (string, bool, error) {
	return "whatever", key == t.name, t.err
}

// ask asks a server for something as somebody.
func ask(s *Server, who Peer, method, path, body string) *httptest.ResponseRecorder {
	s.setup()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(context.WithValue(context.Background(), peerKey{}, who), method, path, strings.NewReader(body))
	s.http.Handler.ServeHTTP(deadlines{w}, r)
	return w
}

// deadlines is a recorder that has deadlines.
type deadlines struct{ *httptest.ResponseRecorder }

func (deadlines) SetReadDeadline(time.Time) error  { return nil }
func (deadlines) SetWriteDeadline(time.Time) error { return nil }

// stranger is a user without a name.
var stranger = Peer{UID: 987654321}

func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	everything := []string{"list", "do/flush", "flush", "submit", "show", "do/hold", "do/release", "do/delete", "do/expire", "do/requeue", "check", "damaged"}
	refused := func(s *Server, p Peer) (list []string) {
		for _, path := range everything {
			if ask(s, p, "POST", "/v1/"+path, `{}`).Code == http.StatusForbidden {
				list = append(list, path)
			}
		}
		return list
	}
	local := Local{Queue: &many{}}
	admin := everything[4:]
	assert.Empty(t, refused(&Server{Local: local}, Peer{UID: 0}))
	assert.Equal(t, admin, refused(&Server{Local: local}, stranger))
	other := &Server{Local: local, MayList: table1{name: "alice"}, MayFlush: table1{name: "alice"}, MaySubmit: table1{name: "alice"}}
	assert.Equal(t, everything, refused(other, stranger))
	assert.Empty(t, refused(other, Peer{UID: 0}))
	named := table1{name: "987654321"}
	assert.Equal(t, admin, refused(&Server{Local: local, MayList: named, MayFlush: named, MaySubmit: named}, stranger))

	flusher := &Server{Local: local, MayList: table1{name: "alice"}, MayFlush: named}
	assert.Equal(t, http.StatusOK, ask(flusher, stranger, "POST", "/v1/flush", `{}`).Code)
	assert.Equal(t, http.StatusForbidden, ask(flusher, stranger, "POST", "/v1/flush", `{"run":{"sender":"alice"}}`).Code, "the answer tells what is in the queue")

	broken := ask(&Server{Local: local, MayList: table1{err: errors.New("database down")}}, stranger, "POST", "/v1/list", `{}`)
	assert.Equal(t, http.StatusServiceUnavailable, broken.Code)

	s := &Server{Local: local}
	s.setup()
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, httptest.NewRequest("POST", "/v1/list", strings.NewReader("{}")))
	assert.Equal(t, http.StatusForbidden, w.Code, "nobody knows who that is")
}

func TestGarbage(t *testing.T) {
	t.Parallel()
	q := &many{n: 3}
	s := &Server{Local: Local{Queue: q}}
	tooMany, _ := json.Marshal(request{IDs: make([]string, idLimit+1)})
	for _, tt := range []struct {
		path, body string
		status     int
	}{
		{"list", ``, 400}, {"list", `{`, 400}, {"list", `[]`, 400}, {"list", `{} {}`, 400}, {"list", `{"sendr":"x"}`, 400},
		{"list", `{"queue":"outgoing"}`, 400}, {"list", `{"older":-1}`, 400}, {"list", `{"sender":"!"}`, 400},
		{"list", `{"sender":"` + strings.Repeat("x", 2<<20) + `"}`, 400},
		{"list", strings.Repeat("[", 100000), 400},
		{"do/hold", `{}`, 400}, {"do/hold", string(tooMany), 400}, {"do/explode", `{"ids":["M1"]}`, 200},
		{"do/hold", `{"ids":["M1","M1"]}`, 200}, {"flush", `{}`, 200},
		{"check", `{}`, 200}, {"submit", ``, 501}, {"damaged", `x`, 200}, {"nothing", `{}`, 404}, {"", ``, 404},
	} {
		w := ask(s, Peer{}, "POST", "/v1/"+tt.path, tt.body)
		assert.Equal(t, tt.status, w.Code, "%s %.60s: %.200s", tt.path, tt.body, w.Body)
	}
	assert.Equal(t, http.StatusMethodNotAllowed, ask(s, Peer{}, "GET", "/v1/list", "").Code)
	assert.Equal(t, []string{"hold M1", "flush "}, q.asked)
}

// TestTwoListings has a user without privileges list twice at a time.
func TestTwoListings(t *testing.T) {
	t.Parallel()
	s := &Server{Local: Local{Queue: &many{n: 1}}}
	s.setup()
	_, done, err := s.begin(t.Context(), stranger)
	require.NoError(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, ask(s, stranger, "POST", "/v1/list", `{}`).Code)
	assert.Equal(t, http.StatusOK, ask(s, Peer{}, "POST", "/v1/list", `{}`).Code, "root waits for nobody")
	for uid := range listings - 1 {
		_, done, err := s.begin(t.Context(), Peer{UID: 1000 + uid})
		require.NoError(t, err)
		defer done()
	}
	_, _, err = s.begin(t.Context(), Peer{UID: 2000})
	require.ErrorIs(t, err, ErrTemporary)
	done()
	assert.Equal(t, http.StatusOK, ask(s, stranger, "POST", "/v1/list", `{}`).Code)
}

// live serves s on a socket until the test ends.
func live(t *testing.T, s *Server) *Client {
	t.Helper()
	c := &Client{Path: filepath.Join(t.TempDir(), "s")}
	l, err := Listen(c.Path, 0o600)
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		c.Close()
		s.Close()
		assert.NoError(t, <-done)
	})
	return c
}

// TestWhoDoesNotRead asks for a long listing and reads none of it: others are
// served meanwhile, and the listing is ended.
func TestWhoDoesNotRead(t *testing.T) {
	t.Parallel()
	q := &many{n: 1 << 30, begun: make(chan struct{})}
	s := &Server{Local: Local{Queue: q}, stall: 200 * time.Millisecond}
	c := live(t, s)
	conn, err := net.Dial("unix", c.Path)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "POST /v1/list HTTP/1.1\r\nHost: mta\r\nContent-Length: 14\r\n\r\n{\"brief\":true}")
	require.NoError(t, err)
	<-q.begun
	for id, err := range c.Do(t.Context(), Hold, []string{"M1"}, "") {
		require.NoError(t, err, id)
	}
	s.rest() // it has given up
	assert.Equal(t, http.StatusServiceUnavailable, ask(s, Peer{}, "POST", "/v1/list", "{}").Code, "nothing begins after that")
	n, err := io.Copy(io.Discard, conn)
	require.NoError(t, err)
	assert.Less(t, n, int64(8<<20), "more than what the kernel kept")
}

// TestWhoDoesNotWrite announces a request and does not send it.
func TestWhoDoesNotWrite(t *testing.T) {
	t.Parallel()
	s := &Server{Local: Local{Queue: &many{}}, stall: 100 * time.Millisecond,
		Submitter: SubmitterFunc(func(_ context.Context, _ int, r io.Reader) (string, error) {
			_, err := io.Copy(io.Discard, r)
			return "", err
		})}
	c := live(t, s)
	for _, path := range []string{"list", "submit"} {
		conn, err := net.Dial("unix", c.Path)
		require.NoError(t, err)
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "POST /v1/%s HTTP/1.1\r\nHost: mta\r\nContent-Length: 1000\r\n\r\n{", path)
		require.NoError(t, err)
		answer, err := io.ReadAll(conn)
		require.NoError(t, err)
		assert.NotContains(t, string(answer), "200 OK", path)
	}
}

// TestLongListing ends properly, though it takes longer than a request may. All
// of it fits into the socket, so that a slow machine does not matter.
func TestLongListing(t *testing.T) {
	t.Parallel()
	c := live(t, &Server{Local: Local{Queue: &many{n: 300, late: 300 * time.Millisecond}}, stall: 100 * time.Millisecond})
	n := 0
	for _, err := range c.List(t.Context(), Query{Brief: true}) {
		require.NoError(t, err)
		n++
	}
	assert.Equal(t, 300, n)
}

// TestBrokenServers has servers that answer anything.
func TestBrokenServers(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{
		"", "garbage\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"id\":\"x\"}\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[[[[[", "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\nContent-Length: 0\r\n\r\n",
	} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.Listen("unix", path)
		require.NoError(t, err)
		var group sync.WaitGroup
		group.Go(func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = http.ReadRequest(bufio.NewReader(conn))
				_, _ = io.WriteString(conn, answer)
				conn.Close()
			}
		})
		c := &Client{Path: path}
		var last error
		for _, err := range c.List(t.Context(), Query{}) {
			last = err
		}
		assert.ErrorIs(t, last, ErrServer, answer)
		_, text, err := c.Show(t.Context(), "x")
		if err == nil {
			_, err = io.ReadAll(text)
			text.Close()
		}
		assert.Error(t, err, answer)
		assert.ErrorIs(t, c.Flush(t.Context(), ""), ErrServer, answer)
		c.Close()
		l.Close()
		group.Wait()
	}
}

func TestShutdownWaits(t *testing.T) {
	t.Parallel()
	begun, end := make(chan struct{}), make(chan struct{})
	s := &Server{Local: Local{Queue: &many{}}, Submitter: SubmitterFunc(func(context.Context, int, io.Reader) (string, error) {
		close(begun)
		<-end
		return "X", nil
	})}
	c := live(t, s)
	type result struct {
		id  string
		err error
	}
	got := make(chan result, 1)
	go func() {
		id, err := c.Submit(context.Background(), strings.NewReader(""))
		got <- result{id, err}
	}()
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Shutdown(ctx), context.Canceled)
	close(end)
	require.NoError(t, s.Shutdown(t.Context()))
	assert.Equal(t, result{"X", nil}, <-got)
}

func TestContextEndsServe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path, 0o600)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- (&Server{Local: Local{Queue: &many{}}}).Serve(ctx, l) }()
	cancel()
	require.NoError(t, <-done)
	require.NoFileExists(t, path)
}

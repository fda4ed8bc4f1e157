package control

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// requestLimit is how long the JSON of a request may be, in bytes, and idLimit
// how many messages it may name.
const requestLimit, idLimit = 1 << 20, 4096

// request is what operations on messages are asked with.
type request struct {
	ID      string   `json:"id,omitempty"`
	IDs     []string `json:"ids,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Site    string   `json:"site,omitempty"`
	Address string   `json:"address,omitempty"`
}

// flushRequest asks for a site, or for a queue run.
type flushRequest struct {
	Site string `json:"site,omitempty"`
	Run  *Run   `json:"run,omitempty"`
}

// item is one line of an answer. The last one has End: without it the answer was
// cut off.
type item struct {
	ID       string        `json:"id,omitempty"`
	Message  *Message      `json:"message,omitempty"`
	Damaged  []Remains     `json:"damaged,omitempty"`
	Count    int           `json:"count,omitempty"` // of messages
	Verified *Verification `json:"verified,omitempty"`
	Error    *failure      `json:"error,omitempty"`
	End      bool          `json:"end,omitempty"`
}

// status is the HTTP status of a kind of failure.
func status(kind string) int {
	switch kind {
	case "not found":
		return http.StatusNotFound
	case "held":
		return http.StatusConflict
	case "denied":
		return http.StatusForbidden
	case "usage":
		return http.StatusBadRequest
	case "temporary", "busy":
		return http.StatusServiceUnavailable
	case "refused":
		return http.StatusUnprocessableEntity
	case "unsupported":
		return http.StatusNotImplemented
	}
	return http.StatusInternalServerError
}

// fail answers with an error, when nothing has been answered yet.
func (c *call) fail(err error) {
	f := fail(err)
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status(f.Kind))
	_ = json.NewEncoder(c.w).Encode(item{Error: f})
}

// read reads the request's JSON. What takes long does not end with the time that
// the peer has for its request.
func (c *call) read(into any) error {
	d := json.NewDecoder(http.MaxBytesReader(c.w, c.r.Body, requestLimit))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%w: more than one request", ErrUsage)
	}
	return c.control.SetReadDeadline(time.Time{})
}

// stream is an answer in lines.
type stream struct {
	c       *call
	w       *bufio.Writer
	json    *json.Encoder
	flushed time.Time
}

// flushTime is how long a line may lie in the buffer while others come.
const flushTime = 100 * time.Millisecond

func (c *call) stream() *stream {
	c.w.Header().Set("Content-Type", "application/x-ndjson")
	s := &stream{c: c, w: bufio.NewWriterSize(patient{c}, 32<<10), flushed: time.Now()}
	s.json = json.NewEncoder(s.w)
	return s
}

// send writes one line, and reports whether there is somebody to read it.
func (s *stream) send(i item) bool {
	if s.json.Encode(i) != nil {
		return false
	}
	if now := time.Now(); now.Sub(s.flushed) >= flushTime {
		s.flushed = now
		return s.w.Flush() == nil && s.c.control.Flush() == nil
	}
	return true
}

// end says that all has been said.
func (s *stream) end() {
	if s.send(item{End: true}) {
		_ = s.w.Flush()
	}
}

// patient gives the peer a while for each write, however long the answer is.
type patient struct{ c *call }

func (p patient) Write(b []byte) (int, error) {
	if err := p.c.control.SetWriteDeadline(time.Now().Add(p.c.stall)); err != nil {
		return 0, err
	}
	return p.c.w.Write(b)
}

// steady gives the peer a while for each read.
type steady struct{ c *call }

func (s steady) Read(b []byte) (int, error) {
	if err := s.c.control.SetReadDeadline(time.Now().Add(s.c.stall)); err != nil {
		return 0, err
	}
	return s.c.r.Body.Read(b)
}

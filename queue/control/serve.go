package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
)

func (s *Server) list(ctx context.Context, c *call) error {
	var q Query
	if err := c.read(&q); err != nil {
		return err
	}
	if err := q.Check(); err != nil {
		return err
	}
	ctx, done, err := s.begin(ctx, c.peer)
	if err != nil {
		return err
	}
	defer done()
	out := c.stream()
	for m, err := range s.List(ctx, q) {
		i := item{ID: m.ID, Error: fail(err)}
		if err == nil {
			i = item{Message: &m}
		}
		if !out.send(i) {
			return nil
		}
	}
	out.end()
	return nil
}

// show answers with a line of JSON, and the text behind it.
func (s *Server) show(ctx context.Context, c *call) error {
	var q request
	if err := c.read(&q); err != nil {
		return err
	}
	d, text, err := s.Show(ctx, q.ID)
	if err != nil {
		return err
	}
	defer text.Close()
	s.log().Info("control", "operation", "show", "id", d.ID, "user", c.peer.Name(), "uid", c.peer.UID)
	line, err := json.Marshal(d)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	c.w.Header().Set("Content-Type", "application/octet-stream")
	c.w.Header().Set("Content-Length", strconv.FormatInt(int64(len(line))+d.Length, 10))
	out := patient{c}
	if _, err := out.Write(line); err != nil {
		return nil // the peer has gone
	}
	// An answer that is too short says that the rest could not be read.
	if _, err := io.Copy(out, text); err != nil {
		s.log().Warn("control", "operation", "show", "id", d.ID, "error", err)
	}
	return nil
}

func (s *Server) do(ctx context.Context, c *call) error {
	op := Operation(c.r.PathValue("operation"))
	if op == "" {
		op = Flush
	}
	var q request
	if err := c.read(&q); err != nil {
		return err
	}
	if len(q.IDs) == 0 || len(q.IDs) > idLimit {
		return fmt.Errorf("%w: want 1 to %d messages", ErrUsage, idLimit)
	}
	out := c.stream()
	for id, err := range s.Do(ctx, op, q.IDs, q.Reason) {
		s.tell(op, id, c.peer, err)
		if !out.send(item{ID: id, Error: fail(err)}) {
			return nil
		}
	}
	out.end()
	return nil
}

// tell logs what was done.
func (s *Server) tell(op Operation, id string, p Peer, err error) {
	attrs := []any{"operation", string(op), "id", id, "user", p.Name(), "uid", p.UID}
	if err != nil {
		attrs = append(attrs, "error", err)
	}
	s.log().Info("control", attrs...)
}

func (s *Server) flush(ctx context.Context, c *call) error {
	var q flushRequest
	if err := c.read(&q); err != nil {
		return err
	}
	// How many messages are meant tells what is in the queue.
	if q.Run != nil && !c.peer.privileged() {
		if err := table(s.MayList)(ctx, c.peer); err != nil {
			return err
		}
	}
	ctx, done, err := s.begin(ctx, c.peer)
	if err != nil {
		return err
	}
	defer done()
	attrs := []any{"operation", "flush", "user", c.peer.Name(), "uid", c.peer.UID}
	n := 0
	if q.Run == nil {
		s.log().Info("control", append(attrs, "site", q.Site)...)
		err = s.Flush(ctx, q.Site)
	} else {
		n, err = s.QueueRun(ctx, *q.Run)
		s.log().Info("control", append(attrs, "selection", q.Run.Selection, "sort", string(q.Run.Sort), "messages", n)...)
	}
	if err != nil {
		return err
	}
	out := c.stream()
	out.send(item{Count: n})
	out.end()
	return nil
}

func (s *Server) check(ctx context.Context, c *call) error {
	var q Query
	if err := c.read(&q); err != nil {
		return err
	}
	out := c.stream()
	for id, err := range s.Check(ctx, q) {
		if !out.send(item{ID: id, Error: fail(err)}) {
			return nil
		}
	}
	out.end()
	return nil
}

func (s *Server) damaged(ctx context.Context, c *call) error {
	list, err := s.Damaged(ctx)
	if err != nil {
		return err
	}
	out := c.stream()
	out.send(item{Damaged: list})
	out.end()
	return nil
}

func (s *Server) submit(ctx context.Context, c *call) error {
	if s.Submitter == nil {
		return fmt.Errorf("%w: no mail is taken here", ErrUnsupported)
	}
	id, err := s.Submitter.Submit(ctx, c.peer.UID, steady{c})
	if err != nil {
		if fail(err).Kind == "failed" { // nobody classified it
			err = fmt.Errorf("%w: %w", ErrTemporary, err)
		}
		return err
	}
	out := c.stream()
	out.send(item{ID: id})
	out.end()
	return nil
}

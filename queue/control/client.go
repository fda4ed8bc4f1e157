package control

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"slices"
	"sync"
	"syscall"
)

// Client does through a Server's socket what Local does here. It may be used by
// many goroutines. Its fields are not changed once it is in use.
type Client struct {
	Path string // of the socket. Required.

	once sync.Once
	http http.Client
}

func (c *Client) setup() {
	c.once.Do(func() {
		c.http.Transport = &http.Transport{
			DialContext:        func(context.Context, string, string) (net.Conn, error) { return dial(c.Path) },
			DisableCompression: true, MaxIdleConns: 1,
		}
	})
}

// Close gives connections free that wait for a further request.
func (c *Client) Close() {
	c.setup()
	c.http.CloseIdleConnections()
}

// call asks the server for something. The answer is for the caller to close.
func (c *Client) call(ctx context.Context, path string, body io.Reader) (*http.Response, error) {
	c.setup()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://mta/v1/"+path, body)
	if err != nil {
		return nil, err
	}
	answer, err := c.http.Do(r)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%w: %s", ErrDenied, c.Path)
	case err != nil:
		return nil, fmt.Errorf("%w at %s: %w", ErrServer, c.Path, cause(err))
	case answer.StatusCode == http.StatusOK:
		return answer, nil
	}
	defer answer.Body.Close()
	var i item
	if err := json.NewDecoder(io.LimitReader(answer.Body, requestLimit)).Decode(&i); err != nil || i.Error == nil {
		return nil, fmt.Errorf("%w at %s: it answers %s", ErrServer, c.Path, answer.Status)
	}
	return nil, i.Error.err()
}

// cause is what stands behind net/http's "Post ...:" and package net's "dial unix ...:".
func cause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	for u := errors.Unwrap(err); u != nil; u = errors.Unwrap(err) {
		err = u
	}
	return err
}

// ask asks with JSON.
func (c *Client) ask(ctx context.Context, path string, q any) (*http.Response, error) {
	b, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	return c.call(ctx, path, bytes.NewReader(b))
}

// items yields the lines of an answer to its end.
func (c *Client) items(ctx context.Context, path string, q any) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		answer, err := c.ask(ctx, path, q)
		if err != nil {
			yield(item{}, err)
			return
		}
		defer answer.Body.Close()
		d := json.NewDecoder(bufio.NewReaderSize(answer.Body, 64<<10))
		for {
			var i item
			if err := d.Decode(&i); err != nil {
				if ctx.Err() == nil {
					err = fmt.Errorf("%w at %s: the answer was cut off: %w", ErrServer, c.Path, err)
				} else {
					err = ctx.Err()
				}
				yield(item{}, err)
				return
			}
			if i.End || !yield(i, nil) {
				_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<10)) // the connection serves again
				return
			}
		}
	}
}

// List is Local.List.
func (c *Client) List(ctx context.Context, q Query) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for i, err := range c.items(ctx, "list", q) {
			m := Message{ID: i.ID}
			switch {
			case err != nil:
			case i.Error != nil:
				err = i.Error.err()
			case i.Message != nil:
				m = *i.Message
			}
			if !yield(m, err) {
				return
			}
		}
	}
}

// Show is Local.Show.
func (c *Client) Show(ctx context.Context, id string) (Details, io.ReadCloser, error) {
	answer, err := c.ask(ctx, "show", request{ID: id})
	if err != nil {
		return Details{}, nil, err
	}
	in := bufio.NewReader(answer.Body)
	line, err := in.ReadBytes('\n')
	var d Details
	if err == nil {
		err = json.Unmarshal(line, &d)
	}
	if err != nil {
		answer.Body.Close()
		return Details{}, nil, fmt.Errorf("%w at %s: %w", ErrServer, c.Path, err)
	}
	return d, struct {
		io.Reader
		io.Closer
	}{in, answer.Body}, nil
}

// Do is Local.Do.
func (c *Client) Do(ctx context.Context, op Operation, ids []string, reason string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for some := range slices.Chunk(distinct(ids), idLimit/4) {
			for id, err := range c.results(ctx, "do/"+string(op), request{IDs: some, Reason: reason}) {
				if !yield(id, err) || id == "" {
					return
				}
			}
		}
	}
}

// results yields IDs and what came of them.
func (c *Client) results(ctx context.Context, path string, q any) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for i, err := range c.items(ctx, path, q) {
			if err == nil {
				err = i.Error.err()
			}
			if !yield(i.ID, err) {
				return
			}
		}
	}
}

// Flush is Local.Flush.
func (c *Client) Flush(ctx context.Context, site string) error {
	for i, err := range c.items(ctx, "flush", request{Site: site}) {
		if err := cmp.Or(err, i.Error.err()); err != nil {
			return err
		}
	}
	return nil
}

// QueueRun is Local.QueueRun.
func (c *Client) QueueRun(ctx context.Context, r Run) (n int, err error) {
	for i, err := range c.items(ctx, "flush", flushRequest{Run: &r}) {
		if err := cmp.Or(err, i.Error.err()); err != nil {
			return 0, err
		}
		n += i.Count
	}
	return n, nil
}

// Check is Local.Check.
func (c *Client) Check(ctx context.Context, q Query) iter.Seq2[string, error] {
	return c.results(ctx, "check", q)
}

// Damaged is Local.Damaged.
func (c *Client) Damaged(ctx context.Context) (list []Remains, err error) {
	for i, err := range c.items(ctx, "damaged", request{}) {
		if err := cmp.Or(err, i.Error.err()); err != nil {
			return nil, err
		}
		list = append(list, i.Damaged...)
	}
	return list, nil
}

// Submit hands a message over, in the format of queue.Maildrop, and returns its
// queue ID; "" means that it was thrown away.
func (c *Client) Submit(ctx context.Context, r io.Reader) (id string, err error) {
	answer, err := c.call(ctx, "submit", r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var i item
	if err := json.NewDecoder(answer.Body).Decode(&i); err != nil {
		return "", fmt.Errorf("%w at %s: it is not known whether the message was taken: %w", ErrServer, c.Path, err)
	}
	return i.ID, nil
}

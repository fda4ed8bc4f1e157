package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/control"
	"github.com/mtakit/mtakit/queue/filespool"
)

// Where examples/mta has them.
const (
	defaultSocket = "mta-data/control.sock"
	defaultQueue  = "mta-data/queue"
)

var (
	errNoSpool = errors.New("no spool")
	errInUse   = errors.New("the spool is in use")
)

// spool is a queue, of a running server or at rest. *control.Client and
// *control.Local are.
type spool interface {
	List(ctx context.Context, q control.Query) iter.Seq2[control.Message, error]
	Show(ctx context.Context, id string) (control.Details, io.ReadCloser, error)
	Do(ctx context.Context, op control.Operation, ids []string, reason string) iter.Seq2[string, error]
	Flush(ctx context.Context, site string) error
	QueueRun(ctx context.Context, r control.Run) (int, error)
	Check(ctx context.Context, q control.Query) iter.Seq2[string, error]
	Damaged(ctx context.Context) ([]control.Remains, error)
}

// open opens the queue. changes says that it is not only to be looked at.
func (c *command) open(changes bool) (q spool, done func(), err error) {
	socket, dir := c.socket, c.queue
	if socket == "" && dir == "" {
		if socket, dir = defaultSocket, defaultQueue; control.Answers(socket) {
			dir = ""
		} else {
			socket = ""
		}
	}
	if socket != "" {
		client := &control.Client{Path: socket}
		c.socket = socket
		return client, client.Close, nil
	}
	s, err := openSpool(dir, changes)
	if err != nil {
		return nil, nil, err
	}
	return &control.Local{Queue: control.AtRest{Spool: s}, Checker: s, Corrupt: filepath.Join(dir, "corrupt"), Maildrop: filepath.Join(dir, "maildrop")},
		func() { _ = s.Close() }, nil
}

// openSpool opens a spool that is there. It makes none.
func openSpool(dir string, changes bool) (*filespool.Spool, error) {
	if err := become(dir); err != nil {
		return nil, err
	}
	s, err := filespool.Open(dir, filespool.Options{ReadOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s", errNoSpool, dir)
	}
	if err != nil || !changes {
		return s, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	s, err = filespool.Open(dir, filespool.Options{MinFree: -1})
	if errors.Is(err, queue.ErrLocked) {
		return nil, fmt.Errorf("%w: a server runs on %s; use -socket", errInUse, dir)
	}
	return s, err
}

// become has root go on as the owner of the folder: what root writes there, the
// server could not read.
func become(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w in %s", errNoSpool, dir)
	}
	if err != nil {
		return err
	}
	return becomeOwner(info)
}

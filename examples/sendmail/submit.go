package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/control"
)

func (o *options) maildrop() string { return filepath.Join(o.dir, "queue", "maildrop") }

func (o *options) socket() string {
	if socket != "" && o.dir == directory {
		return socket
	}
	return filepath.Join(o.dir, "control.sock")
}

// receipt says where a message is now.
type receipt struct {
	id  string // of the queue, or the name of the file; "" when it was thrown away
	how string // where the ID is known
}

// submit hands a message over, in the first way that there is.
func (o *options) submit(ctx context.Context, l *letter) (receipt, error) {
	if err := queue.WriteSubmission(io.Discard, l.env, -1, strings.NewReader("")); err != nil {
		return receipt{}, fail(exitDataErr, "%w", err)
	}
	var none []string
	for _, way := range []func(context.Context, *letter) (receipt, error){o.toServer, o.toMaildrop, o.toHelper} {
		said, err := way(ctx, l)
		closed, ok := errors.AsType[*closedWay](err)
		if !ok {
			return said, err
		}
		none = append(none, closed.Error())
	}
	return receipt{}, fail(exitTempFail, "the message cannot be handed over: %s", strings.Join(none, "; "))
}

// closedWay says why something cannot take messages now; others may.
type closedWay struct{ err error }

// Error returns the reason.
func (c *closedWay) Error() string { return c.err.Error() }

// toServer asks a server that is running. When it cannot be said whether it took
// the message, the other ways are tried: twice is better than never.
func (o *options) toServer(ctx context.Context, l *letter) (receipt, error) {
	if err := unix.Access(o.socket(), unix.W_OK); err != nil {
		return receipt{}, &closedWay{&fs.PathError{Op: "socket", Path: o.socket(), Err: err}}
	}
	client := &control.Client{Path: o.socket()}
	defer client.Close()
	text, done := l.text()
	defer done()
	id, err := client.Submit(ctx, text)
	switch {
	case err == nil && id == "":
		return receipt{how: "thrown away by a filter"}, nil
	case err == nil:
		return receipt{id, "queued"}, nil
	case ctx.Err() != nil:
		return receipt{}, fail(exitTempFail, "interrupted")
	case errors.Is(err, control.ErrDenied):
		return receipt{}, fail(exitNoPerm, "%w", err)
	case errors.Is(err, control.ErrRefused):
		return receipt{}, fail(exitUnavailable, "%w", err)
	}
	return receipt{}, &closedWay{err}
}

// text is the submission as it is written to somebody else.
func (l *letter) text() (r io.Reader, done func()) {
	in, out := io.Pipe()
	var group sync.WaitGroup
	group.Go(func() {
		message, err := l.open()
		if err == nil {
			err = queue.WriteSubmission(out, l.env, l.size, message)
			_ = message.Close()
		}
		out.CloseWithError(err)
	})
	return in, func() {
		_ = in.Close()
		group.Wait()
	}
}

func (o *options) toMaildrop(ctx context.Context, l *letter) (receipt, error) {
	message, err := l.open()
	if err != nil {
		return receipt{}, fail(exitIOErr, "%w", err)
	}
	defer message.Close()
	name, err := queue.Drop(ctx, o.maildrop(), l.env, message)
	switch {
	case err == nil:
		return receipt{name, "left in the maildrop"}, nil
	case ctx.Err() != nil:
		return receipt{}, fail(exitTempFail, "interrupted")
	case errors.Is(err, queue.ErrSubmission):
		return receipt{}, fail(exitDataErr, "%w", err)
	}
	return receipt{}, &closedWay{err}
}

// toHelper runs postdrop, which may write where its user may not.
func (o *options) toHelper(ctx context.Context, l *letter) (receipt, error) {
	own, err := os.Executable()
	if err != nil {
		return receipt{}, &closedWay{err}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(own), "postdrop"), o.maildrop())
	cmd.Env = []string{}
	var stdout, stderr bytes.Buffer
	text, done := l.text()
	defer done()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = text, &stdout, &stderr
	err = cmd.Run()
	if cmd.ProcessState == nil {
		return receipt{}, &closedWay{err}
	}
	said := strings.TrimSpace(stderr.String())
	switch code := cmd.ProcessState.ExitCode(); code {
	case exitOK: // also when it has not read all of it, which is then too much
		return receipt{strings.TrimSpace(stdout.String()), "left in the maildrop"}, nil
	case exitDataErr, exitNoPerm, exitConfig, exitTempFail:
		return receipt{}, fail(code, "%s", said)
	case exitUsage:
		return receipt{}, fail(exitConfig, "%s", said)
	}
	return receipt{}, fail(exitTempFail, "postdrop: %w: %s", err, said)
}

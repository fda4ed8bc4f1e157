package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/control"
	"github.com/mtakit/mtakit/queue/filespool"
)

// server returns a client of the server that is running.
func (o *options) server() (*control.Client, error) {
	if err := unix.Access(o.socket(), unix.W_OK); err != nil {
		return nil, fail(exitUnavailable, "there is no server at %s: %w", o.socket(), err)
	}
	return &control.Client{Path: o.socket()}, nil
}

// list writes what mailq(1) does: from the server, and for those who may read its
// files also when it does not run.
func (o *options) list(ctx context.Context, out io.Writer) error {
	client, err := o.server()
	if err == nil {
		defer client.Close()
		err = told(write(out, client.List(ctx, control.Query{})))
	}
	if f, ok := errors.AsType[*failure](err); !ok || f.code != exitUnavailable {
		return err
	}
	dir := filepath.Join(o.dir, "queue")
	spool, restErr := filespool.Open(dir, filespool.Options{ReadOnly: true})
	if restErr != nil {
		return err
	}
	defer spool.Close()
	local := &control.Local{Queue: control.AtRest{Spool: spool}, Maildrop: filepath.Join(dir, "maildrop")}
	return told(write(out, local.List(ctx, control.Query{})))
}

func write(out io.Writer, messages func(func(control.Message, error) bool)) error {
	q := &control.Mailq{W: out}
	for m, err := range messages {
		if _, damaged := errors.AsType[*queue.CorruptError](err); damaged {
			fmt.Fprintf(out, "%s\n", printable(err.Error()))
			continue
		}
		if err == nil {
			err = q.Add(&m)
		}
		if err != nil {
			return err
		}
	}
	return q.End()
}

// flush has the server try what waits: everything, or what is selected.
func (o *options) flush(ctx context.Context, out io.Writer) error {
	client, err := o.server()
	if err != nil {
		return err
	}
	defer client.Close()
	if o.selection.All() {
		return told(client.Flush(ctx, ""))
	}
	n, err := client.QueueRun(ctx, control.Run{Selection: o.selection})
	if err == nil && o.verbose {
		fmt.Fprintf(out, "%d messages\n", n)
	}
	return told(err)
}

// told gives an error of the server its code.
func told(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, control.ErrDenied):
		return fail(exitNoPerm, "%w", err)
	case errors.Is(err, control.ErrUsage):
		return fail(exitUsage, "%w", err)
	case errors.Is(err, control.ErrServer), errors.Is(err, control.ErrUnsupported):
		return fail(exitUnavailable, "%w", err)
	}
	return fail(exitTempFail, "%w", err)
}

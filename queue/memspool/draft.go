package memspool

import (
	"context"
	"errors"
	"io"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

type draft struct {
	spool *Spool
	buf   []byte
	gone  bool
}

var errGone = errors.New("memspool: draft was committed or discarded before")

func (d *draft) Write(p []byte) (int, error) {
	if d.gone {
		return 0, errGone
	}
	d.buf = append(d.buf, p...)
	return len(p), nil
}

func (d *draft) Message(context.Context) (*mtakit.Message, error) {
	if d.gone {
		return nil, errGone
	}
	h, n := mtakit.ParseStart(d.buf)
	return &mtakit.Message{Header: h, Body: mtakit.Bytes(d.buf[n:])}, nil
}

func (d *draft) Commit(ctx context.Context, env *mtakit.Envelope, m *mtakit.Message) (string, error) {
	ids, err := d.spool.Commit(ctx, []queue.Accept{{Draft: d, Envelope: env, Message: m}}, nil)
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

func (d *draft) Discard() error {
	d.gone = true
	return nil
}

func read(b mtakit.Body) (mtakit.Bytes, error) {
	r, err := b.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

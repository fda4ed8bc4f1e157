package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/control"
)

// tool does what the command line says.
type tool struct {
	command
	spool    spool
	out, err io.Writer
	bar      bar
	failed   int // things that were not done, and said
}

func (t *tool) run(ctx context.Context) error {
	looks := t.name == "list" || t.name == "show" || t.name == "shape" || t.name == "check" && !t.repair
	spool, done, err := t.open(!looks)
	if err != nil {
		return err
	}
	defer done()
	t.spool = spool
	out := bufio.NewWriterSize(t.out, 64<<10)
	terminal := isTerminal(t.out)
	t.out = out
	switch t.name {
	case "list":
		err = t.list(ctx)
	case "show":
		err = t.show(ctx, terminal)
	case "shape":
		err = t.shape(ctx)
	case "check":
		err = t.check(ctx)
	default:
		err = t.change(ctx, control.Operation(t.name))
	}
	return errors.Join(err, out.Flush())
}

// messages lists what is meant, and says what cannot be listed.
func (t *tool) messages(ctx context.Context, brief bool, each func(m *control.Message) error) error {
	for m, err := range t.spool.List(ctx, control.Query{Selection: t.Selection, Brief: brief}) {
		switch {
		case err == nil:
			if err := each(&m); err != nil {
				return err
			}
		case control.OfOne(err):
			t.complain(m.ID, err)
		default:
			return err
		}
	}
	return nil
}

func (t *tool) list(ctx context.Context) error {
	if t.json {
		return t.messages(ctx, false, t.line)
	}
	q := control.Mailq{W: t.out}
	if err := t.messages(ctx, false, q.Add); err != nil {
		return err
	}
	return q.End()
}

func (t *tool) line(m *control.Message) error {
	b, err := control.JSON(m)
	if err != nil {
		return err
	}
	_, err = t.out.Write(append(b, '\n'))
	return err
}

func (t *tool) shape(ctx context.Context) error {
	s := control.Shape{Senders: t.senders, Buckets: t.buckets, First: time.Duration(t.minutes) * time.Minute}
	now := time.Now()
	err := t.messages(ctx, t.senders, func(m *control.Message) error {
		s.Add(m, now)
		return nil
	})
	if err != nil {
		return err
	}
	_, err = s.WriteTo(t.out)
	return err
}

// did is what is said of messages.
var did = map[control.Operation]string{
	control.Hold: "held", control.Release: "released", control.Delete: "deleted", control.Expire: "expired",
	control.Requeue: "requeued", control.Flush: "flushed",
}

// passes says that a message is not meant though the selection has it, and was not
// called by its ID: one in the maildrop, one on hold by flush, one that waits by release. One that is
// active may have been told to hold.
func (t *tool) passes(op control.Operation, m *control.Message) bool {
	switch {
	case slices.Contains(t.IDs, m.ID):
		return false
	case m.Queue == "maildrop":
		return true
	case op == control.Flush:
		return m.Queue == "hold"
	}
	return op == control.Release && (m.Queue == "deferred" || m.Queue == "incoming")
}

// change does something with what is meant, or with nothing when one of the IDs
// is not there.
func (t *tool) change(ctx context.Context, op control.Operation) error {
	if op == control.Flush {
		if site, ok := t.site(); ok {
			return t.flush(ctx, site)
		}
		if t.sort != "" || len(t.IDs) == 0 {
			return t.queueRun(ctx)
		}
	}
	var ids []string
	err := t.messages(ctx, true, func(m *control.Message) error {
		if t.passes(op, m) {
			return nil
		}
		ids = append(ids, m.ID)
		return nil
	})
	if err != nil {
		return err
	}
	if t.failed > 0 && len(t.IDs) > 0 {
		fmt.Fprintf(t.out, "nothing %s\n", did[op])
		return nil
	}
	t.bar.start(t.err, t.name, len(ids))
	done, err := t.do(ctx, op, ids)
	t.bar.clear()
	if ctx.Err() != nil {
		t.complain("", errors.New("interrupted"))
	}
	fmt.Fprintf(t.out, "%s %d of %d message%s%s\n", did[op], done, len(ids), plural(len(ids)), t.later())
	return err
}

// portion is how many messages are changed before it is looked whether somebody
// wants it to end.
const portion = 256

// do does something with messages, and returns with how many. When it is
// interrupted, it has said what became of each one that it began with.
func (t *tool) do(ctx context.Context, op control.Operation, ids []string) (done int, err error) {
	for some := range slices.Chunk(ids, portion) {
		if ctx.Err() != nil {
			return done, nil
		}
		for id, err := range t.spool.Do(context.WithoutCancel(ctx), op, some, t.reason) {
			switch {
			case id == "":
				return done, err
			case err != nil:
				t.complain(id, err)
			default:
				done++
				if t.verbose {
					fmt.Fprintf(t.out, "%s: %s\n", id, did[op])
				}
			}
			t.bar.step()
		}
	}
	return done, nil
}

// site returns the one of a flush that asks for nothing else; "" is all of them.
func (t *tool) site() (string, bool) {
	rest := t.Selection
	rest.Site = ""
	return t.Site, t.sort == "" && rest.All() && !strings.ContainsAny(t.Site, "*?!")
}

func (t *tool) flush(ctx context.Context, site string) error {
	if err := t.spool.Flush(ctx, site); err != nil {
		return err
	}
	what := "everything"
	if site != "" {
		what = "what is for " + control.Printable(site)
	}
	fmt.Fprintf(t.out, "flushed %s%s\n", what, t.later())
	return nil
}

// queueRun has what is selected tried in one go, in an order.
func (t *tool) queueRun(ctx context.Context) error {
	n, err := t.spool.QueueRun(ctx, control.Run{Selection: t.Selection, Sort: queue.SortOrder(t.sort)})
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, "flushed %d message%s%s\n", n, plural(n), t.later())
	return nil
}

// later says when it takes effect.
func (t *tool) later() string {
	if t.socket != "" {
		return ""
	}
	return ", for the server's next start"
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

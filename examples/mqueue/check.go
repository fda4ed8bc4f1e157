package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/control"
)

// check verifies all checksums, and says what was put aside. A server puts aside
// what it finds damaged, so that -repair has to be said to one.
func (t *tool) check(ctx context.Context) error {
	if t.socket != "" && !t.repair {
		return fmt.Errorf("%w: a server moves what is damaged out of the way: say -repair, or look with -queue", control.ErrUsage)
	}
	if err := t.measure(ctx); err != nil {
		return err
	}
	defer t.bar.clear()
	var good, damaged int
	for id, err := range t.spool.Check(ctx, control.Query{Selection: t.Selection}) {
		corrupt, is := errors.AsType[*queue.CorruptError](err)
		switch {
		case err == nil:
			good++
			if t.verbose {
				fmt.Fprintf(t.out, "%s: good\n", id)
			}
		case is:
			damaged++
			t.complain(corrupt.ID, errors.New("damaged: "+corrupt.Reason))
		case id == "":
			return err
		default:
			t.complain(id, err)
		}
		t.bar.step()
	}
	t.bar.clear()
	fmt.Fprintf(t.out, "%d message%s good, %d damaged\n", good, plural(good), damaged)
	aside, err := t.spool.Damaged(ctx)
	if err != nil {
		return err
	}
	for _, r := range aside {
		fmt.Fprintf(t.out, "corrupt/%s: %s (%d bytes)\n", control.Printable(r.Name), control.Printable(r.Reason), r.Size)
	}
	return nil
}

// measure counts what there is to check, when somebody looks at the bar.
func (t *tool) measure(ctx context.Context) error {
	if !isTerminal(t.err) {
		return nil
	}
	n := 0
	for m, err := range t.spool.List(ctx, control.Query{Selection: t.Selection, Brief: true, Receipts: true}) {
		if err != nil && !control.OfOne(err) {
			return err
		}
		if m.Queue != "maildrop" {
			n++
		}
	}
	t.bar.start(t.err, t.name, n)
	return nil
}

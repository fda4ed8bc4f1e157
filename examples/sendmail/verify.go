package main

import (
	"context"
	"fmt"
	"io"

	"github.com/mtakit/mtakit/queue/control"
)

// verify says what would become of mail for the recipients, as -bv does: nothing
// is sent. It needs a server that runs.
func (o *options) verify(ctx context.Context, stdin io.Reader, out io.Writer) error {
	env, err := o.envelope()
	if err != nil {
		return err
	}
	if o.header {
		m, err := store(ctx, stdin, o.dots)
		if err != nil {
			return err
		}
		defer m.file.Close()
		header, _, err := m.read()
		if err != nil {
			return err
		}
		if err := o.address(env, header); err != nil {
			return err
		}
	}
	client, err := o.server()
	if err != nil {
		return err
	}
	defer client.Close()
	count := make(map[control.Outcome]int)
	for i := range env.Recipients {
		for v, err := range client.Verify(ctx, env.Recipients[i].Address) {
			if err != nil {
				return told(err)
			}
			count[v.Outcome]++
			fmt.Fprintf(out, "%s... %s: %s\n", printable(v.Address), v.Outcome, printable(v.Reason))
		}
	}
	switch {
	case count[control.Undeliverable] > 0:
		return fail(exitNoUser, "%d undeliverable", count[control.Undeliverable])
	case count[control.Unknown] > 0:
		return fail(exitTempFail, "%d not known now", count[control.Unknown])
	}
	return nil
}

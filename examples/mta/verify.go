package main

import (
	"context"
	"iter"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/lookup/rewrite"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/control"
)

// destinies answers sendmail -bv: an address is completed and expanded as that of a
// message is, and whoever would get the mail is asked.
type destinies struct {
	trivial *rewrite.Trivial
	cleanup *rewrite.Cleanup
	manager *queue.Manager
}

// Verify is control.Verifier's.
func (v *destinies) Verify(ctx context.Context, address string) iter.Seq2[control.Verification, error] {
	return func(yield func(control.Verification, error) bool) {
		env, err := v.expand(ctx, address)
		if err != nil {
			yield(control.Verification{Address: address}, err)
			return
		}
		for i := range env.Recipients {
			to := env.Recipients[i].Address
			result, err := v.manager.Verify(ctx, to)
			if !yield(control.Verified(to, &result), err) || err != nil {
				return
			}
		}
	}
}

func (v *destinies) expand(ctx context.Context, address string) (*mtakit.Envelope, error) {
	address, err := v.trivial.Rewrite(ctx, address)
	if err != nil {
		return nil, err
	}
	env := &mtakit.Envelope{Recipients: []mtakit.Recipient{{Address: address}}}
	verdict, err := v.cleanup.Filter(ctx, env, mtakit.NewMessage(nil))
	if err == nil && verdict.Action == mtakit.Reject {
		err = verdict.Reply
	}
	return env, err
}

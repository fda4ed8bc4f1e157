package control_test

import (
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/control"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	found := []control.Verification{
		control.Verified("a@x", &mtakit.Result{Outcome: mtakit.Delivered, Diagnostic: "there is a mailbox"}),
		control.Verified("b@x", &mtakit.Result{Outcome: mtakit.Bounced, Reply: &smtp.SMTPError{Code: 550, Message: "no"}}),
		control.Verified("c@x", &mtakit.Result{Outcome: mtakit.Deferred}),
	}
	b := newBed(t, func(s *control.Server) {
		s.Verifier = control.VerifierFunc(func(_ context.Context, address string) iter.Seq2[control.Verification, error] {
			return func(yield func(control.Verification, error) bool) {
				for _, v := range found {
					if !yield(v, nil) {
						return
					}
				}
				if address == "bad" {
					yield(control.Verification{}, errors.New("table on fire"))
				}
			}
		})
	})
	for address, want := range map[string]string{"list@x": "", "bad": "table on fire"} {
		var got []control.Verification
		text := ""
		for v, err := range b.Verify(t.Context(), address) {
			if err != nil {
				text = err.Error()
				continue
			}
			got = append(got, v)
		}
		assert.Equal(t, found, got)
		assert.Contains(t, text, want)
		assert.Equal(t, want == "", text == "")
	}
	assert.Equal(t, []control.Outcome{control.Deliverable, control.Undeliverable, control.Unknown},
		[]control.Outcome{found[0].Outcome, found[1].Outcome, found[2].Outcome})
	for _, err := range newBed(t).Verify(t.Context(), "a") {
		require.ErrorIs(t, err, control.ErrUnsupported)
	}
}

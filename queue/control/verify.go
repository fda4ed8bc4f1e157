package control

import (
	"context"
	"fmt"
	"iter"

	"github.com/mtakit/mtakit"
)

// Verifier finds out what would become of mail for an address, without sending
// any: aliases are followed, and whoever takes the mail is asked.
type Verifier interface {
	// Verify yields each address that mail for this one would go to, and what is
	// known of it. An error ends it. It is called from many goroutines.
	Verify(ctx context.Context, address string) iter.Seq2[Verification, error]
}

// VerifierFunc is a function that is a Verifier.
type VerifierFunc func(ctx context.Context, address string) iter.Seq2[Verification, error]

// Verify calls f.
func (f VerifierFunc) Verify(ctx context.Context, address string) iter.Seq2[Verification, error] {
	return f(ctx, address)
}

// Verification is what would become of mail for an address. Its reason is what
// others have said: it may hold anything.
type Verification struct {
	Address string  `json:"address"`
	Outcome Outcome `json:"outcome"`
	Reason  string  `json:"reason,omitempty"`
}

// Outcome of a verification.
type Outcome string

// The outcomes.
const (
	Deliverable   Outcome = "deliverable"
	Undeliverable Outcome = "undeliverable"
	Unknown       Outcome = "unknown" // it cannot be known now
)

// Verified is the result of queue.Manager.Verify as a Verification.
func Verified(address string, r *mtakit.Result) Verification {
	v := Verification{Address: address, Outcome: Unknown, Reason: Reason(r)}
	switch r.Outcome {
	case mtakit.Delivered:
		v.Outcome = Deliverable
	case mtakit.Bounced:
		v.Outcome = Undeliverable
	}
	return v
}

func (s *Server) verify(ctx context.Context, c *call) error {
	if s.Verifier == nil {
		return fmt.Errorf("%w: addresses are not verified here", ErrUnsupported)
	}
	var q request
	if err := c.read(&q); err != nil {
		return err
	}
	ctx, done, err := s.begin(ctx, c.peer)
	if err != nil {
		return err
	}
	defer done()
	out := c.stream()
	for v, err := range s.Verifier.Verify(ctx, q.Address) {
		if !out.send(item{Verified: &v, Error: fail(err)}) || err != nil {
			break
		}
	}
	out.end()
	return nil
}

// Verify has the server find out what would become of mail for an address.
func (c *Client) Verify(ctx context.Context, address string) iter.Seq2[Verification, error] {
	return func(yield func(Verification, error) bool) {
		for i, err := range c.items(ctx, "verify", request{Address: address}) {
			var v Verification
			switch {
			case err != nil:
			case i.Error != nil:
				err = i.Error.err()
			case i.Verified != nil:
				v = *i.Verified
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

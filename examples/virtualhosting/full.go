package main

import (
	"context"
	"fmt"
	"io"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/lookup/rewrite"
	"github.com/mtakit/mtakit/maildir"
)

// rejectFull is a restriction of our own. It refuses recipients at once whose
// mailboxes have no room for what SIZE= announces, since a bounce may go to somebody
// who has not sent the message.
type rejectFull struct {
	expander *rewrite.Expander
	agent    *maildir.Agent
}

// Check asks the delivery agent. What it does not know is for others to say, and so
// are recipients that stand for many.
func (r rejectFull) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	if s.Recipient == nil {
		return mtakit.Verdict{}, nil
	}
	ends, err := r.expander.Expand(ctx, s.Recipient.Address)
	if err != nil || len(ends) != 1 {
		return mtakit.Verdict{}, nil
	}
	message := mtakit.NewMessage(nil)
	message.Body = announced(s.Size)
	result := r.agent.Verify(ctx, &mtakit.Delivery{ID: s.ID, Envelope: s.Envelope, Message: message,
		Recipients: []mtakit.Recipient{{Address: ends[0]}}})[0]
	reply := &smtp.SMTPError{Code: 552, EnhancedCode: result.Status, Message: fmt.Sprintf("<%s>: Recipient address rejected: %s", s.Recipient.Address, result.Diagnostic)}
	switch result.Status {
	case smtp.EnhancedCode{4, 2, 2}:
		reply.Code = 452
	case smtp.EnhancedCode{5, 2, 2}:
	default:
		return mtakit.Verdict{}, nil
	}
	return mtakit.Verdict{Action: mtakit.Reject, Reply: reply}, nil
}

// announced is a body of which only the size is known.
type announced int64

func (a announced) Size() int64 { return int64(a) }

func (announced) Open() (io.ReadCloser, error) { return nil, io.ErrUnexpectedEOF }

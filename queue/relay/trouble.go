package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// trouble is why nothing could be delivered, before it is told to whom.
type trouble struct {
	cause  error // for the log; nil means that text says it all
	text   string
	status smtp.EnhancedCode
	bounce bool
	site   bool
	remote string
	reply  *smtp.SMTPError
}

// Error returns the text that DSNs show.
func (t *trouble) Error() string { return t.text }

// Unwrap returns the cause.
func (t *trouble) Unwrap() error { return t.cause }

func (t *trouble) result() mtakit.Result {
	r := mtakit.Result{Status: t.status, Diagnostic: t.text, Site: t.site && !t.bounce, Remote: t.remote, Reply: t.reply}
	if t.bounce {
		r.Outcome = mtakit.Bounced
	}
	return r
}

// lost is the trouble that an error of the connection means.
func (s *session) lost(doing string, err error) *trouble {
	t := &trouble{cause: err, status: smtp.EnhancedCode{4, 4, 2}, site: true}
	switch {
	case s.ctx.Err() != nil:
		return interrupted(s.ctx)
	case errors.Is(err, errProtocol):
		t.status = smtp.EnhancedCode{4, 5, 0}
		t.text = fmt.Sprintf("host %s: %v while %s", s.host.remote, err, doing)
	case errors.Is(err, os.ErrDeadlineExceeded):
		t.text = fmt.Sprintf("conversation with %s timed out while %s", s.host.remote, doing)
	default:
		t.text = fmt.Sprintf("lost connection with %s while %s", s.host.remote, doing)
	}
	return t
}

// interrupted is the trouble of a delivery whose context has ended.
func interrupted(ctx context.Context) *trouble {
	return &trouble{cause: context.Cause(ctx), status: smtp.EnhancedCode{4, 3, 2}, text: "delivery was interrupted on this side"}
}

// said is the trouble of a reply that was not the one hoped for. What is
// neither 4xx nor 5xx is a fault of the server and temporary.
func (s *session) said(command string, reply *smtp.SMTPError) *trouble {
	t := &trouble{reply: reply, remote: s.host.remote, status: status(reply), bounce: reply.Code/100 == 5,
		text: "in reply to " + command, site: reply.Code == 421}
	if reply.Code/100 != 4 && reply.Code/100 != 5 {
		t.status = smtp.EnhancedCode{4, 5, 0}
	}
	return t
}

// soften makes a trouble temporary and the destination's.
func (t *trouble) soften() *trouble {
	t.bounce, t.site = false, true
	t.status[0] = 4
	return t
}

// dialTrouble is the trouble of a connection that could not be made. That this
// machine has no more files or memory is no fault of the destination.
func dialTrouble(ctx context.Context, h host, err error) *trouble {
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	reason := err.Error()
	var errno syscall.Errno
	var netError net.Error
	switch {
	case errors.As(err, &errno):
		reason = errno.Error()
	case errors.As(err, &netError) && netError.Timeout(), errors.Is(err, context.DeadlineExceeded):
		reason = "connection timed out"
	}
	t := &trouble{cause: err, text: "connect to " + h.remote + ": " + reason, status: smtp.EnhancedCode{4, 4, 1}, site: true}
	switch errno {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS:
		t.status, t.site = smtp.EnhancedCode{4, 3, 0}, false
	}
	return t
}

// lookupTrouble makes a look-up's result: nil means a name without the record.
func lookupTrouble(name, rrtype string, err error) *trouble {
	t := &trouble{cause: err, status: smtp.EnhancedCode{5, 4, 4}, bounce: true}
	text := fmt.Sprintf("Host or domain name not found. Name service error for name=%s type=%s: ", name, rrtype)
	switch {
	case err == nil:
		t.text = text + "Host found but no data record of requested type"
	case isNotFound(err):
		t.text = text + "Host not found"
	default:
		t.text, t.status, t.bounce, t.site = text+"Host not found, try again", smtp.EnhancedCode{4, 4, 3}, false, true
	}
	return t
}

package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

var (
	// ErrDenied is wrapped when the peer may not do what it asks for.
	ErrDenied = errors.New("control: permission denied")
	// ErrUsage is wrapped when a request makes no sense.
	ErrUsage = errors.New("control: bad request")
	// ErrTemporary is wrapped by what may work later: too much at a time, a table
	// that could not answer, a server that is shutting down.
	ErrTemporary = errors.New("control: try again later")
	// ErrRefused is wrapped when a submission is refused for good.
	ErrRefused = errors.New("control: refused")
	// ErrHeld is wrapped when a message on hold is to be flushed.
	ErrHeld = errors.New("control: message is on hold")
	// ErrUnsupported is wrapped when a server cannot do what it is asked for.
	ErrUnsupported = errors.New("control: not supported")
	// ErrServer is wrapped by the client when the server cannot be reached, or
	// speaks something else.
	ErrServer = errors.New("control: no server")
)

// failure is an error on its way to the other side.
type failure struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
	// of a corrupt message
	ID     string `json:"id,omitempty"`
	Path   string `json:"path,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// kinds are the errors that the other side can tell apart. What is in none of
// them is "failed".
var kinds = []struct {
	kind string
	err  error
}{
	{"not found", queue.ErrNotFound}, {"held", ErrHeld}, {"busy", queue.ErrBusy}, {"denied", ErrDenied}, {"denied", queue.ErrSubmitter}, {"usage", ErrUsage},
	{"temporary", ErrTemporary}, {"refused", ErrRefused}, {"refused", queue.ErrSubmission}, {"unsupported", ErrUnsupported},
	{"temporary", context.Canceled}, {"temporary", context.DeadlineExceeded},
}

func fail(err error) *failure {
	if err == nil {
		return nil
	}
	if c, ok := errors.AsType[*queue.CorruptError](err); ok {
		return &failure{Kind: "corrupt", Text: err.Error(), ID: c.ID, Path: c.Path, Reason: c.Reason}
	}
	f := &failure{Kind: "failed", Text: err.Error()}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			f.Kind = k.kind
			return f
		}
	}
	if reply, ok := mtakit.AsReply(err); ok {
		f.Kind = replyKind(reply)
	}
	return f
}

func replyKind(r *smtp.SMTPError) string {
	if r.Code/100 == 5 {
		return "refused"
	}
	return "temporary"
}

// err is the error as this side sees it.
func (f *failure) err() error {
	if f == nil {
		return nil
	}
	if f.Kind == "corrupt" {
		return &queue.CorruptError{ID: f.ID, Path: f.Path, Reason: f.Reason}
	}
	for _, k := range kinds {
		if f.Kind == k.kind {
			return &remoteError{cmp.Or(f.Text, f.Kind), k.err}
		}
	}
	return fmt.Errorf("the server failed: %s", cmp.Or(f.Text, f.Kind))
}

// remoteError says what the other side said, and is one of ours.
type remoteError struct {
	text string
	is   error
}

// Error returns the text.
func (e *remoteError) Error() string { return e.text }

// Unwrap returns the sentinel.
func (e *remoteError) Unwrap() error { return e.is }

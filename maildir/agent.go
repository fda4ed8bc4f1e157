package maildir

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"syscall"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Table says where mailboxes are. The value under "user@example.org" is a path
// below Agent.Root that ends in "/", as in Postfix's virtual_mailbox_maps. ok is
// false when there is no such mailbox; an error means that the table could not
// answer. Lookup is called from many goroutines. lookup.LookupTable satisfies it.
type Table interface {
	Lookup(ctx context.Context, key string) (value string, ok bool, err error)
}

// Agent is a delivery agent for Maildirs. Its fields are not changed while it is
// in use.
type Agent struct {
	// Root is the directory below which all mailboxes lie. Required.
	Root *os.Root
	// Mailboxes is asked with the recipient's address. Required.
	Mailboxes Table
	// Hostname is the last part of file names; "" means "localhost".
	Hostname string
	// CRLF keeps the line ends of the wire; false writes LF.
	CRLF bool
	// Logger is told of faults of the system and of the table; nil is silent.
	Logger *slog.Logger
}

// Deliver puts the message into the Maildir of each recipient. The result of a
// recipient is Delivered (the Diagnostic names the file), Bounced with 5.1.1
// for an unknown user and 5.4.6 for a loop, or Deferred for everything that is a
// fault of ours: 4.3.1 without space, 4.2.2 over the disk quota, 4.3.5 for a path
// that is not below Root or does not end in "/", 4.3.0 for the rest.
func (a *Agent) Deliver(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	results := make([]mtakit.Result, len(d.Recipients))
	for i := range d.Recipients {
		results[i] = a.deliver(ctx, d, &d.Recipients[i])
		if d.Report != nil {
			d.Report(i, results[i])
		}
	}
	return results
}

func (a *Agent) deliver(ctx context.Context, d *mtakit.Delivery, r *mtakit.Recipient) mtakit.Result {
	if looping(d.Message.Header, r.Address) {
		return failed(5, 4, 6, "mail forwarding loop for "+r.Address)
	}
	dir, failure := a.mailbox(ctx, d, r)
	if failure != nil {
		return *failure
	}
	file, err := a.write(ctx, dir, d, r)
	if err != nil {
		a.log(ctx, d, r, err)
		return deferral(err)
	}
	return mtakit.Result{Outcome: mtakit.Delivered, Status: smtp.EnhancedCode{2, 0, 0}, Diagnostic: "delivered to maildir " + file}
}

// mailbox returns where the recipient's mailbox is, or why it cannot be found.
func (a *Agent) mailbox(ctx context.Context, d *mtakit.Delivery, r *mtakit.Recipient) (dir string, failure *mtakit.Result) {
	dir, ok, err := a.Mailboxes.Lookup(ctx, r.Address)
	switch {
	case err != nil:
		a.log(ctx, d, r, err)
		result := failed(4, 3, 0, "mail system configuration error: mailbox table")
		return "", &result
	case !ok:
		result := failed(5, 1, 1, fmt.Sprintf("unknown user: %q", r.Address))
		return "", &result
	case !strings.HasSuffix(dir, "/"):
		err := fmt.Errorf("%w: %q", errPath, dir)
		a.log(ctx, d, r, err)
		result := deferral(err)
		return "", &result
	}
	return dir, nil
}

// Verify finds out whether the recipients have mailboxes, without making one:
// Delivered means that the table knows one, and the other results are those of
// Deliver. It does not look at the disk: a mailbox is made by its first message.
func (a *Agent) Verify(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	results := make([]mtakit.Result, len(d.Recipients))
	for i := range d.Recipients {
		results[i] = mtakit.Result{Outcome: mtakit.Delivered, Status: smtp.EnhancedCode{2, 0, 0}, Diagnostic: "mailbox is known"}
		if _, failure := a.mailbox(ctx, d, &d.Recipients[i]); failure != nil {
			results[i] = *failure
		}
	}
	return results
}

var errPath = errors.New(`the path of a Maildir ends in "/"`)

func (a *Agent) write(ctx context.Context, dir string, d *mtakit.Delivery, r *mtakit.Recipient) (string, error) {
	fields, err := addedFields(d.Envelope.Sender, r)
	if err != nil {
		return "", err
	}
	box := Dir{Root: a.Root, Path: strings.Trim(dir, "/"), Hostname: a.Hostname, CRLF: a.CRLF}
	return box.Deliver(ctx, fields, d.Message)
}

// addedFields returns what virtual(8) puts above a message: the way back, the
// address as it was given, and the address that the loop check looks for.
func addedFields(sender string, r *mtakit.Recipient) ([]mtakit.Field, error) {
	values := [...][2]string{
		{"Return-Path", "<" + sender + ">"},
		{"X-Original-To", r.OriginalAddress()},
		{"Delivered-To", r.Address},
	}
	fields := make([]mtakit.Field, 0, len(values))
	for _, v := range values {
		f, err := mtakit.NewField(v[0], v[1])
		if err != nil {
			return nil, err
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// looping reports whether this mailbox has had the message before.
func looping(h *mtakit.Header, address string) bool {
	for _, f := range h.All() {
		if f.Is("Delivered-To") && strings.EqualFold(f.Value(), address) {
			return true
		}
	}
	return false
}

func deferral(err error) mtakit.Result {
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return failed(4, 3, 1, "insufficient system storage")
	case errors.Is(err, syscall.EDQUOT):
		return failed(4, 2, 2, "mailbox full: disk quota exceeded")
	case errors.Is(err, errPath), isEscape(err):
		return failed(4, 3, 5, "mail system configuration error: mailbox path")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return failed(4, 3, 2, "delivery interrupted")
	}
	return failed(4, 3, 0, "cannot write to the mailbox")
}

// isEscape recognises os.Root's refusal, for which the os package exports no
// sentinel (Go 1.26); the text is part of its tests.
func isEscape(err error) bool { return strings.Contains(err.Error(), "path escapes from parent") }

func failed(class, subject, detail int, text string) mtakit.Result {
	r := mtakit.Result{Status: smtp.EnhancedCode{class, subject, detail}, Diagnostic: text}
	if class == 5 {
		r.Outcome = mtakit.Bounced
	}
	return r
}

func (a *Agent) log(ctx context.Context, d *mtakit.Delivery, r *mtakit.Recipient, err error) {
	if a.Logger != nil {
		a.Logger.ErrorContext(ctx, "mailbox delivery failed", "id", d.ID, "recipient", r.Address, "error", err)
	}
}

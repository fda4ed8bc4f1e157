package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Mbox is the delivery agent for the mailboxes of the users of this machine: one file
// for each, in the format of mbox(5), as mail_spool_directory and home_mailbox of
// Postfix have it.
type Mbox struct {
	Users Table // lines of passwd(5) by name; required
	// Spool has the mailboxes, by the names of the users; "" means "/var/mail".
	Spool string
	// Home is the name of the mailbox in the user's home, "Mailbox", in place of Spool;
	// "" means Spool.
	Home      string
	Delimiter string       // of address extensions, which have the user's mailbox; "" means none
	Files     Files        // limit and locks
	Logger    *slog.Logger // is told of faults; nil is silent
}

// Deliver appends the message to each recipient's mailbox: Bounced with 5.1.1 for an
// unknown user, 5.2.2 when the mailbox would become too large.
func (b *Mbox) Deliver(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	results := make([]mtakit.Result, len(d.Recipients))
	for i := range d.Recipients {
		results[i] = b.deliver(ctx, d, &d.Recipients[i])
		if d.Report != nil {
			d.Report(i, results[i])
		}
	}
	return results
}

// Verify finds out whether the recipients are users.
func (b *Mbox) Verify(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	results := make([]mtakit.Result, len(d.Recipients))
	for i := range d.Recipients {
		if _, _, failure := b.mailbox(ctx, d, &d.Recipients[i]); failure != nil {
			results[i] = *failure
			continue
		}
		results[i] = mtakit.Result{Outcome: mtakit.Delivered, Status: smtp.EnhancedCode{2, 0, 0}, Diagnostic: "user is known"}
	}
	return results
}

func (b *Mbox) deliver(ctx context.Context, d *mtakit.Delivery, r *mtakit.Recipient) mtakit.Result {
	if looping(d.Message.Header, r.Address) {
		return failed(5, 4, 6, "mail forwarding loop for "+r.Address)
	}
	u, name, failure := b.mailbox(ctx, d, r)
	if failure != nil {
		return *failure
	}
	l := letter{envelope: d.Envelope, recipient: r, message: d.Message, local: r.Address}
	if err := b.Files.append(ctx, l, name, u); err != nil {
		b.log(ctx, d, r, err)
		return trouble(err)
	}
	return mtakit.Result{Outcome: mtakit.Delivered, Status: smtp.EnhancedCode{2, 0, 0}, Diagnostic: "delivered to mailbox " + name}
}

var errName = errors.New("name cannot be that of a mailbox")

// mailbox returns whose and where the mailbox of a recipient is.
func (b *Mbox) mailbox(ctx context.Context, d *mtakit.Delivery, r *mtakit.Recipient) (User, string, *mtakit.Result) {
	a := Agent{Users: b.Users, Delimiter: b.Delimiter}
	u, _, ok, err := a.find(ctx, r.Address)
	if ok && (u.Name == "." || u.Name == ".." || strings.Contains(u.Name, "/") || b.Home != "" && u.Home == "") {
		err = fmt.Errorf("%w: %.100q", errName, u.Name)
	}
	switch {
	case err != nil:
		b.log(ctx, d, r, err)
		result := failed(4, 3, 0, "mail system configuration error: users")
		return u, "", &result
	case !ok:
		result := failed(5, 1, 1, fmt.Sprintf("unknown user: %q", r.Address))
		return u, "", &result
	case b.Home != "":
		return u, filepath.Join(u.Home, b.Home), nil
	case b.Spool != "":
		return u, filepath.Join(b.Spool, u.Name), nil
	}
	return u, filepath.Join("/var/mail", u.Name), nil
}

func (b *Mbox) log(ctx context.Context, d *mtakit.Delivery, r *mtakit.Recipient, err error) {
	if b.Logger != nil {
		b.Logger.ErrorContext(ctx, "mailbox delivery failed", "id", d.ID, "recipient", r.Address, "error", err)
	}
}

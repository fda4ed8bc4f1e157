package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Table says what stands under a key. ok is false when nothing does; an error means
// that the table could not answer, and the delivery waits. It is called from any number
// of goroutines. All tables of package lookup are Tables.
type Table interface {
	Lookup(ctx context.Context, key string) (value string, ok bool, err error)
}

// Aliases says where mail for a local name goes instead. *rewrite.Aliases is one. Both
// methods are called from any number of goroutines.
//
// A destination is one of: an address in wire form with its domain; the same behind a
// backslash, for a user's own mailbox, without aliases and .forward; "|command"; a file
// name that begins with "/".
type Aliases interface {
	// Destinations returns what the alias of an address says. ok is false when it has
	// none; an error is temporary.
	Destinations(ctx context.Context, address string) (list []string, ok bool, err error)
	// Forward returns what the text of an address's .forward file says.
	Forward(address, text string) ([]string, error)
}

// DeliveryAgent is queue.DeliveryAgent: one result for each recipient, always.
type DeliveryAgent interface {
	Deliver(ctx context.Context, d *mtakit.Delivery) []mtakit.Result
}

// Queue takes what goes on to other addresses. queue.Manager is one.
type Queue interface {
	Begin(ctx context.Context, size int64) (mtakit.Draft, error)
}

// Folders writes into Maildirs by their names, for the destinations that end in "/".
type Folders interface {
	// Deliver puts the fields and the message into the Maildir at an absolute path, as
	// this user. It returns nil when the message survives a crash of the machine.
	Deliver(ctx context.Context, dir string, user User, fields []mtakit.Field, m *mtakit.Message) error
}

// FoldersFunc is a function that is Folders.
type FoldersFunc func(ctx context.Context, dir string, user User, fields []mtakit.Field, m *mtakit.Message) error

// Deliver calls f.
func (f FoldersFunc) Deliver(ctx context.Context, dir string, user User, fields []mtakit.Field, m *mtakit.Message) error {
	return f(ctx, dir, user, fields, m)
}

// Agent is the delivery agent for local names. Its fields are not changed while it is in
// use.
type Agent struct {
	// Mailboxes gets the mail of who has no alias and no .forward: a maildir.Agent, a
	// Mbox. Whom it does not know it bounces. Required.
	Mailboxes DeliveryAgent
	// Queue gets the mail for addresses that are not ours. Required.
	Queue Queue
	// Domains has the domains whose addresses are delivered here; all others go to
	// Queue. nil means none, so that even local destinations take the way through it.
	Domains Table
	// Aliases is asked first. nil means that there are none, and no .forward files.
	Aliases Aliases
	// Users has lines of passwd(5) by name, such as lookup.Getent: who may have a .forward
	// file. nil means none.
	Users Table
	// DotForward is the name of that file in the home of a user, ".forward"; with a
	// Delimiter the same with the address extension behind it is looked for first.
	// "" means that there are no such files.
	DotForward string
	// Delimiter is the set of characters that begin an address extension; "" means none.
	Delimiter string
	// Commands runs the destinations that are commands; nil means that they are not
	// enabled, and that their mail waits (4.3.5).
	Commands *Commands
	// Files appends to the destinations that are files; nil means that they are not
	// enabled, as with Commands.
	Files *Files
	// Folders has the destinations that end in "/"; nil means that they are not enabled.
	Folders Folders
	// Default is who runs the commands and owns the files of aliases (default_privs).
	// nil means the user of the process, unless that is root: then they wait (4.3.5).
	Default *User
	// Hostname is the name in Received fields; "" means "localhost".
	Hostname string
	// Hops is the number of Received fields, ours included, at which a message that goes
	// on is in a loop; 0 means 50.
	Hops int
	// Limit is the most destinations of one recipient; 0 means 100,000.
	Limit int
	// Depth is the most aliases and .forward files on the way to a destination; 0 means
	// 100.
	Depth int
	// Logger is told of faults of the system and of the tables; nil is silent.
	Logger *slog.Logger
}

// Deliver delivers to each recipient for himself. Expanded means that all went well and
// that something went on through Queue: to addresses elsewhere, or to destinations that
// could not be delivered to now and are tried again by themselves. Delivered means that
// everything is at its end. Of several destinations the first that refused makes the
// recipient Bounced; what others got stays delivered. When none got anything, and one may
// get it later, the recipient is Deferred.
//
// The recipients who have no more than a mailbox go to Mailboxes together, after the
// others.
func (a *Agent) Deliver(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	results := make([]mtakit.Result, len(d.Recipients))
	report := func(i int, r mtakit.Result) {
		results[i] = r
		if d.Report != nil {
			d.Report(i, r)
		}
	}
	var plain []int
	for i := range d.Recipients {
		r := &d.Recipients[i]
		if looping(d.Message.Header, r.Address) {
			report(i, failed(5, 4, 6, "mail forwarding loop for "+r.Address))
			continue
		}
		switch all, err := a.expand(ctx, d.Envelope, r); {
		case err != nil:
			report(i, a.unexpanded(ctx, d, r, err))
		case len(all) == 1 && all[0].kind == toMailbox && all[0].text == r.Address && all[0].sender == d.Envelope.Sender:
			plain = append(plain, i)
		default:
			t := &attempt{agent: a, d: d, recipient: r}
			report(i, t.run(ctx, all))
		}
	}
	a.mailboxes(ctx, d, plain, report)
	return results
}

// mailboxes delivers to some of the recipients as they are, in one go: an agent for
// Maildirs makes what it writes for all of them durable together.
func (a *Agent) mailboxes(ctx context.Context, d *mtakit.Delivery, some []int, report func(int, mtakit.Result)) {
	if len(some) == 0 {
		return
	}
	shared := *d
	shared.Recipients = make([]mtakit.Recipient, len(some))
	for k, i := range some {
		shared.Recipients[k] = d.Recipients[i]
	}
	reported := make([]bool, len(some))
	shared.Report = func(k int, r mtakit.Result) {
		reported[k] = true
		report(some[k], r)
	}
	for k, r := range a.Mailboxes.Deliver(ctx, &shared) {
		if !reported[k] {
			report(some[k], r)
		}
	}
}

// unexpanded is the result for a recipient whose destinations are not known.
func (a *Agent) unexpanded(ctx context.Context, d *mtakit.Delivery, r *mtakit.Recipient, err error) mtakit.Result {
	a.log(ctx, d, r, err)
	if errors.Is(err, ErrDepth) {
		return failed(5, 4, 6, "unreasonable alias or .forward nesting for "+r.Address)
	}
	return failed(4, 3, 5, "alias expansion error for "+r.Address)
}

// Verify finds out whether the recipients have destinations, without delivering
// anything. Whom only Mailboxes can know is asked there, when it has a Verify method.
func (a *Agent) Verify(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	results := make([]mtakit.Result, len(d.Recipients))
	for i := range d.Recipients {
		results[i] = a.verify(ctx, d, &d.Recipients[i])
	}
	return results
}

func (a *Agent) verify(ctx context.Context, d *mtakit.Delivery, r *mtakit.Recipient) mtakit.Result {
	all, err := a.expand(ctx, d.Envelope, r)
	if err != nil {
		return a.unexpanded(ctx, d, r, err)
	}
	v, ok := a.Mailboxes.(interface {
		Verify(ctx context.Context, d *mtakit.Delivery) []mtakit.Result
	})
	if len(all) != 1 || all[0].kind != toMailbox || !ok {
		return mtakit.Result{Outcome: mtakit.Delivered, Status: smtp.EnhancedCode{2, 0, 0}, Diagnostic: fmt.Sprintf("leads to %d destinations", len(all))}
	}
	probe := *d
	probe.Recipients, probe.Report = []mtakit.Recipient{{Address: all[0].text}}, nil
	return v.Verify(ctx, &probe)[0]
}

// looping reports whether the message has been delivered for this address before.
func looping(h *mtakit.Header, address string) bool {
	for _, f := range h.All() {
		if f.Is("Delivered-To") && strings.EqualFold(f.Value(), address) {
			return true
		}
	}
	return false
}

func (a *Agent) log(ctx context.Context, d *mtakit.Delivery, r *mtakit.Recipient, err error) {
	if a.Logger != nil {
		a.Logger.ErrorContext(ctx, "local delivery failed", "id", d.ID, "recipient", r.Address, "error", err)
	}
}

// failed is a bounce when class is 5, and a deferral when it is 4.
func failed(class, subject, detail int, text string) mtakit.Result {
	r := mtakit.Result{Status: smtp.EnhancedCode{class, subject, detail}, Diagnostic: text}
	if class == 5 {
		r.Outcome = mtakit.Bounced
	}
	return r
}

package maildir

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/disk"
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
	// Quotas is asked with the recipient's address for what its Maildir may hold:
	// "10000000S,1000C" or a number of bytes, see ParseQuota; "0" is no quota. For
	// who is not in it the first line of the Maildir's maildirsize file counts, if
	// there is one. nil means that nothing is limited, and that no maildirsize file
	// is looked at.
	Quotas Table
	// DeferOverQuota lets mail for a full Maildir wait (4.2.2); false bounces it
	// (5.2.2).
	DeferOverQuota bool
	// UIDs and GIDs are asked with the recipient's address for the numbers of the
	// user and group that get what is made: the files, and the Maildir when it was
	// missing, which the process must be allowed to give away, as root is. A Maildir
	// that is somebody else's is refused (4.3.5), as are recipients that are not in
	// both tables. nil, both, means that all belongs to the user of the process.
	UIDs, GIDs Table
	// MinUID is the least number in UIDs (virtual_minimum_uid); 0 means 100.
	MinUID int
	// Hostname is the last part of file names; "" means "localhost".
	Hostname string
	// CRLF keeps the line ends of the wire; false writes LF.
	CRLF bool
	// SyncFS makes deliveries that wait at the same time durable by one syncfs(2)
	// of each file system with mailboxes: first their files, then their names.
	// That is several times faster under load, and writes what others have left
	// unwritten there too: it is for file systems that mail has for itself. An
	// error of one sync defers all deliveries that shared it. It is ignored where
	// syncfs cannot be relied on: elsewhere than on ext4 and Linux 5.8 or later.
	// false means that each file is synced by itself, and each folder once for the
	// deliveries that wait for it.
	SyncFS bool
	// Logger is told of faults of the system and of the table; nil is silent.
	Logger *slog.Logger

	mu    sync.Mutex
	store *store // nil before the first delivery and after Close
}

// Deliver puts the message into the Maildir of each recipient. The result of a
// recipient is Delivered (the Diagnostic names the file), Bounced with 5.1.1
// for an unknown user, 5.2.2 over the quota of Quotas and 5.4.6 for a loop, or
// Deferred for everything that is a fault of ours: 4.3.1 without space, 4.2.2 over
// the disk quota, 4.3.5 for a quota that cannot be read and a path that is not
// below Root, has ".." in it or does not end in "/", 4.3.0 for the rest. Results are reported as soon as they are on disk, those of some recipients
// at a time.
//
// A deferred message is in no mailbox, but for one case: see Dir.Deliver.
func (a *Agent) Deliver(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	results := make([]mtakit.Result, len(d.Recipients))
	for i := 0; i < len(results); i += sideBySide {
		n := min(len(results)-i, sideBySide)
		a.deliver(ctx, d, d.Recipients[i:i+n], results[i:i+n])
		for j := i; j < i+n && d.Report != nil; j++ {
			d.Report(j, results[j])
		}
	}
	return results
}

// sideBySide is how many recipients of a message share syncs. Each has three
// descriptors meanwhile, and a crash may repeat them all.
const sideBySide = 16

func (a *Agent) deliver(ctx context.Context, d *mtakit.Delivery, recipients []mtakit.Recipient, results []mtakit.Result) {
	letters := make([]*letter, 0, len(recipients))
	index := make([]int, 0, len(recipients)) // of the letters' recipients
	for i := range recipients {
		l, failure := a.address(ctx, d, &recipients[i])
		if failure != nil {
			results[i] = *failure
			continue
		}
		letters, index = append(letters, l), append(index, i)
	}
	if s, err := a.open(); err == nil {
		s.deliver(ctx, Dir{Hostname: a.Hostname, CRLF: a.CRLF}, d.Message, letters)
	} else {
		for _, l := range letters {
			l.err = err
		}
	}
	for n, l := range letters {
		if errors.Is(l.err, errOverQuota) {
			results[index[n]] = a.full()
			continue
		}
		if r := &recipients[index[n]]; l.err != nil {
			a.log(ctx, d, r, l.err)
			results[index[n]] = deferral(l.err)
			continue
		}
		results[index[n]] = mtakit.Result{Outcome: mtakit.Delivered, Status: smtp.EnhancedCode{2, 0, 0},
			Diagnostic: "delivered to maildir " + path.Join(l.path, "new", l.final)}
	}
}

// open returns what deliveries share.
func (a *Agent) open() (*store, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.store == nil {
		tree, err := disk.OpenTree(a.Root)
		if err != nil {
			return nil, err
		}
		a.store = &store{tree: tree, root: a.Root, syncFS: a.SyncFS, logger: a.Logger}
	}
	return a.store, nil
}

// Close gives the descriptors back that the agent keeps: of Root, and with SyncFS
// of each file system with mailboxes, which cannot be unmounted before. It is
// called when no delivery is under way; a later one opens them again.
func (a *Agent) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.store == nil {
		return nil
	}
	err := a.store.close()
	a.store = nil
	return err
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
	// A table that puts local parts into paths gets "../bob" from whoever likes.
	case !strings.HasSuffix(dir, "/") || slices.Contains(strings.Split(dir, "/"), ".."):
		err := fmt.Errorf("%w: %q", errPath, dir)
		a.log(ctx, d, r, err)
		result := deferral(err)
		return "", &result
	}
	return dir, nil
}

// Verify finds out whether the recipients have mailboxes, without making one, and
// with Quotas whether the message fits, of which only the size matters: Delivered
// means that both is so, and the other results are those of Deliver. Without Quotas
// it does not look at the disk: a mailbox is made by its first message.
func (a *Agent) Verify(ctx context.Context, d *mtakit.Delivery) []mtakit.Result {
	results := make([]mtakit.Result, len(d.Recipients))
	for i := range d.Recipients {
		results[i] = mtakit.Result{Outcome: mtakit.Delivered, Status: smtp.EnhancedCode{2, 0, 0}, Diagnostic: "mailbox is known"}
		if failure := a.verify(ctx, d, &d.Recipients[i]); failure != nil {
			results[i] = *failure
		}
	}
	return results
}

func (a *Agent) verify(ctx context.Context, d *mtakit.Delivery, r *mtakit.Recipient) *mtakit.Result {
	dir, failure := a.mailbox(ctx, d, r)
	if failure != nil {
		return failure
	}
	l := &letter{path: strings.Trim(dir, "/"), size: d.Message.Size()}
	if failure := a.limit(ctx, d, r, l); failure != nil || !l.limited {
		return failure
	}
	s, err := a.open()
	if err == nil {
		err = s.room(l)
	}
	if err == nil {
		return nil
	}
	result := a.full()
	if !errors.Is(err, errOverQuota) {
		a.log(ctx, d, r, err)
		result = deferral(err)
	}
	return &result
}

var errPath = errors.New(`the path of a Maildir ends in "/" and has no ".." in it`)

// address returns what goes to a recipient, or why nothing does.
func (a *Agent) address(ctx context.Context, d *mtakit.Delivery, r *mtakit.Recipient) (*letter, *mtakit.Result) {
	if looping(d.Message.Header, r.Address) {
		result := failed(5, 4, 6, "mail forwarding loop for "+r.Address)
		return nil, &result
	}
	dir, failure := a.mailbox(ctx, d, r)
	if failure != nil {
		return nil, failure
	}
	fields, err := addedFields(d.Envelope.Sender, r)
	if err != nil {
		a.log(ctx, d, r, err)
		result := deferral(err)
		return nil, &result
	}
	l := &letter{path: strings.Trim(dir, "/"), fields: fields}
	if failure := a.limit(ctx, d, r, l); failure != nil {
		return nil, failure
	}
	if failure := a.own(ctx, d, r, l); failure != nil {
		return nil, failure
	}
	return l, nil
}

// limit asks for the recipient's quota.
func (a *Agent) limit(ctx context.Context, d *mtakit.Delivery, r *mtakit.Recipient, l *letter) *mtakit.Result {
	if a.Quotas == nil {
		return nil
	}
	value, ok, err := a.Quotas.Lookup(ctx, r.Address)
	if err != nil {
		a.log(ctx, d, r, err)
		result := failed(4, 3, 0, "mail system configuration error: quota table")
		return &result
	}
	if l.quota, err = ParseQuota(value); err != nil {
		a.log(ctx, d, r, err)
		result := deferral(err)
		return &result
	}
	l.limited = !ok || l.quota != Quota{}
	return nil
}

// full is the result for a recipient whose Maildir has no room.
func (a *Agent) full() mtakit.Result {
	class := 5
	if a.DeferOverQuota {
		class = 4
	}
	return failed(class, 2, 2, "mailbox full: quota exceeded")
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
	case errors.Is(err, errOwner):
		return failed(4, 3, 5, "mail system configuration error: mailbox owner")
	case errors.Is(err, ErrQuota):
		return failed(4, 3, 5, "mail system configuration error: quota")
	case errors.Is(err, errPath), errors.Is(err, disk.ErrEscape):
		return failed(4, 3, 5, "mail system configuration error: mailbox path")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return failed(4, 3, 2, "delivery interrupted")
	}
	return failed(4, 3, 0, "cannot write to the mailbox")
}

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

package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/mtakit/mtakit"
)

// Maildrop takes mail that local programs leave as files in a directory, also
// while nobody serves it. Drop writes such a file, and so can a script.
//
// A submission is written under a name that begins with "." or "tmp", and then
// renamed to any other name. It is text, with lines ending in LF or CRLF:
//
//	version: 1
//	sender: <alice@example.org> BODY=8BITMIME RET=HDRS ENVID=42
//	recipient: <bob@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@example.net
//	recipient: carol@example.net
//
//	Subject: hello
//
//	Hi
//
// There is one sender, empty for the null sender, and one recipient at least;
// behind the first empty line comes the message. A sender and a recipient are
// what stands behind MAIL FROM: and RCPT TO:, with the parameters BODY, SMTPUTF8,
// RET and ENVID, and NOTIFY and ORCPT (RFC 3461); without parameters the brackets
// may be missing. Further lines may be there:
//
//	version: 1                         the first line; another version stays where it is
//	length: 12                         of the message as it stands here, bytes
//	full-name: Alice Example           of the author, for Envelope.Attrs
//	not-before: 2030-01-01T08:00:00Z   no delivery before (RFC 3339)
//	attribute: name=value              for Envelope.Attrs, both in xtext (RFC 3461, section 4);
//	                                   only from root and the server's own user
//
// A file that is no submission, that is refused for good, or that is no plain
// file, is moved to Corrupt, with the reason beside it in NAME.reason. One that
// has to wait, because the queue is full or a table is down, stays, and is tried
// again after 1, 2, 4 ... 60 s.
//
// # Who may
//
// Whoever may write into the directory may send mail as anybody, but not
// namelessly: the owner of the file is the submitter. He stands in the Received
// field and, under AttrUID, in Envelope.Attrs; Submitters says whether he may. A
// directory that everybody may write is refused. Programs of other users write
// by way of a helper that has the directory's group (setgid), or hand their mail
// to Submit, by way of a socket that knows its peers.
//
// A crash between the acceptance of a message and the removal of its file makes
// the message double.
type Maildrop struct {
	// Dir is the directory. It exists. Required, but for Submit.
	Dir string
	// Queue takes the messages. Required.
	Queue Queue
	// Hostname is our name in Received, "mx.example.org"; "" means what
	// os.Hostname says.
	Hostname string
	// Rewriter completes the addresses of the envelope before the Filter sees
	// them, "root" to "root@example.org"; nil leaves them as they are.
	Rewriter Rewriter
	// Filter is asked about each message; nil means that all are accepted.
	Filter Filter
	// Submitters has the users who may submit mail, by login name, or by user ID
	// where there is none. Root and the server's own user always may. A table that
	// cannot answer makes the others wait. nil means all.
	Submitters Table
	// Corrupt is the directory for what cannot be accepted, on the same file
	// system; "" means "corrupt" in Dir. It is made when it is needed.
	Corrupt string
	// QueueRun is the time between two looks; zero means 1 s.
	QueueRun time.Duration
	// MaxSize is how many bytes a submission may have; zero means 10240000, and a
	// negative one no limit.
	MaxSize int64
	// MaxRecipients is how many recipients it may have; zero means 50000.
	MaxRecipients int
	// MaxHops is the number of Received fields, ours included, at which a message
	// is in a loop. Zero means 50.
	MaxHops int
	// Concurrency is how many files are taken at a time; zero means 32.
	Concurrency int
	// Logger is told of what is taken, moved away, or has to wait; nil is silent.
	Logger *slog.Logger
	// Observer is told of messages that were received; nil means nobody is.
	Observer mtakit.Observer
}

// Names in Envelope.Attrs.
const (
	// AttrUID has the submitter's user ID in decimal digits. A submission cannot
	// set it.
	AttrUID = "uid"
	// AttrFullName has the author's name for a From field, "Alice Example", as the
	// submission has it.
	AttrFullName = "fullname"
)

// defaultRecipients is how many recipients a submission may have.
const defaultRecipients = 50000

// Rewriter completes an address in wire form: *rewrite.Trivial does. It is never
// asked for the null sender. It may be called from any number of goroutines. An
// error makes the submission wait.
type Rewriter interface {
	Rewrite(ctx context.Context, address string) (string, error)
}

// Table has users or domains: those of package lookup do. Who is found may, with
// any value. It may be called from any number of goroutines.
type Table interface {
	Lookup(ctx context.Context, key string) (value string, ok bool, err error)
}

// ErrSubmitter is wrapped, beside ErrSubmission, when the user may not submit mail.
var ErrSubmitter = errors.New("queue: user may not submit mail")

// Serve looks into the directory until ctx ends, and returns nil then. It
// returns an error when the directory cannot be opened.
func (d *Maildrop) Serve(ctx context.Context) error {
	p, err := d.open()
	if err != nil {
		return err
	}
	defer p.root.Close()
	look := time.NewTicker(cmp.Or(max(d.QueueRun, 0), time.Second))
	defer look.Stop()
	for {
		_, _ = p.look(ctx) // what it says is in the log
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// Look takes what is in the directory now, and returns how many messages were
// accepted. What has to wait is in the error, the first few of it.
func (d *Maildrop) Look(ctx context.Context) (accepted int, err error) {
	p, err := d.open()
	if err != nil {
		return 0, err
	}
	defer p.root.Close()
	return p.look(ctx)
}

// Submit takes one submission, in the format of the files, from the user with
// this ID, and returns the queue ID, "" when the filter threw the message away.
// An error that wraps ErrSubmission is for good, with the *smtp.SMTPError in it
// when that is a refusal of the filter; any other is temporary. It may be called
// from any number of goroutines.
func (d *Maildrop) Submit(ctx context.Context, uid int, r io.Reader) (id string, err error) {
	if limit := d.maxSize(); limit > 0 {
		r = &bounded{r, limit, limit}
	}
	return d.submit(ctx, r, 0, origin{uid: uid})
}

// bounded is a reader in which more than limit bytes are an error.
type bounded struct {
	r           io.Reader
	limit, left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("%w: more than %d bytes", ErrSubmission, b.limit)
	}
	return n, err
}

func (d *Maildrop) maxSize() int64 { return cmp.Or(d.MaxSize, 10240000) }

// origin says where a submission came from.
type origin struct {
	uid  int    // -1 means that it is not known
	name string // of the file
}

// submit reads a submission and commits it.
func (d *Maildrop) submit(ctx context.Context, r io.Reader, size int64, from origin) (id string, err error) {
	if err := d.permitted(ctx, from.uid); err != nil {
		return "", err
	}
	in := newSubmission(r, cmp.Or(d.MaxRecipients, defaultRecipients))
	env, err := d.envelope(ctx, in, from)
	if err != nil {
		return "", err
	}
	out, err := d.Queue.Begin(ctx, cmp.Or(size, max(in.length, 0)))
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil || id == "" {
			_ = out.Discard()
		}
	}()
	if err := in.message(out); err != nil {
		return "", err
	}
	m, err := out.Message(ctx)
	if err != nil {
		return "", err
	}
	if n := cmp.Or(d.MaxHops, 50); m.Header.Count("Received")+1 >= n {
		return "", fmt.Errorf("%w: %d Received fields: the message is in a loop", ErrSubmission, n)
	}
	if keep, err := filtered(ctx, d.Filter, d.log(), env, m); err != nil || !keep {
		return "", err
	}
	// Filters see the message as it was submitted.
	trace, err := d.trace(env.Arrival, from)
	if err != nil {
		return "", err
	}
	m.Header.Prepend(trace)
	length := m.Size()
	if id, err = out.Commit(ctx, env, m); err != nil {
		return "", err
	}
	d.received(ctx, id, env, length, from)
	return id, nil
}

// permitted returns nil when the user may submit mail.
func (d *Maildrop) permitted(ctx context.Context, uid int) error {
	if d.Submitters == nil || trusted(uid) {
		return nil
	}
	name := strconv.Itoa(uid)
	if u, err := user.LookupId(name); err == nil && u.Username != "" {
		name = u.Username
	}
	_, ok, err := d.Submitters.Lookup(ctx, name)
	switch {
	case err != nil:
		return fmt.Errorf("submitters: %w", err)
	case !ok:
		return fmt.Errorf("%w: %w: %s (%d)", ErrSubmission, ErrSubmitter, name, uid)
	}
	return nil
}

// trusted reports whether a user can change the queue's files anyway.
func trusted(uid int) bool { return uid == 0 || uid == os.Geteuid() }

// envelope reads the envelope, adds what we know, and completes its addresses.
func (d *Maildrop) envelope(ctx context.Context, in *submission, from origin) (*mtakit.Envelope, error) {
	env, err := in.envelope()
	if err != nil {
		return nil, err
	}
	if in.attributes && !trusted(from.uid) {
		return nil, fmt.Errorf("%w: attributes from user %d", ErrSubmission, from.uid)
	}
	if err := checkAttrs(env.Attrs); err != nil {
		return nil, err
	}
	delete(env.Attrs, AttrUID)
	if from.uid >= 0 {
		if env.Attrs == nil {
			env.Attrs = make(map[string]string, 1)
		}
		env.Attrs[AttrUID] = strconv.Itoa(from.uid)
	}
	env.Arrival = time.Now()
	return env, d.rewrite(ctx, env)
}

func (d *Maildrop) rewrite(ctx context.Context, env *mtakit.Envelope) (err error) {
	if d.Rewriter == nil {
		return nil
	}
	if env.Sender != "" {
		if env.Sender, err = d.Rewriter.Rewrite(ctx, env.Sender); err != nil {
			return fmt.Errorf("sender: %w", err)
		}
	}
	for i := range env.Recipients {
		r := &env.Recipients[i]
		if r.Address, err = d.Rewriter.Rewrite(ctx, r.Address); err != nil {
			return fmt.Errorf("recipient: %w", err)
		}
	}
	return nil
}

func (d *Maildrop) received(ctx context.Context, id string, env *mtakit.Envelope, size int64, from origin) {
	attrs := []any{"id", id, "uid", from.uid, "from", env.Sender, "size", size, "nrcpt", len(env.Recipients)}
	if from.name != "" { // Submit has none
		attrs = append(attrs, "file", from.name)
	}
	if env.Hold != "" {
		attrs = append(attrs, "hold", env.Hold)
	}
	d.log().Info("picked up", attrs...)
	if d.Observer != nil {
		d.Observer.Observe(ctx, mtakit.Event{Time: time.Now(), Kind: mtakit.EventReceived, ID: id,
			Sender: env.Sender, Size: size, Attrs: env.Attrs})
	}
}

func (d *Maildrop) log() *slog.Logger {
	if d.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return d.Logger
}

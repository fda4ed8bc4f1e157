package smtpserver

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Intake is the mail flow of a server: a Backend whose sessions ask the
// restrictions, stream the message into the queue, have it filtered, and answer
// "250 2.0.0 Ok: queued as ID" once it is durable. It may be used by any number
// of servers at once; its fields must not be changed any more then.
//
// Filters see the message as it was received. The fields that are ours stand
// above it, from the top: those of PREPEND, Received, and what AddMissing adds.
type Intake struct {
	// Queue takes the messages. It is the only required field.
	Queue Queue

	// Hostname is our name in Received and Message-ID, "mx.example.org"; ""
	// means the Server's, and what os.Hostname says under another server.
	Hostname string
	// Restrictions is asked at every stage of a session; nil refuses every
	// recipient with 554 5.7.1, since an open relay must be asked for.
	Restrictions Restriction
	// Filter looks at each message before it is queued, and one with a header of
	// more than mtakit.MaxHeader bytes, which filters do not see whole, is
	// refused: 552 5.3.4; nil means none.
	Filter ContentFilter
	// Rewriter completes addresses before restrictions see them, "postmaster" to
	// "postmaster@example.org"; nil leaves them as they are.
	Rewriter Rewriter
	// Authenticator has the SASL mechanisms; nil means that AUTH is not offered.
	Authenticator Authenticator
	// Flusher answers ETRN; nil means that ETRN is not offered.
	Flusher Flusher
	// Resolver finds the client's host name; nil means that nobody looks, and
	// Client.Name stays "".
	Resolver Resolver
	// ResolveTimeout bounds the search for the name; 0 means 10 seconds.
	ResolveTimeout time.Duration

	// RequireTLS refuses MAIL on a connection without TLS: 530 5.7.0; false
	// means that it is taken.
	RequireTLS bool
	// RequireAuth refuses MAIL before AUTH: 530 5.7.0; false means that it is
	// taken.
	RequireAuth bool
	// DisableVRFY answers VRFY with 502 5.5.1; false means that it tells what
	// RCPT would.
	DisableVRFY bool

	// MaxHops is the number of Received fields, ours included, at which a message
	// is in a loop: 554 5.4.0 (hopcount_limit). 0 means 50.
	MaxHops int
	// AddMissing chooses the sessions whose messages get the Date, Message-ID
	// and From (or, in a resent message, Resent- fields) that they lack: it is
	// asked at the end of the message and says Permit; nil means none. Programs
	// that speak to their own server (submission) leave these out; for
	// strangers it is not ours to add them (RFC 6409, section 8).
	AddMissing Restriction

	// Logger gets refusals, received messages and the causes of faults; nil
	// means silence.
	Logger *slog.Logger
	// Observer is told of sessions, refusals and messages; nil means nobody is.
	Observer mtakit.Observer
}

var (
	_ Backend          = (*Intake)(nil)
	_ smtp.BackendFunc = (*Intake)(nil).GoSMTP
)

// ErrNoQueue is what NewSession returns, and the client is told 421, when an
// Intake has no Queue.
var ErrNoQueue = errors.New("smtpserver: Intake without Queue")

// Queue takes messages: *queue.Manager does. See queue.Queue for the contract.
type Queue interface {
	Begin(ctx context.Context, size int64) (mtakit.Draft, error)
}

// Restriction decides about clients, senders and recipients: restrictions.Stages
// and restrictions.List do. See restrictions.Restriction for the contract. An
// error that is no *smtp.SMTPError is answered with 451 4.3.0.
type Restriction interface {
	Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error)
}

// ContentFilter looks at a message and may change it and its envelope:
// filter.Chain does. An error that is no *smtp.SMTPError, and a panic, are
// answered with 451 4.3.0: the client keeps the message and tries again.
type ContentFilter interface {
	Filter(ctx context.Context, env *mtakit.Envelope, m *mtakit.Message) (mtakit.Verdict, error)
}

// Rewriter completes an address in wire form. It is never asked for the null
// reverse-path.
type Rewriter interface {
	Rewrite(ctx context.Context, address string) (string, error)
}

// Authenticator has SASL mechanisms: *auth.SASL does. Start begins an exchange;
// ctx ends with the session. What its servers' errors mean, see Identity.
type Authenticator interface {
	Mechanisms() []string
	Start(ctx context.Context, client mtakit.Client, mech string) (sasl.Server, error)
}

// Flusher starts the delivery of what waits for a site, "example.org":
// *queue.Manager does. A *smtp.SMTPError is the reply; any other error is
// answered with 458 4.3.0. It must bound what it does for a client that asks
// again and again, and is called from any number of goroutines.
type Flusher interface {
	FastFlush(ctx context.Context, site string) error
}

// Funcs that are what their names say.
type (
	QueueFunc         func(ctx context.Context, size int64) (mtakit.Draft, error)
	RestrictionFunc   func(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error)
	ContentFilterFunc func(ctx context.Context, env *mtakit.Envelope, m *mtakit.Message) (mtakit.Verdict, error)
	RewriterFunc      func(ctx context.Context, address string) (string, error)
	FlusherFunc       func(ctx context.Context, site string) error
)

// Begin calls f.
func (f QueueFunc) Begin(ctx context.Context, size int64) (mtakit.Draft, error) { return f(ctx, size) }

// Check calls f.
func (f RestrictionFunc) Check(ctx context.Context, s *mtakit.Session) (mtakit.Verdict, error) {
	return f(ctx, s)
}

// Filter calls f.
func (f ContentFilterFunc) Filter(ctx context.Context, env *mtakit.Envelope, m *mtakit.Message) (mtakit.Verdict, error) {
	return f(ctx, env, m)
}

// FastFlush calls f.
func (f FlusherFunc) FastFlush(ctx context.Context, site string) error { return f(ctx, site) }

// Rewrite calls f.
func (f RewriterFunc) Rewrite(ctx context.Context, address string) (string, error) {
	return f(ctx, address)
}

// NewSession begins the session of a connection: it finds the client's name and
// asks the restrictions at StageConnect. A refusal there is the greeting.
func (in *Intake) NewSession(ctx context.Context, c *Conn) (smtp.Session, error) {
	if in.Queue == nil {
		return nil, ErrNoQueue
	}
	v := &visit{in: in, ctx: ctx, host: in.hostname(c), facts: c.Client}
	// STARTTLS makes a second session of the same connection: it keeps the name.
	if in.Resolver != nil && c.client.Name == "" {
		c.client.Name, c.client.ReverseName = in.clientName(ctx, c.client.Addr.Addr())
	}
	v.secured = func() bool { return c.tls != nil && !c.server.ImplicitTLS }
	v.second = v.secured()
	if err := v.connect(); err != nil {
		return nil, err
	}
	return v, nil
}

func (in *Intake) hostname(c *Conn) string {
	if in.Hostname != "" {
		return in.Hostname
	}
	if c != nil {
		return c.Server().hostname()
	}
	return (&Server{}).hostname()
}

func (in *Intake) observe(ctx context.Context, e mtakit.Event) {
	if in.Observer != nil {
		e.Time = time.Now()
		in.Observer.Observe(ctx, e)
	}
}

func (in *Intake) log(ctx context.Context, level slog.Level, msg string, args ...any) {
	if in.Logger != nil {
		in.Logger.Log(ctx, level, msg, args...)
	}
}

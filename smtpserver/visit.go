package smtpserver

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// visit is a session of Intake: one client's stay, from its connection to its
// leaving.
type visit struct {
	in      *Intake
	ctx     context.Context
	host    string               // our name
	facts   func() mtakit.Client // what the protocol knows of the client now
	secured func() bool          // STARTTLS was done on the connection
	second  bool                 // this session was made by STARTTLS
	s       mtakit.Session

	// What defer_if_permit has left at a stage holds for the stages after it: of
	// the connection, of the greeting, and of MAIL for each recipient.
	atConnect, atHELO, atMail *smtp.SMTPError

	count   int // transactions
	effects mtakit.Verdict
	discard bool
	draft   sink
	asked   bool // BeforeData has said yes
}

// sink is the draft of the message, and why it could not be written.
type sink struct {
	mtakit.Draft
	err error
}

// Write appends to the draft.
func (s *sink) Write(p []byte) (int, error) {
	n, err := s.Draft.Write(p)
	if err != nil && s.err == nil {
		s.err = err
	}
	return n, err
}

var (
	_ AuthenticatedSession = (*visit)(nil)
	_ BeforeDataSession    = (*visit)(nil)
	_ ETRNSession          = (*visit)(nil)
	_ HELOSession          = (*visit)(nil)
	_ VRFYSession          = (*visit)(nil)
	_ smtp.AuthSession     = (*visit)(nil)
)

// connect is the beginning of the session.
func (v *visit) connect() error {
	v.refresh()
	if !v.second {
		v.in.observe(v.ctx, mtakit.Event{Kind: mtakit.EventConnected, Session: v.s.ID})
	}
	err := v.ask(mtakit.StageConnect)
	v.atConnect, v.atHELO = v.s.DeferIfPermit, v.s.DeferIfPermit
	if err != nil {
		v.in.observe(v.ctx, mtakit.Event{Kind: mtakit.EventDisconnected, Session: v.s.ID})
	}
	return err
}

// refresh takes over what the protocol has learned.
func (v *visit) refresh() { v.s.Client = v.facts() }

// HELO asks the restrictions about the name.
func (v *visit) HELO(_ context.Context, _, _ string, keywords []string) ([]string, error) {
	v.Reset()
	v.refresh()
	v.s.DeferIfPermit = v.atConnect
	err := v.ask(mtakit.StageHELO)
	v.atHELO = v.s.DeferIfPermit
	if v.in.Flusher == nil {
		keywords = slices.DeleteFunc(keywords, func(k string) bool { return k == "ETRN" })
	}
	return keywords, err
}

var (
	wantTLS = &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0},
		Message: "Must issue a STARTTLS command first"}
	wantAuth = &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0},
		Message: "Authentication required"}
	relayDenied   = smtp.EnhancedCode{5, 7, 1}
	lookupFailure = smtp.EnhancedCode{4, 3, 0}
)

// Mail begins a transaction.
func (v *visit) Mail(from string, opts *smtp.MailOptions) error {
	v.Reset()
	v.refresh()
	v.s.Stage = mtakit.StageMail
	switch {
	case v.in.RequireTLS && !v.s.TLS.On():
		return v.refused(wantTLS, from, "")
	case v.in.RequireAuth && v.s.Login == "":
		return v.refused(wantAuth, from, "")
	}
	sender, err := v.complete(from)
	if err != nil {
		return v.refused(err, from, "")
	}
	env := &mtakit.Envelope{Sender: sender, Client: v.s.Client, Arrival: time.Now()}
	if opts != nil {
		env.Options = *opts
		v.s.Size = opts.Size
	}
	if env.Client.Protocol == "" { // MAIL without HELO
		env.Client.Protocol = "SMTP"
	}
	if env.Options.UTF8 {
		env.Client.Protocol = unicodeProtocol(env.Client.Protocol)
	}
	v.count++
	v.s.Envelope = env
	if err := v.ask(mtakit.StageMail); err != nil {
		v.Reset()
		return err
	}
	v.atMail = v.s.DeferIfPermit
	return nil
}

// unicodeProtocol names the protocol of a message with SMTPUTF8 (RFC 6531,
// section 4.3): "UTF8SMTPS" for "ESMTPS".
func unicodeProtocol(name string) string {
	if rest, ok := strings.CutPrefix(name, "E"); ok {
		name = rest
	}
	return "UTF8" + name
}

// Rcpt adds a recipient.
func (v *visit) Rcpt(to string, opts *smtp.RcptOptions) error {
	env := v.s.Envelope
	if env == nil {
		return &smtp.SMTPError{Code: 503, EnhancedCode: smtp.EnhancedCode{5, 5, 1}, Message: "Error: need MAIL command"}
	}
	address, err := v.complete(to)
	if err != nil {
		return v.refused(err, env.Sender, to)
	}
	r := mtakit.Recipient{Address: address}
	if address != to {
		r.Original = to
	}
	if opts != nil {
		r.Options = *opts
	}
	if err := v.checkRecipient(mtakit.StageRcpt, &r, to); err != nil {
		return err
	}
	if !slices.ContainsFunc(env.Recipients, func(o mtakit.Recipient) bool { return sameRecipient(&o, &r) }) {
		env.Recipients = append(env.Recipients, r)
	}
	return nil
}

// sameRecipient reports whether a second RCPT says nothing new: cleanup(8) drops
// those too.
func sameRecipient(a, b *mtakit.Recipient) bool {
	return a.Address == b.Address && a.Original == b.Original &&
		a.Options.OriginalRecipient == b.Options.OriginalRecipient &&
		slices.Equal(a.Options.Notify, b.Options.Notify)
}

// checkRecipient asks whether mail for r is taken. A bare "postmaster" always is
// (RFC 5321, section 4.5.1), as in Postfix.
func (v *visit) checkRecipient(stage mtakit.Stage, r *mtakit.Recipient, given string) error {
	if v.in.Restrictions == nil {
		return v.refused(&smtp.SMTPError{Code: 554, EnhancedCode: relayDenied,
			Message: "<" + given + ">: Relay access denied"}, v.sender(), given)
	}
	if strings.EqualFold(given, "postmaster") || v.discard {
		return nil
	}
	v.s.Recipient = r
	v.s.DeferIfPermit = v.atMail
	err := v.ask(stage)
	v.s.Recipient, v.s.DeferIfPermit = nil, v.atMail
	return err
}

// VRFY answers as RCPT would.
func (v *visit) VRFY(_ context.Context, address string) error {
	if v.in.DisableVRFY {
		return &smtp.SMTPError{Code: 502, EnhancedCode: smtp.EnhancedCode{5, 5, 1}, Message: "VRFY command is disabled"}
	}
	v.refresh()
	full, err := v.complete(address)
	if err != nil {
		return v.refused(err, v.sender(), address)
	}
	if v.s.Envelope == nil {
		// Restrictions that look at the recipient may look at the envelope.
		v.s.Envelope = &mtakit.Envelope{Client: v.s.Client}
		v.atMail = v.atHELO
		defer v.Reset()
	}
	effects, discard := v.effects, v.discard
	err = v.checkRecipient(mtakit.StageVRFY, &mtakit.Recipient{Address: full}, address)
	v.effects, v.discard = effects, discard
	return err
}

// complete has an address rewritten.
func (v *visit) complete(address string) (string, error) {
	if v.in.Rewriter == nil || address == "" {
		return address, nil
	}
	full, err := v.in.Rewriter.Rewrite(v.ctx, address)
	if err == nil {
		return full, nil
	}
	if reply, ok := mtakit.AsReply(err); ok {
		return "", reply
	}
	v.log(slog.LevelError, "address could not be rewritten", "address", address, "err", err)
	return "", lookupFailed(address)
}

// lookupFailed is Postfix's answer when a table or the DNS gives none.
func lookupFailed(what string) *smtp.SMTPError {
	return &smtp.SMTPError{Code: 451, EnhancedCode: lookupFailure, Message: "<" + what + ">: Temporary lookup failure"}
}

// Reset ends the transaction.
func (v *visit) Reset() {
	v.drop()
	v.s.Envelope, v.s.Recipient, v.s.Size = nil, nil, 0
	v.s.DeferIfPermit, v.atMail = v.atHELO, nil
	v.effects, v.discard, v.asked = mtakit.Verdict{}, false, false
}

// drop throws away a message that was not committed.
func (v *visit) drop() {
	if v.draft.Draft == nil {
		return
	}
	if err := v.draft.Discard(); err != nil {
		v.log(slog.LevelWarn, "draft could not be discarded", "err", err)
	}
	v.draft = sink{}
}

// Logout ends the session.
func (v *visit) Logout() error {
	v.Reset()
	if !v.second && v.secured() {
		return nil // STARTTLS: the client stays
	}
	v.in.observe(v.ctx, mtakit.Event{Kind: mtakit.EventDisconnected, Session: v.s.ID})
	return nil
}

func (v *visit) sender() string {
	if v.s.Envelope == nil {
		return ""
	}
	return v.s.Envelope.Sender
}

// transaction is the ID that Received shows: the session's, and which of its
// messages this is. The queue ID is known only when the field is already
// written; the line "received" in the log has both.
func (v *visit) transaction() string { return v.s.ID + "-" + strconv.Itoa(v.count) }

func (v *visit) log(level slog.Level, msg string, args ...any) {
	if v.in.Logger == nil || !v.in.Logger.Enabled(v.ctx, level) {
		return
	}
	v.in.Logger.With("session", v.s.ID, "client", v.s.Addr.String()).Log(v.ctx, level, msg, args...)
}

// skip reads what is left of a message that nobody wants.
func skip(r io.Reader) (int64, error) { return io.Copy(io.Discard, r) }

package local

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// attrRest is the attribute of an envelope that is the rest of an earlier attempt: the
// digests of the destinations that are left, with spaces between.
const attrRest = "local.rest"

// maxRest is how many destinations may be left over for a message of their own. With
// more the recipient is deferred as a whole, and those that got the mail get it again.
const maxRest = 200

const defaultHops = 50

var errDisabled = errors.New("not enabled")

// attempt is the delivery for one recipient.
type attempt struct {
	agent     *Agent
	d         *mtakit.Delivery
	recipient *mtakit.Recipient
}

// run delivers to what is at its end here, sends on the rest, and says how it went.
// What goes on goes first: when that fails, nothing has been delivered twice.
func (t *attempt) run(ctx context.Context, all []destination) mtakit.Result {
	own, away := t.divide(all)
	if len(away) > 0 && t.d.Message.Header.Count("Received")+1 >= cmp.Or(t.agent.Hops, defaultHops) {
		return failed(5, 4, 6, "too many hops")
	}
	for _, group := range away {
		if err := t.forward(ctx, group); err != nil {
			return t.notForwarded(ctx, err)
		}
	}
	var first *mtakit.Result // that refused
	var waiting []destination
	var last, wait mtakit.Result
	boxes := t.mailboxes(ctx, own)
	for i := range own {
		if own[i].kind == toMailbox {
			last, boxes = boxes[0], boxes[1:]
		} else {
			last = t.direct(ctx, &own[i])
		}
		switch last.Outcome {
		case mtakit.Bounced:
			if first == nil {
				refused := last
				first = &refused
			}
		case mtakit.Deferred:
			wait, waiting = last, append(waiting, own[i])
		}
	}
	if len(waiting) > 0 {
		if len(away) == 0 && len(waiting) == len(own) || len(waiting) > maxRest {
			return wait
		}
		if err := t.postpone(ctx, t.d.Envelope.Sender, waiting); err != nil {
			return t.notForwarded(ctx, err)
		}
	}
	switch {
	case first != nil:
		return *first
	case len(all) == 1 && len(own) == 1:
		return last
	case len(away) > 0 || len(waiting) > 0:
		return mtakit.Result{Outcome: mtakit.Expanded, Status: smtp.EnhancedCode{2, 0, 0}, Diagnostic: fmt.Sprintf("expanded to %d destinations", len(all))}
	}
	return mtakit.Result{Outcome: mtakit.Delivered, Status: smtp.EnhancedCode{2, 0, 0}, Diagnostic: fmt.Sprintf("delivered to %d destinations", len(all))}
}

// group is what goes on under one sender.
type group struct {
	sender    string
	addresses []destination
	direct    []destination // in the name of an owner: their failures are his
}

// divide parts what is delivered at once from what goes into the queue.
func (t *attempt) divide(all []destination) (own []destination, away []*group) {
	bySender := map[string]*group{}
	for _, to := range all {
		if to.kind != toAddress && to.sender == t.d.Envelope.Sender {
			own = append(own, to)
			continue
		}
		g := bySender[to.sender]
		if g == nil {
			g = &group{sender: to.sender}
			bySender[to.sender] = g
			away = append(away, g)
		}
		if to.kind == toAddress {
			g.addresses = append(g.addresses, to)
		} else {
			g.direct = append(g.direct, to)
		}
	}
	return own, away
}

// forward puts what goes on under one sender into the queue: the addresses as one
// message, and what is delivered in the name of an owner as others.
func (t *attempt) forward(ctx context.Context, g *group) error {
	if len(g.addresses) > 0 {
		if err := t.send(ctx, g); err != nil {
			return err
		}
	}
	for some := range slices.Chunk(g.direct, maxRest) {
		if err := t.postpone(ctx, g.sender, some); err != nil {
			return err
		}
	}
	return nil
}

func (t *attempt) send(ctx context.Context, g *group) error {
	env := t.envelope(g.sender)
	for _, to := range g.addresses {
		r := mtakit.Recipient{Address: to.text, Original: t.recipient.OriginalAddress()}
		if g.sender == t.d.Envelope.Sender {
			r.Options = t.options()
		}
		env.Recipients = append(env.Recipients, r)
	}
	delivered, err := mtakit.NewField("Delivered-To", t.recipient.Address)
	if err != nil {
		return err
	}
	received, err := mtakit.NewField("Received", fmt.Sprintf("by %s (mtakit, forwarded %s);\r\n\t%s",
		cmp.Or(t.agent.Hostname, "localhost"), t.d.ID, time.Now().Format(time.RFC1123Z)))
	if err != nil {
		return err
	}
	return t.submit(ctx, env, delivered, received)
}

// postpone puts destinations that could not be delivered to, or that an owner answers
// for, into a message of their own.
func (t *attempt) postpone(ctx context.Context, sender string, some []destination) error {
	env := t.envelope(sender)
	r := mtakit.Recipient{Address: t.recipient.Address, Original: t.recipient.OriginalAddress()}
	if sender == t.d.Envelope.Sender {
		r.Options = t.options()
	}
	env.Recipients = []mtakit.Recipient{r}
	digests := make([]string, len(some))
	for i := range some {
		digests[i] = some[i].digest()
	}
	env.Attrs[attrRest] = strings.Join(digests, " ")
	return t.submit(ctx, env)
}

// envelope is what the next message has of this one. Under an owner it is a new one for
// DSNs too (RFC 3461, section 5.2.7.3).
func (t *attempt) envelope(sender string) *mtakit.Envelope {
	env := t.d.Envelope.Clone()
	env.Sender, env.Recipients = sender, nil
	env.Params, env.NotBefore, env.Hold, env.Filter = nil, time.Time{}, "", ""
	if sender != t.d.Envelope.Sender {
		env.Options.EnvelopeID, env.Options.Return, env.Options.Auth = "", "", nil
	}
	if env.Attrs == nil {
		env.Attrs = map[string]string{}
	}
	delete(env.Attrs, attrRest)
	return env
}

// options are the recipient's DSN parameters without the wish to hear of success: the
// report that he was expanded is the answer to that (RFC 3461, section 5.2.7.2).
func (t *attempt) options() smtp.RcptOptions {
	o := t.recipient.Options
	if len(o.Notify) == 0 {
		return o
	}
	o.Notify = slices.DeleteFunc(slices.Clone(o.Notify), func(n smtp.DSNNotify) bool { return n == smtp.DSNNotifySuccess })
	if len(o.Notify) == 0 {
		o.Notify = []smtp.DSNNotify{smtp.DSNNotifyNever}
	}
	return o
}

func (t *attempt) submit(ctx context.Context, env *mtakit.Envelope, fields ...mtakit.Field) error {
	draft, err := t.agent.Queue.Begin(ctx, t.d.Message.Size())
	if err != nil {
		return err
	}
	defer draft.Discard()
	header := t.d.Message.Header.Clone()
	header.Prepend(fields...)
	m := &mtakit.Message{Header: header, Body: t.d.Message.Body}
	if _, err := m.WriteTo(struct{ io.Writer }{draft}); err != nil {
		return err
	}
	id, err := draft.Commit(ctx, env, nil)
	if err == nil && t.agent.Logger != nil {
		t.agent.Logger.InfoContext(ctx, "forwarded", "id", t.d.ID, "recipient", t.recipient.Address, "as", id, "recipients", len(env.Recipients))
	}
	return err
}

func (t *attempt) notForwarded(ctx context.Context, err error) mtakit.Result {
	t.agent.log(ctx, t.d, t.recipient, fmt.Errorf("forward: %w", err))
	if reply, ok := mtakit.AsReply(err); ok {
		return failed(4, reply.EnhancedCode[1], reply.EnhancedCode[2], "cannot forward: "+reply.Message)
	}
	return failed(4, 3, 0, "cannot forward")
}

// direct delivers to one command, file or folder.
func (t *attempt) direct(ctx context.Context, to *destination) mtakit.Result {
	user, err := t.who(to)
	if err != nil {
		return t.result(ctx, to, err)
	}
	if to.kind == toCommand {
		if t.agent.Commands == nil {
			return t.result(ctx, to, errDisabled)
		}
		return t.agent.Commands.run(ctx, t.copyFor(to), to.text, user)
	}
	return t.result(ctx, to, t.file(ctx, to, user))
}

func (t *attempt) file(ctx context.Context, to *destination, user User) error {
	c := t.copyFor(to)
	switch {
	case to.kind == toFolder && t.agent.Folders != nil:
		fields, err := c.fields()
		if err != nil {
			return err
		}
		return t.agent.Folders.Deliver(ctx, to.text, user, fields, c.message)
	case to.kind == toFile && t.agent.Files != nil:
		return t.agent.Files.append(ctx, c, to.text, user)
	}
	return errDisabled
}

// mailboxes hands the message to the agent for mailboxes, for all of them in one go, and
// returns their results in their order.
func (t *attempt) mailboxes(ctx context.Context, own []destination) []mtakit.Result {
	d := *t.d
	d.Recipients, d.Report = nil, nil
	for i := range own {
		if own[i].kind == toMailbox {
			d.Recipients = append(d.Recipients, mtakit.Recipient{Address: own[i].text, Options: t.recipient.Options, Original: t.recipient.OriginalAddress()})
		}
	}
	if len(d.Recipients) == 0 {
		return nil
	}
	return t.agent.Mailboxes.Deliver(ctx, &d)
}

// who acts for a destination.
func (t *attempt) who(to *destination) (User, error) {
	switch {
	case to.user != nil && to.user.UID != 0: // root's .forward has no more rights than an alias
		return *to.user, nil
	case t.agent.Default != nil:
		return *t.agent.Default, nil
	}
	u := current()
	if u.UID == 0 {
		return User{}, errRoot
	}
	return u, nil
}

// copyFor is the message as a destination gets it.
func (t *attempt) copyFor(to *destination) letter {
	return letter{envelope: t.d.Envelope, recipient: t.recipient, message: t.d.Message, local: to.via, delimiter: t.agent.Delimiter}
}

// result makes a result of an error, and writes down what the administrator must know.
func (t *attempt) result(ctx context.Context, to *destination, err error) mtakit.Result {
	if err == nil {
		return mtakit.Result{Outcome: mtakit.Delivered, Status: smtp.EnhancedCode{2, 0, 0}, Diagnostic: "delivered to file " + to.text}
	}
	if _, ok := mtakit.AsReply(err); ok {
		return mtakit.ResultOf(err)
	}
	t.agent.log(ctx, t.d, t.recipient, fmt.Errorf("%.100q: %w", to.text, err))
	return trouble(err)
}

package dsn

import (
	"strconv"
	"time"

	"github.com/mtakit/mtakit"
)

// maxNamed is how many recipients the text for people names; the part for
// programs has all of them. From there on their reasons are short in both, so
// that a report about a big list is not too big for its reader.
const (
	maxNamed    = 1000
	shortReason = 200 // bytes
)

// words are what a report says to people.
type words struct{ subject, first, second string }

func (r *Report) words() words {
	switch r.Kind {
	case Delay:
		return words{"Your mail is delayed",
			"Your message has not reached the recipients below yet. There is nothing that you have to do: it is tried again",
			"The reason of the delay:"}
	case Success:
		return words{"Your mail was delivered",
			"You asked to be told: your message has reached these recipients, or a server that sends no such reports.",
			"What became of it:"}
	case Verify:
		return words{"Can your mail be delivered",
			"You asked whether mail to the recipients below can be delivered. None was sent.",
			"What was found:"}
	}
	return words{"Your mail could not be delivered",
		"Your message could not be delivered to the recipients below. It will not be tried again.",
		"The reason for each of them:"}
}

func (r *Report) template() *Template {
	switch r.Kind {
	case Delay:
		return &r.Templates.Delay
	case Success:
		return &r.Templates.Success
	case Verify:
		return &r.Templates.Verify
	}
	return &r.Templates.Failure
}

func (r *Report) subject() string {
	t := r.template()
	switch {
	case r.Postmaster && t.PostmasterSubject != "":
		return t.PostmasterSubject
	case r.Postmaster:
		return "Postmaster copy: " + r.words().subject
	case t.Subject != "":
		return t.Subject
	}
	return r.words().subject
}

func (r *Report) from() string {
	if from := r.template().From; from != "" {
		return qualified(from, r.host())
	}
	return "Mail Delivery System <MAILER-DAEMON@" + r.host() + ">"
}

// text writes the part for people.
func (r *Report) text(w *writer) error {
	t := r.template()
	own := t.Text != "" && !r.Postmaster
	switch {
	case own:
		r.expand(w, t.Text)
	case r.Postmaster:
		w.line("This is the mail server " + r.host() + ".")
	default:
		r.explanation(w)
	}
	for i := range r.Recipients {
		if i == maxNamed {
			w.line("")
			w.line("... and " + strconv.Itoa(len(r.Recipients)-i) + " more, which the delivery report names.")
			break
		}
		w.line("")
		w.fold(r.explain(&r.Recipients[i]), "\r\n    ")
	}
	if !own && !r.Postmaster {
		w.line("")
		w.line("The technical details, and the message or its header, are attached. For help, write to postmaster@" + r.host() + ".")
	}
	return nil
}

// explanation writes what a report begins with.
func (r *Report) explanation(w *writer) {
	words := r.words()
	w.line("This is the mail server " + r.host() + ".")
	w.line("")
	first := words.first
	if r.Kind == Delay && !r.RetryUntil.IsZero() {
		first += " until " + r.RetryUntil.Format(time.RFC1123Z) + "."
	} else if r.Kind == Delay {
		first += "."
	}
	w.line(first)
	w.line("")
	w.line(words.second)
}

func (r *Report) explain(p *Recipient) string {
	s := "<" + p.Address + ">"
	if p.Original != "" && p.Original != p.Address {
		s += " (expanded from <" + p.Original + ">)"
	}
	return s + ": " + r.short(reason(p))
}

// short cuts a reason when there are many.
func (r *Report) short(s string) string {
	if len(r.Recipients) <= maxNamed || len(s) <= shortReason {
		return s
	}
	return s[:runeStart(s, shortReason)]
}

func reason(p *Recipient) string {
	r := p.Result
	switch {
	case r.Reply != nil && r.Remote != "":
		s := "host " + r.Remote + " said: " + reply(r.Reply)
		if r.Diagnostic != "" && r.Diagnostic != r.Reply.Message {
			s += " (" + r.Diagnostic + ")"
		}
		return s
	case r.Diagnostic != "":
		return r.Diagnostic
	case r.Reply != nil:
		return reply(r.Reply)
	case r.Outcome == mtakit.Deferred || r.Outcome == mtakit.Bounced:
		return "no reason was given"
	}
	return r.Outcome.String()
}

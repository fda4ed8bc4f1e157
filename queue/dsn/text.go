package dsn

import (
	"time"

	"github.com/mtakit/mtakit"
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
	}
	return words{"Your mail could not be delivered",
		"Your message could not be delivered to the recipients below. It will not be tried again.",
		"The reason for each of them:"}
}

func (r *Report) subject() string {
	if r.Postmaster {
		return "Postmaster copy: " + r.words().subject
	}
	return r.words().subject
}

// text returns the part for people.
func (r *Report) text() string {
	w := &writer{utf8: r.IsUTF8()}
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
	for i := range r.Recipients {
		w.line("")
		w.fold(explain(&r.Recipients[i]), "\r\n    ")
	}
	w.line("")
	w.line("The technical details, and the message or its header, are attached. For help, write to postmaster@" + r.host() + ".")
	return w.String()
}

func explain(p *Recipient) string {
	s := "<" + p.Address + ">"
	if p.Original != "" && p.Original != p.Address {
		s += " (expanded from <" + p.Original + ">)"
	}
	return s + ": " + reason(p)
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

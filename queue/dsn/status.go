package dsn

import (
	"fmt"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// status returns the part for programs: fields of the message, and a block of
// fields for each recipient (RFC 3464, sections 2.2 and 2.3).
func (r *Report) status(w *writer) error {
	w.field("Reporting-MTA", "dns; "+r.host())
	if r.EnvelopeID != "" {
		w.field("Original-Envelope-Id", r.EnvelopeID)
	}
	if r.ID != "" {
		w.field("X-Mtakit-Queue-ID", r.ID)
	}
	w.field("X-Mtakit-Sender", w.address("", r.Sender))
	if !r.Arrival.IsZero() {
		w.field("Arrival-Date", r.Arrival.Format(time.RFC1123Z))
	}
	for i := range r.Recipients {
		w.WriteString("\r\n")
		r.recipient(w, &r.Recipients[i])
	}
	return nil
}

func (r *Report) recipient(w *writer, p *Recipient) {
	w.field("Final-Recipient", w.address("", p.Address))
	switch {
	case p.ORCPT != "":
		w.field("Original-Recipient", w.address(string(p.ORCPTType), p.ORCPT))
	case p.Original != "" && p.Original != p.Address:
		w.field("Original-Recipient", w.address("", p.Original))
	}
	w.field("Action", r.action(p.Result.Outcome))
	w.field("Status", Status(p.Result))
	if p.Result.Remote != "" {
		w.field("Remote-MTA", "dns; "+host(p.Result.Remote))
	}
	if code := diagnostic(p); code != "" {
		w.field("Diagnostic-Code", r.short(code))
	}
	if r.Kind == Delay && !r.RetryUntil.IsZero() {
		w.field("Will-Retry-Until", r.RetryUntil.Format(time.RFC1123Z))
	}
}

func (r *Report) action(o mtakit.Outcome) string {
	switch {
	case r.Kind == Delay, o == mtakit.Deferred && r.Kind != Failure:
		return "delayed"
	case r.Kind == Verify: // Postfix's words; RFC 3464 has none
		return pick(o == mtakit.Bounced, "undeliverable", "deliverable")
	case r.Kind == Success && (o == mtakit.Relayed || o == mtakit.Expanded):
		return o.String()
	case r.Kind == Success:
		return "delivered"
	}
	return "failed"
}

// Status returns the RFC 3463 code of a result, "5.1.1". Where the result has
// none, or one that is none, it is the outcome's general one.
func Status(r mtakit.Result) string {
	c := r.Status
	if c == (smtp.EnhancedCode{}) || c[0] < 2 || c[0] > 5 || c[0] == 3 || !thousand(c[1]) || !thousand(c[2]) {
		c = smtp.EnhancedCode{class(r.Outcome), 0, 0}
	}
	return fmt.Sprintf("%d.%d.%d", c[0], c[1], c[2])
}

func thousand(n int) bool { return n >= 0 && n < 1000 }

func class(o mtakit.Outcome) int {
	switch o {
	case mtakit.Deferred:
		return 4
	case mtakit.Bounced:
		return 5
	}
	return 2
}

// diagnostic returns the Diagnostic-Code: the remote server's reply as it was,
// or a text of ours under a type of ours.
func diagnostic(p *Recipient) string {
	r := p.Result
	if r.Reply == nil {
		if r.Diagnostic == "" {
			return ""
		}
		return "x-mtakit; " + r.Diagnostic
	}
	return "smtp; " + reply(r.Reply)
}

func reply(r *smtp.SMTPError) string {
	s := fmt.Sprint(r.Code)
	if r.EnhancedCode[0] > 0 {
		s += fmt.Sprintf(" %d.%d.%d", r.EnhancedCode[0], r.EnhancedCode[1], r.EnhancedCode[2])
	}
	return s + " " + strings.ReplaceAll(r.Message, "\n", " ")
}

// host returns the name in "mx.example.org[192.0.2.1]:25".
func host(remote string) string {
	if i := strings.IndexByte(remote, '['); i > 0 {
		remote = remote[:i]
	}
	return remote
}

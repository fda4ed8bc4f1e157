package dsn

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Kind is what a report is about.
type Kind int

// The kinds of reports.
const (
	Failure Kind = iota // the recipients will not get the message
	Delay               // they did not get it yet
	Success             // it was delivered, relayed or expanded
)

// ErrEmpty is wrapped when a report names no recipient or has no message.
var ErrEmpty = errors.New("dsn: nothing to report")

// DefaultLimit is how many bytes a message may have to be returned in full,
// when Report.Limit is zero.
const DefaultLimit = 50000

// Report is one notification about one message.
type Report struct {
	Kind       Kind            // zero means Failure
	Hostname   string          // of the reporting MTA; "" means "localhost"
	To         string          // who is told, "user@example.org"; "" leaves an empty group
	Postmaster bool            // it goes to the postmaster in place of the sender; false means to the sender
	ID         string          // queue ID of the message; "" leaves it out
	Sender     string          // reverse-path of the message; "" is the null reverse-path
	EnvelopeID string          // ENVID of MAIL, decoded; "" means that there was none
	Arrival    time.Time       // when the message came; zero leaves it out
	Date       time.Time       // of the report; zero means now
	RetryUntil time.Time       // with Delay: when it will be given up; zero leaves it out
	Recipients []Recipient     // at least one
	Message    *mtakit.Message // what the report is about. Required.
	HeaderOnly bool            // return no body (RET=HDRS); false returns it up to Limit
	Limit      int64           // bytes that are returned at most; zero means DefaultLimit
	UTF8       bool            // write the forms of RFC 6533; false means only when To needs them
	// Boundary parts the body; "" means a random one, which nobody can guess
	// and put into a message. It is not used when it occurs in the message.
	Boundary string
}

// Recipient is one recipient with its result.
type Recipient struct {
	Address   string              // the final recipient
	Original  string              // the address before rewriting; "" means the same
	ORCPT     string              // ORCPT of RCPT, decoded; "" means that there was none
	ORCPTType smtp.DSNAddressType // "" means rfc822
	Result    mtakit.Result       // what the last attempt gave
}

// Bytes returns the report as a message, lines ending in CRLF. eightbit says
// that it needs 8BITMIME, or SMTPUTF8 when UTF8 returns true. An error means
// that the message could not be read, or is ErrEmpty.
func (r *Report) Bytes() (report []byte, eightbit bool, err error) {
	if len(r.Recipients) == 0 || r.Message == nil {
		return nil, false, ErrEmpty
	}
	original, err := r.original()
	if err != nil {
		return nil, false, fmt.Errorf("dsn: returning the message: %w", err)
	}
	boundary := r.Boundary
	for boundary == "" || len(boundary) > 70 || bytes.Contains(original, []byte(boundary)) {
		boundary = rand.Text()
	}
	b := r.assemble(boundary, original)
	return b, !ascii(string(b)), nil
}

// IsUTF8 reports whether the report has the forms of RFC 6533, so that its
// envelope needs SMTPUTF8.
func (r *Report) IsUTF8() bool { return r.UTF8 || !ascii(r.To) }

func (r *Report) assemble(boundary string, original []byte) []byte {
	text, status, eightbit := r.text(), r.status(), !ascii(string(original))
	w := &writer{utf8: r.IsUTF8()}
	w.Grow(len(text) + len(status) + len(original) + 2048)
	r.header(w, boundary, eightbit || !ascii(text) || !ascii(status))
	part := func(title, kind, body string) {
		w.WriteString("\r\n--" + boundary + "\r\n")
		w.field("Content-Description", title)
		w.field("Content-Type", kind)
		if !ascii(body) {
			w.field("Content-Transfer-Encoding", "8bit")
		}
		w.WriteString("\r\n" + body)
	}
	part("Notification", "text/plain; charset="+pick(w.utf8, "utf-8", "us-ascii"), text)
	part("Delivery report", "message/"+pick(w.utf8, "global-delivery-status", "delivery-status"), status)
	part(pick(r.full(), "Message", "Message header"), r.originalType(), string(original))
	w.WriteString("\r\n--" + boundary + "--\r\n")
	return w.Bytes()
}

func (r *Report) header(w *writer, boundary string, eightbit bool) {
	w.field("Date", r.date().Format(time.RFC1123Z))
	w.field("From", "Mail Delivery System <MAILER-DAEMON@"+r.host()+">")
	w.field("Subject", r.subject())
	if r.To == "" {
		w.field("To", "undisclosed-recipients:;")
	} else {
		w.field("To", r.To)
	}
	// RFC 3834, section 5: a copy for the postmaster answers nobody.
	w.field("Auto-Submitted", pick(r.Postmaster, "auto-generated", "auto-replied"))
	w.field("Message-ID", "<"+rand.Text()+"@"+r.host()+">")
	w.field("MIME-Version", "1.0")
	if eightbit {
		w.field("Content-Transfer-Encoding", "8bit")
	}
	w.WriteString("Content-Type: multipart/report; report-type=" +
		pick(w.utf8, "global-delivery-status", "delivery-status") + ";\r\n boundary=\"" + boundary + "\"\r\n")
	w.WriteString("\r\nThis is a delivery status notification in MIME format.\r\n")
}

// original returns the last part's body.
func (r *Report) original() ([]byte, error) {
	if !r.full() {
		return cut(r.Message.Header, r.limit()), nil
	}
	var b bytes.Buffer
	b.Grow(int(r.Message.Size()))
	body, err := r.Message.Open()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	_, err = io.Copy(&b, body)
	return b.Bytes(), err
}

// cut returns the first fields of h that fit into limit bytes.
func cut(h *mtakit.Header, limit int64) []byte {
	var b []byte
	for _, f := range h.All() {
		if int64(len(b)+len(f.Raw())) > limit {
			break
		}
		b = append(b, f.Raw()...)
	}
	return b
}

func (r *Report) full() bool {
	return r.Kind == Failure && !r.HeaderOnly && r.Message.Size() <= r.limit()
}

func (r *Report) originalType() string {
	if r.full() {
		return "message/" + pick(r.IsUTF8(), "global", "rfc822")
	}
	return pick(r.IsUTF8(), "message/global-headers", "text/rfc822-headers")
}

func (r *Report) limit() int64 {
	if r.Limit > 0 {
		return r.Limit
	}
	return DefaultLimit
}

func (r *Report) host() string {
	if r.Hostname == "" {
		return "localhost"
	}
	return name(r.Hostname)
}

func (r *Report) date() time.Time {
	if r.Date.IsZero() {
		return time.Now()
	}
	return r.Date
}

func pick(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

package dsn

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
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
	Verify              // nothing was sent: it was asked whether it could be
)

var (
	// ErrEmpty is wrapped when a report names no recipient or has no message.
	ErrEmpty = errors.New("dsn: nothing to report")
	// ErrMessage is wrapped when the message to be returned cannot be read. A
	// report with HeaderOnly needs no body.
	ErrMessage = errors.New("dsn: message cannot be read")
)

// DefaultLimit is how many bytes a message may have to be returned in full,
// when Report.Limit is zero.
const DefaultLimit = 50000

// Report is one notification about one message.
type Report struct {
	Kind       Kind            // zero means Failure
	Hostname   string          // of the reporting MTA; "" means "localhost"
	To         string          // who is told, "user@example.org"; "" leaves an empty group
	Postmaster bool            // it goes to the postmaster, who needs no explanations; false means to the sender
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
	UTF8       bool            // the message came with SMTPUTF8, so that its header may be UTF-8; false means that it did not
	Threaded   bool            // the report is a reply to the message (In-Reply-To, References); false means that it stands alone
	Templates  Templates       // subjects and texts; zero means those that are built in
	Params     Params          // what texts may name beside $myhostname; nil means nothing
}

// Recipient is one recipient with its result.
type Recipient struct {
	Address   string              // the final recipient
	Original  string              // the address before rewriting; "" means the same
	ORCPT     string              // ORCPT of RCPT, decoded; "" means that there was none
	ORCPTType smtp.DSNAddressType // "" means rfc822
	Result    mtakit.Result       // what the last attempt gave
}

// IsUTF8 reports whether the report's envelope needs SMTPUTF8: its addressee is
// not ASCII, and then it has all the forms of RFC 6533. A report to anybody else
// gets through everywhere.
func (r *Report) IsUTF8() bool { return !ascii(r.To) }

// Encode writes the report as a message, lines ending in CRLF, piece by piece:
// it may be much longer than what fits into memory. eightbit says that its
// envelope needs 8BITMIME, or SMTPUTF8 when IsUTF8 returns true. The error wraps
// ErrEmpty, ErrMessage or what w returned.
func (r *Report) Encode(w io.Writer) (eightbit bool, err error) {
	if len(r.Recipients) == 0 || r.Message == nil {
		return false, ErrEmpty
	}
	parts := r.parts()
	for i := range parts {
		if err = parts[i].look(); err != nil {
			return false, err
		}
		eightbit = eightbit || parts[i].eightbit
	}
	if text := &parts[0]; text.utf8 && !text.eightbit {
		text.kind = "text/plain; charset=us-ascii"
	}
	out := &writer{Writer: bufio.NewWriterSize(w, 32<<10), utf8: r.IsUTF8()}
	boundary := rand.Text() // nobody can guess it and put it into a message
	r.header(out, boundary, eightbit)
	for i := range parts {
		if err := parts[i].encode(out, boundary); err != nil {
			return false, err
		}
	}
	out.WriteString("\r\n--" + boundary + "--\r\n")
	return eightbit || r.IsUTF8(), out.Flush()
}

// part is one of the three parts of a report (RFC 6522, section 3).
type part struct {
	title, kind string
	utf8        bool // what write writes may be UTF-8
	write       func(*writer) error
	eightbit    bool
}

// look finds out whether the part has 8-bit characters.
func (p *part) look() error {
	var seen eightBits
	w := &writer{Writer: bufio.NewWriter(&seen), utf8: p.utf8}
	if err := p.write(w); err != nil {
		return err
	}
	w.Flush()
	p.eightbit = bool(seen)
	return nil
}

func (p *part) encode(w *writer, boundary string) error {
	w.WriteString("\r\n--" + boundary + "\r\n")
	w.field("Content-Description", p.title)
	w.field("Content-Type", p.kind)
	if p.eightbit {
		w.field("Content-Transfer-Encoding", "8bit")
	}
	w.WriteString("\r\n")
	w.utf8 = p.utf8
	return p.write(w)
}

func (r *Report) parts() [3]part {
	text := part{title: "Notification", write: r.text, utf8: r.charset() == "utf-8"}
	text.kind = "text/plain; charset=" + r.charset()
	status := part{title: "Delivery report", kind: "message/delivery-status", write: r.status}
	if r.IsUTF8() {
		status.kind, status.utf8 = "message/global-delivery-status", true
	}
	original := part{title: "Message header", kind: "text/rfc822-headers", write: r.original}
	if r.full() {
		original.title, original.kind = "Message", "message/rfc822"
	}
	if r.UTF8 && !ascii(string(r.Message.Header.Bytes())) {
		// RFC 6532, section 3.7, lets it travel in any envelope.
		original.kind = pick(r.full(), "message/global", "message/global-headers")
	}
	return [3]part{text, status, original}
}

func (r *Report) header(w *writer, boundary string, eightbit bool) {
	w.field("Date", r.date().Format(time.RFC1123Z))
	w.field("From", r.from())
	w.field("Subject", encoded(r.subject()))
	w.field("To", pick(r.To == "", "undisclosed-recipients:;", r.To))
	// RFC 3834, section 5: a copy for the postmaster answers nobody.
	w.field("Auto-Submitted", pick(r.Postmaster, "auto-generated", "auto-replied"))
	w.field("Message-ID", "<"+rand.Text()+"@"+r.host()+">")
	if id := r.thread(); id != "" {
		w.field("In-Reply-To", id)
		w.field("References", id)
	}
	w.field("MIME-Version", "1.0")
	if eightbit {
		w.field("Content-Transfer-Encoding", "8bit")
	}
	w.WriteString("Content-Type: multipart/report; report-type=" +
		pick(r.IsUTF8(), "global-delivery-status", "delivery-status") + ";\r\n boundary=\"" + boundary + "\"\r\n")
	w.WriteString("\r\nThis is a delivery status notification in MIME format.\r\n")
}

// thread returns the Message-ID of the message, when the report is to be a reply
// to it and the ID is one (RFC 5322, section 3.6.4).
func (r *Report) thread() string {
	if !r.Threaded {
		return ""
	}
	id, _ := r.Message.Header.Get("Message-ID")
	if len(id) > 250 || !strings.HasPrefix(id, "<") || strings.IndexByte(id, '>') != len(id)-1 ||
		!strings.Contains(id, "@") || strings.ContainsAny(id[1:], "< \t") || !ascii(id) && !r.IsUTF8() {
		return ""
	}
	return id
}

// original writes the message, or its header.
func (r *Report) original(w *writer) error {
	if !r.full() {
		left := r.limit()
		for _, f := range r.Message.Header.All() {
			if left -= int64(len(f.Raw())); left < 0 {
				break
			}
			w.Write(f.Raw())
		}
		return nil
	}
	body, err := r.Message.Open()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMessage, err)
	}
	defer body.Close()
	if _, err := io.Copy(w.Writer, reading{body}); err != nil {
		return fmt.Errorf("returning the message: %w", err)
	}
	return nil
}

// reading marks the errors of reading, which are not those of writing.
type reading struct{ io.Reader }

func (r reading) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return n, err
}

func (r *Report) full() bool {
	return r.Kind == Failure && !r.HeaderOnly && r.Message.Size() <= r.limit()
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

package dsn

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// ErrNotNotification is wrapped by Read for mail that is no notification in any
// form that is known.
var ErrNotNotification = errors.New("dsn: not a notification")

// What Read takes in at most. What is beyond is skipped, and Truncated says so.
const (
	maxRead       = 64 << 20 // bytes of a notification
	maxRecipients = 100000
	maxFields     = 64 << 10 // bytes of a header, or of the fields of one recipient
	maxText       = 64 << 10 // bytes of the text for people
	maxValue      = 2048     // bytes of a value
	maxParts      = 100
	maxDepth      = 8 // of parts in parts
)

// Notification is what a notification says. Everything in it comes from a
// stranger, who may have made all of it up.
type Notification struct {
	Header       *mtakit.Header // of the notification itself
	Form         Form
	Text         string    // for people, decoded, lines ending in "\n", its first 64 KiB; "" means that there was none
	ReportingMTA string    // name without its type, "mx.example.org"; "" means that it is not said
	EnvelopeID   string    // ENVID of the message; "" means none
	Arrival      time.Time // when the message came to ReportingMTA; zero means that it is not said
	// Fields are all fields about the message, those of the MTA too
	// (X-Postfix-Queue-ID); nil means that there were none.
	Fields     *mtakit.Header
	Recipients []RecipientReport // at least one
	// Original is the header of the message, with its Message-ID; nil means that
	// it was not returned.
	Original  *mtakit.Header
	Truncated bool // there was more than Read takes in
}

// Form is how a notification is written.
type Form string

// The forms that Read knows.
const (
	RFC3464 Form = "RFC 3464" // multipart/report; also RFC 6533
	Exim    Form = "Exim"     // X-Failed-Recipients: addresses, and nothing else for programs
	QSBMF   Form = "QSBMF"    // qmail: addresses, reasons, and sometimes a status
)

// RecipientReport is what became of one recipient.
type RecipientReport struct {
	Address      string            // final recipient; "" means that only Original is said
	AddressType  string            // "rfc822", "utf-8"; "" means that it is not said
	Original     string            // original recipient, ORCPT; "" means that it is not said
	OriginalType string            // as AddressType
	Action       string            // "failed", "delayed", "delivered", "relayed", "expanded"; "" means that it is not said
	Status       smtp.EnhancedCode // zero means that it is not said
	RemoteMTA    string            // who refused it, without type; "" means ReportingMTA
	// Diagnostic is what RemoteMTA said, "550 5.1.1 no such user", of the type
	// DiagnosticType, "smtp". "" means that it is not said.
	Diagnostic, DiagnosticType string
	LastAttempt, RetryUntil    time.Time // zero means that it is not said
}

// Read reads a notification as mail servers write it, in any of the Forms. It is
// lenient: lines may end in LF, fields may be missing or wrong, parts may be
// encoded, stand in other parts, or have no end. Memory is bounded by what the
// notification has in its fields, at most 64 MiB. The error wraps
// ErrNotNotification or what r returned.
func Read(r io.Reader) (*Notification, error) {
	limited := &io.LimitedReader{R: r, N: maxRead}
	source := &failing{r: limited}
	in := bufio.NewReader(source)
	p := &parser{n: &Notification{Form: RFC3464}}
	p.n.Header, _ = readHeader(in)
	p.entity(p.n.Header, in, 0)
	if len(p.n.Recipients) == 0 {
		p.plain()
	}
	p.n.Truncated = p.n.Truncated || limited.N == 0
	switch {
	case source.err != nil:
		return nil, fmt.Errorf("dsn: reading a notification: %w", source.err)
	case len(p.n.Recipients) == 0:
		return nil, ErrNotNotification
	}
	return p.n, nil
}

// failing remembers why nothing more can be read.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// parser is a notification that is being read.
type parser struct {
	n     *Notification
	parts int
	body  []byte // of mail that has no parts
}

// entity reads a message or a part.
func (p *parser) entity(h *mtakit.Header, body io.Reader, depth int) {
	if p.parts++; p.parts > maxParts || depth > maxDepth {
		p.n.Truncated = true
		return
	}
	kind, boundary := contentType(h)
	if strings.HasPrefix(kind, "multipart/") && boundary != "" {
		p.multipart(boundary, body, depth)
		return
	}
	body = decoded(h, body)
	switch kind {
	case "message/delivery-status", "message/global-delivery-status":
		p.status(bufio.NewReader(body))
	case "message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers":
		if p.n.Original == nil {
			p.n.Original, _ = readHeader(bufio.NewReader(body))
		}
	case "text/plain":
		if depth == 0 {
			p.body, _ = io.ReadAll(io.LimitReader(body, 1<<20))
			body = bytes.NewReader(p.body)
		}
		if p.n.Text == "" {
			text, _ := io.ReadAll(io.LimitReader(body, maxText))
			p.n.Text = strings.ReplaceAll(string(text), "\r\n", "\n")
		}
	}
}

func (p *parser) multipart(boundary string, body io.Reader, depth int) {
	s := &splitter{in: bufio.NewReader(body), delimiter: []byte("--" + boundary)}
	for s.next() && p.parts <= maxParts {
		in := bufio.NewReader(s)
		h, _ := readHeader(in)
		p.entity(h, in, depth+1)
	}
}

// status reads the blocks of fields of a message/delivery-status.
func (p *parser) status(in *bufio.Reader) {
	for range maxRecipients + 1 {
		skipBlank(in)
		h, more := readHeader(in)
		if isRecipient(h) {
			p.add(recipientReport(h))
		} else {
			p.message(h)
		}
		if !more {
			return
		}
	}
	p.n.Truncated = true
}

func skipBlank(in *bufio.Reader) {
	for {
		_, _ = in.Peek(1)
		b, _ := in.Peek(in.Buffered())
		n, _ := in.Discard(len(b) - len(bytes.TrimLeft(b, "\r\n")))
		if n == 0 {
			return
		}
	}
}

func (p *parser) add(r RecipientReport) {
	if len(p.n.Recipients) == maxRecipients {
		p.n.Truncated = true
		return
	}
	p.n.Recipients = append(p.n.Recipients, r)
}

func isRecipient(h *mtakit.Header) bool {
	return h.Count("Final-Recipient") > 0 || h.Count("Original-Recipient") > 0
}

// message takes the fields about the message (RFC 3464, section 2.2).
func (p *parser) message(h *mtakit.Header) {
	if p.n.Fields != nil || h.Len() == 0 {
		return
	}
	p.n.Fields = h
	_, p.n.ReportingMTA = typed(h, "Reporting-MTA")
	p.n.EnvelopeID = value(h, "Original-Envelope-Id")
	p.n.Arrival = date(h, "Arrival-Date")
}

// recipientReport makes a report of fields (RFC 3464, section 2.3).
func recipientReport(h *mtakit.Header) RecipientReport {
	r := RecipientReport{Action: strings.ToLower(firstWord(value(h, "Action"))), Status: enhanced(value(h, "Status")),
		LastAttempt: date(h, "Last-Attempt-Date"), RetryUntil: date(h, "Will-Retry-Until")}
	r.AddressType, r.Address = address(h, "Final-Recipient")
	r.OriginalType, r.Original = address(h, "Original-Recipient")
	_, r.RemoteMTA = typed(h, "Remote-MTA")
	r.DiagnosticType, r.Diagnostic = typed(h, "Diagnostic-Code")
	return r
}

// value returns a field's value, of bounded length.
func value(h *mtakit.Header, name string) string {
	v, _ := h.Get(name)
	if len(v) > maxValue {
		v = v[:runeStart(v, maxValue)]
	}
	return strings.Clone(v)
}

// typed returns the two halves of "dns; mx.example.org". Some leave out the
// first.
func typed(h *mtakit.Header, name string) (kind, rest string) {
	v := value(h, name)
	kind, rest, ok := strings.Cut(v, ";")
	if kind = strings.TrimSpace(kind); !ok || !isToken(kind) {
		return "", v
	}
	return strings.ToLower(kind), strings.TrimSpace(rest)
}

// address is typed for an address, which some write in brackets.
func address(h *mtakit.Header, name string) (kind, s string) {
	kind, s = typed(h, name)
	if strings.HasPrefix(s, "<") && strings.HasSuffix(s, ">") {
		s = s[1 : len(s)-1]
	}
	if kind == "utf-8" {
		s = fromUnitext(s)
	}
	return kind, s
}

// fromUnitext decodes utf-8-addr-xtext of RFC 6533, section 3: \x{7528}.
func fromUnitext(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\x{`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		digits, rest, closed := strings.Cut(after, "}")
		c, err := strconv.ParseUint(digits, 16, 21)
		if !closed || err != nil || c < ' ' || c == 0x7f {
			b.WriteString(`\x{`)
			s = after
			continue
		}
		b.WriteRune(rune(c))
		s = rest
	}
}

func firstWord(s string) string {
	if words := strings.Fields(s); len(words) > 0 {
		return words[0]
	}
	return ""
}

// enhanced returns the code that s begins with: "5.1.1 (no such user)". What is
// none is zero.
func enhanced(s string) (c smtp.EnhancedCode) {
	n := 0
	for n < len(s) && (s[n] == '.' || '0' <= s[n] && s[n] <= '9') {
		n++
	}
	numbers := strings.Split(s[:n], ".")
	if len(numbers) != 3 {
		return c
	}
	for i, number := range numbers {
		v, err := strconv.ParseUint(number, 10, 10)
		if err != nil || v > 999 || i == 0 && v != 2 && v != 4 && v != 5 {
			return smtp.EnhancedCode{}
		}
		c[i] = int(v)
	}
	return c
}

func date(h *mtakit.Header, name string) time.Time {
	v := value(h, name)
	if v == "" {
		return time.Time{}
	}
	t, err := mail.ParseDate(v)
	if err != nil {
		return time.Time{}
	}
	return t
}

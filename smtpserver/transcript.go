package smtpserver

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Reporter is told of a session in which the client was refused something:
// *queue.Manager does, which tells the postmaster. Report is called once at the
// end of the session, from the goroutine that served it; ctx ends when the
// server is closed. A slow Report keeps a place of MaxConns.
//
// classes says what was wrong, in the words of Postfix's notify_classes: "data"
// (a message that is not well-formed), "policy", "protocol", "resource" (no
// space), "software" (a fault of ours). transcript has a line for each command,
// " In:  MAIL FROM:<a@example.org>", and for each line of our replies, " Out: 250
// 2.1.0 Ok". It holds no messages, nothing that a client sent to log in, and no
// line that is no command. Of a long session it has the beginning and the end,
// together less than 32 KiB.
type Reporter interface {
	Report(ctx context.Context, client mtakit.Client, classes []string, transcript string)
}

// ReporterFunc is a function that is a Reporter.
type ReporterFunc func(ctx context.Context, client mtakit.Client, classes []string, transcript string)

// Report calls f.
func (f ReporterFunc) Report(ctx context.Context, client mtakit.Client, classes []string, transcript string) {
	f(ctx, client, classes, transcript)
}

const (
	transcriptPart = 8 << 10 // bytes of a transcript's beginning, and half of its end at most
	transcriptLine = 512     // bytes of one line
)

// transcript is what was said in a session. A nil one takes nothing.
type transcript struct {
	head, tail []byte
	full       bool // what comes belongs to the tail
	cut        bool // something between head and tail is lost
	classes    []string
}

func (t *transcript) add(prefix string, line []byte) {
	if t == nil {
		return
	}
	part := &t.head
	if t.full = t.full || len(t.head) > transcriptPart-transcriptLine-len(prefix)-1; t.full {
		part = &t.tail
	}
	*part = append(*part, prefix...)
	for _, c := range line[:min(len(line), transcriptLine)] {
		if c < ' ' || c == 0x7f {
			c = ' '
		}
		*part = append(*part, c)
	}
	*part = append(*part, '\n')
	if len(t.tail) > 2*transcriptPart {
		rest := t.tail[len(t.tail)-transcriptPart:]
		t.tail = append(t.tail[:0], rest[slices.Index(rest, '\n')+1:]...)
		t.cut = true
	}
}

// replied adds a reply as it goes to the client.
func (t *transcript) replied(r *smtp.SMTPError, lines []byte) {
	if t == nil {
		return
	}
	for line := range strings.Lines(string(lines)) {
		t.add(" Out: ", []byte(strings.TrimRight(line, "\r\n")))
	}
	if class := classOf(r); class != "" && !slices.Contains(t.classes, class) {
		t.classes = append(t.classes, class)
	}
}

// said adds a command, as far as it is one: what a client sends that was refused
// DATA or AUTH may be a message or a password.
func (t *transcript) said(text []byte, mechs []string) {
	if t == nil {
		return
	}
	var buf [12]byte
	verb, arg := split(text, &buf)
	if _, known := commandOf(verb); !known {
		t.add(" In:  ", fmt.Appendf(nil, "(%d bytes that are no command)", len(text)))
		return
	}
	line := slices.Clone(verb)
	switch {
	case len(arg) == 0:
	case isPublic(string(verb), arg):
		line = append(append(line, ' '), arg...)
	case string(verb) == "AUTH":
		mech, _, _ := strings.Cut(strings.ToUpper(string(arg)), " ")
		if slices.ContainsFunc(mechs, func(known string) bool { return strings.EqualFold(known, mech) }) {
			line = append(append(line, ' '), mech...)
		}
		fallthrough
	default:
		line = append(line, " ..."...)
	}
	t.add(" In:  ", line)
}

// isPublic reports whether the argument of a command has nothing in it that is
// not meant for others.
func isPublic(verb string, arg []byte) bool {
	switch verb {
	case "MAIL":
		return len(arg) > 5 && foldEqual(arg[:5], "FROM:")
	case "RCPT":
		return len(arg) > 3 && foldEqual(arg[:3], "TO:")
	case "BDAT", "HELO", "EHLO", "LHLO", "VRFY", "ETRN":
		return true
	}
	return false
}

// classOf is the class of trouble that a reply tells of, "" for none. The
// subject of the enhanced code has it (RFC 3463, section 3).
func classOf(r *smtp.SMTPError) string {
	subject, detail := r.EnhancedCode[1], r.EnhancedCode[2]
	switch {
	case r.Code < 400, r.Code == 421 && subject == 3 && detail == 2, subject == 4 && detail == 2:
		return "" // a shutdown or an idle client is nobody's mistake
	case subject == 5 && detail == 3:
		return "policy" // too many recipients
	case subject == 5, r.Code >= 500 && r.Code <= 504, r.Code == 555:
		return "protocol"
	case subject == 3 && detail == 1:
		return "resource"
	case subject == 3 && detail == 4:
		return "policy" // too big
	case subject == 3, r.Code == 454: // AUTH could not be checked
		return "software"
	case subject == 6:
		return "data"
	}
	return "policy"
}

// String is the transcript for a Reporter.
func (t *transcript) String() string {
	if t.cut {
		return string(t.head) + " ...\n" + string(t.tail)
	}
	return string(t.head) + string(t.tail)
}

// report tells the Reporter of a session that had trouble.
func (c *Conn) report() {
	t := c.transcript
	if t == nil || len(t.classes) == 0 {
		return
	}
	if c.gone {
		t.add("", []byte("The client has closed the connection."))
	}
	defer func() {
		if r := recover(); r != nil {
			c.log(slog.LevelError, "reporter panicked", "err", r, "stack", string(debug.Stack()))
		}
	}()
	slices.Sort(t.classes)
	c.server.Reporter.Report(c.ctx, c.Client(), t.classes, t.String())
}

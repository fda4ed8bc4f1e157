package dsn

import (
	"bufio"
	"crypto/rand"
	"io"
	"strings"
	"time"
)

// Notice is a plain text to the postmaster about something that is not one
// message's affair.
type Notice struct {
	Hostname string    // of the MTA; "" means "localhost"
	To       string    // "postmaster@example.org"; "" leaves an empty group
	Date     time.Time // zero means now
	Subject  string    // "" leaves it empty
	Text     string    // lines ending in "\n"; "" leaves it empty
}

// IsUTF8 reports whether the notice's envelope needs SMTPUTF8.
func (n *Notice) IsUTF8() bool { return !ascii(n.To) }

// Encode writes the notice as a message, lines ending in CRLF. eightbit says
// that its envelope needs 8BITMIME. Control characters become spaces.
func (n *Notice) Encode(w io.Writer) (eightbit bool, err error) {
	r := Report{Hostname: n.Hostname, To: n.To, Date: n.Date}
	eightbit = !ascii(n.Text) || n.IsUTF8()
	out := &writer{Writer: bufio.NewWriter(w), utf8: n.IsUTF8()}
	out.field("Date", r.date().Format(time.RFC1123Z))
	out.field("From", r.from())
	out.field("Subject", encoded(n.Subject))
	out.field("To", pick(n.To == "", "undisclosed-recipients:;", n.To))
	out.field("Auto-Submitted", "auto-generated")
	out.field("Message-ID", "<"+rand.Text()+"@"+r.host()+">")
	out.field("MIME-Version", "1.0")
	out.field("Content-Type", "text/plain; charset="+pick(eightbit, "utf-8", "us-ascii"))
	if eightbit {
		out.field("Content-Transfer-Encoding", "8bit")
	}
	out.WriteString("\r\n")
	out.utf8 = true
	text := strings.TrimSuffix(strings.ReplaceAll(n.Text, "\r\n", "\n"), "\n")
	for line := range strings.SplitSeq(text, "\n") {
		out.asIs(line)
	}
	return eightbit, out.Flush()
}

package restrictions

import (
	"fmt"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// subject is what a reply is about: "<user@example.org>: Sender address
// rejected: Access denied".
type subject struct {
	name  string // without the angle brackets
	class string
}

// The classes of replies, as Postfix writes them.
const (
	clientHost       = "Client host"
	heloCommand      = "Helo command"
	senderAddress    = "Sender address"
	recipientAddress = "Recipient address"
	dataCommand      = "Data command"
	endOfData        = "End-of-data"
	etrnCommand      = "Etrn command"
)

// about returns the subject of the replies of the restrictions that have none
// of their own: that of the list they stand in.
func about(list mtakit.Stage, s *mtakit.Session) subject {
	switch list {
	case mtakit.StageConnect:
		return ofClient(s)
	case mtakit.StageHELO:
		return subject{s.HELO, heloCommand}
	case mtakit.StageMail:
		return ofSender(s)
	case mtakit.StageData:
		return subject{"DATA", dataCommand}
	case mtakit.StageEndOfData:
		return subject{"END-OF-MESSAGE", endOfData}
	case mtakit.StageETRN:
		return subject{"ETRN", etrnCommand}
	}
	return ofRecipient(s)
}

// ofClient names the client as Postfix does: "mail.example.org[192.0.2.1]".
func ofClient(s *mtakit.Session) subject {
	name := s.Name
	if name == "" {
		name = "unknown"
	}
	return subject{name + "[" + address(s) + "]", clientHost}
}

// address is the client's, "" when it has none (a local socket).
func address(s *mtakit.Session) string {
	if a := s.Addr.Addr(); a.IsValid() {
		return a.Unmap().WithZone("").String()
	}
	return ""
}

func ofSender(s *mtakit.Session) subject {
	if s.Envelope == nil {
		return subject{class: senderAddress}
	}
	return subject{s.Envelope.Sender, senderAddress}
}

func ofRecipient(s *mtakit.Session) subject {
	if s.Recipient == nil {
		return subject{class: recipientAddress}
	}
	return subject{s.Recipient.OriginalAddress(), recipientAddress}
}

// reply is "<name>: Class rejected: text". A status of the kind X.1.n, which is
// about an address, becomes the one that fits the class.
func (a subject) reply(code int, status smtp.EnhancedCode, text string) *smtp.SMTPError {
	status = fit(status, a.class)
	status[0] = code / 100
	return &smtp.SMTPError{Code: code, EnhancedCode: status,
		Message: printable(fmt.Sprintf("<%s>: %s rejected: %s", a.name, a.class, text))}
}

// reject refuses with such a reply.
func (a subject) reject(code int, status smtp.EnhancedCode, text string) mtakit.Verdict {
	return mtakit.Verdict{Action: mtakit.Reject, Reply: a.reply(code, status, text)}
}

// misconfigured is the answer when an access table is broken, or says what
// cannot be done.
func (a subject) misconfigured(cause error) mtakit.Verdict {
	v := a.reject(451, smtp.EnhancedCode{4, 3, 5}, "Server configuration error")
	v.Reason = cause.Error()
	return v
}

// unknown is the answer when a table that lists users, domains or networks
// cannot be asked.
func (a subject) unknown(cause error) mtakit.Verdict {
	return mtakit.Verdict{Action: mtakit.Reject, Reason: cause.Error(), Reply: &smtp.SMTPError{Code: 451,
		EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: printable("<" + a.name + ">: Temporary lookup failure")}}
}

// fault reports whether a reply says that the failure is ours: 451 (RFC 5321,
// section 4.2.3) with a status of the mail system (RFC 3463, section 3.4).
func fault(r *smtp.SMTPError) bool {
	return r != nil && r.Code == 451 && r.EnhancedCode[1] == 3
}

// Statuses about an address, X.1.n: what n means for a sender where tables give
// the recipient's, and the other way round (RFC 3463, section 3.2; Postfix's
// smtpd_dsn_fix).
var (
	forSender    = [...]int{0, 7, 8, 7, 7, 0, 7, 7, 8}
	forRecipient = [...]int{0, 1, 2, 3, 4, 5, 6, 3, 2}
)

// fit maps a status to one that can be said of a class.
func fit(status smtp.EnhancedCode, class string) smtp.EnhancedCode {
	if status[1] != 1 {
		return status
	}
	n := status[2]
	if n < 0 || n >= len(forSender) {
		n = 0
	}
	switch class {
	case senderAddress:
		status[2] = forSender[n]
	case recipientAddress:
		status[2] = forRecipient[n]
	default:
		status[1], status[2] = 0, 0
	}
	return status
}

// printable makes one reply line of a text from a table or a client.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}

// oneLine writes a reply as a client sees it, for the log.
func oneLine(r *smtp.SMTPError) string {
	if r == nil {
		return "no reply"
	}
	c := r.EnhancedCode
	return fmt.Sprintf("%d %d.%d.%d %s", r.Code, c[0], c[1], c[2], r.Message)
}

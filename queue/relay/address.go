package relay

import (
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/internal/wire"
)

// utf8Address encodes the address of ORCPT=utf-8 (RFC 6533, section 3): as it is
// when the server takes UTF-8, in ASCII otherwise.
func utf8Address(s string, offered bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for _, r := range s {
		switch {
		case r > ' ' && r < 0x7f && r != '+' && r != '=' && r != '\\', offered && r >= 0xa0:
			b.WriteRune(r)
		default:
			b.WriteString(`\x{`)
			started := false
			for shift := 20; shift >= 0; shift -= 4 {
				digit := r >> shift & 15
				// Two digits at least.
				if started = started || digit != 0 || shift == 4; started {
					b.WriteByte(digits[digit])
				}
			}
			b.WriteByte('}')
		}
	}
	return b.String()
}

// rcptParameters returns what follows RCPT TO:<>, for a server that offers DSN.
func rcptParameters(r *mtakit.Recipient, utf8Offered bool) string {
	var b strings.Builder
	if notify := notifyValue(r.Options.Notify); notify != "" {
		b.WriteString(" NOTIFY=" + notify)
	}
	switch o := r.Options; {
	case o.OriginalRecipient != "" && o.OriginalRecipientType == smtp.DSNAddressTypeUTF8:
		b.WriteString(" ORCPT=utf-8;" + utf8Address(o.OriginalRecipient, utf8Offered))
	case o.OriginalRecipient != "":
		b.WriteString(" ORCPT=rfc822;" + wire.Xtext(o.OriginalRecipient))
	case isASCII(r.OriginalAddress()):
		b.WriteString(" ORCPT=rfc822;" + wire.Xtext(r.OriginalAddress()))
	default:
		b.WriteString(" ORCPT=utf-8;" + utf8Address(r.OriginalAddress(), utf8Offered))
	}
	return b.String()
}

// notifyValue returns "NEVER", or a list of the others (RFC 3461, section 4.1).
func notifyValue(notify []smtp.DSNNotify) string {
	var words []string
	for _, n := range notify {
		switch n {
		case smtp.DSNNotifyNever:
			return "NEVER"
		case smtp.DSNNotifySuccess, smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed:
			words = append(words, string(n))
		}
	}
	return strings.Join(words, ",")
}

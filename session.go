package mtakit

import (
	"net/netip"

	"github.com/emersion/go-smtp"
)

// Client is what is known of the peer of a connection: facts, no handles, so
// that it can be copied into an Envelope and written to disk.
type Client struct {
	ID     string         // of the session, for logs and events; unique in one process
	Addr   netip.AddrPort // the peer's address, unmapped (never ::ffff:a.b.c.d)
	Server netip.AddrPort // the address it connected to

	// Name is the host name that maps to Addr and back, lower case without the
	// trailing dot; "" means that nobody looked, "unknown" that it could not be
	// verified. ReverseName is the name that Addr maps to, verified or not.
	Name, ReverseName string

	HELO     string // the name given with HELO, EHLO or LHLO; "" before it
	Protocol string // as in Received's "with" (RFC 3848, RFC 6531): "ESMTP", "ESMTPSA", "LMTP"; "" before HELO
	TLS      TLS    // zero means plain text
	Login    string // authorization identity after AUTH; "" means not authenticated
	Mech     string // SASL mechanism that gave Login, "PLAIN"
}

// TLS is what Received, restrictions and policy servers say of an encrypted
// connection.
type TLS struct {
	Version    string // "TLSv1.3"; "" means that the connection is not encrypted
	Cipher     string // IANA name, "TLS_AES_128_GCM_SHA256"
	ServerName string // SNI that the client sent; "" means none
	Peer       string // common name of the client's verified certificate; "" means none
}

// On reports whether the connection is encrypted.
func (t TLS) On() bool { return t.Version != "" }

// Stage is a point of an SMTP session at which restrictions are asked.
type Stage int

// The stages in the order of a session, named as Postfix names them.
const (
	StageConnect Stage = iota
	StageHELO
	StageMail
	StageRcpt
	StageData
	StageEndOfData
	StageETRN
	StageVRFY
)

// String returns Postfix's protocol_state: "CONNECT", "HELO", "MAIL", "RCPT",
// "DATA", "END-OF-MESSAGE", "ETRN", "VRFY".
func (s Stage) String() string {
	names := [...]string{"CONNECT", "HELO", "MAIL", "RCPT", "DATA", "END-OF-MESSAGE", "ETRN", "VRFY"}
	if s < 0 || int(s) >= len(names) {
		return "UNKNOWN"
	}
	return names[s]
}

// Session is what restrictions look at. It lives on the connection, belongs to
// the goroutine that serves it, and changes from command to command: whoever
// wants to keep something copies it.
type Session struct {
	Client
	Stage     Stage
	Envelope  *Envelope  // nil before MAIL
	Recipient *Recipient // the recipient in question at StageRcpt; nil otherwise
	Size      int64      // bytes: SIZE= of MAIL, from StageEndOfData on what was received; 0 means unknown

	// DeferIfPermit is the first defer_if_permit verdict of an earlier stage
	// of this transaction, kept by whoever asks the restrictions. At the end of
	// the recipient stage it turns a permission into this reply. nil means none.
	DeferIfPermit *smtp.SMTPError
}

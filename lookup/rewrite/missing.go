package rewrite

import (
	"context"
	"crypto/rand"
	"mime"
	"strings"
	"time"

	"github.com/mtakit/mtakit"
)

// Missing is a content filter that adds the fields which a message must have and
// has not: Date, Message-ID and From (RFC 5322, section 3.6; Message-ID is a
// should). A message that was resent lacks those of its last resending (section
// 3.6.6). It is for mail of our own, such as local programs submit; smtpserver's
// Intake does it for its clients.
type Missing struct {
	// Hostname is our name, "mx.example.org", behind the @ of Message-ID, and of
	// MAILER-DAEMON where the null sender wrote. Required.
	Hostname string
	// FullName is the name under which env.Attrs has the name of who wrote the
	// message, "Alice Example", for From; "" means that there is none.
	FullName string
}

// Filter adds the fields above the others. Date is env.Arrival, now when that is
// zero; From is the sender's address, and his name where that is known. The error is of the sender's address, when
// it cannot stand in a header.
func (a Missing) Filter(_ context.Context, env *mtakit.Envelope, m *mtakit.Message) (mtakit.Verdict, error) {
	at := env.Arrival
	if at.IsZero() {
		at = time.Now()
	}
	prefix := resentPrefix(m.Header)
	var fields []mtakit.Field
	for _, f := range [...]struct{ name, value string }{
		{"Date", at.Format("Mon, _2 Jan 2006 15:04:05 -0700 (MST)")},
		{"Message-ID", "<" + at.UTC().Format("20060102150405") + "." + rand.Text()[:13] + "@" + a.Hostname + ">"},
		{"From", a.author(env)},
	} {
		if m.Header.Count(prefix+f.name) > 0 {
			continue
		}
		field, err := mtakit.NewField(prefix+f.name, f.value)
		if err != nil {
			return mtakit.Verdict{}, err
		}
		fields = append(fields, field)
	}
	m.Header.Prepend(fields...)
	return mtakit.Verdict{}, nil
}

func (a Missing) author(env *mtakit.Envelope) string {
	address := env.Sender
	if address == "" {
		address = "MAILER-DAEMON@" + a.Hostname
	}
	name := ""
	if a.FullName != "" {
		name = env.Attrs[a.FullName]
	}
	// An encoded word (RFC 2047) holds whatever it is.
	encoded := mime.QEncoding.Encode("utf-8", name)
	switch {
	case name == "":
		return address
	case encoded == name:
		encoded = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
	}
	return encoded + " <" + address + ">"
}

func resentPrefix(h *mtakit.Header) string {
	const prefix = "Resent-"
	for _, f := range h.All() {
		if name := f.Name(); len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			return prefix
		}
	}
	return ""
}

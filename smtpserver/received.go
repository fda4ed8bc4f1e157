package smtpserver

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/mtakit/mtakit"
)

// maxFor bounds the address in Received: a longer one is left out, so that the
// line stays below 998 octets (RFC 5322, section 2.1.1).
const maxFor = 512

// complement puts our own fields above the header that was received.
func (v *visit) complement(env *mtakit.Envelope, m *mtakit.Message) {
	fields := v.prepended(make([]mtakit.Field, 0, 4))
	at := time.Now()
	received, err := mtakit.ParseField(string(v.received(make([]byte, 0, 512), env, at)))
	if err != nil {
		v.log(slog.LevelError, "no Received field", "err", err)
	} else {
		fields = append(fields, received)
	}
	m.Header.Prepend(v.missing(fields, env, m.Header, at)...)
}

// received writes our trace field (RFC 5321, section 4.4), laid out as Postfix
// does it:
//
//	Received: from client.example.org (mail.example.org [192.0.2.1])
//		(using TLSv1.3 with cipher TLS_AES_128_GCM_SHA256)
//		by mx.example.org (mtakit) with ESMTPS id 0x3k1qrs8zzab-1
//		for <user@example.org>; Sun, 22 Nov 2026 10:00:00 +0000 (UTC)
//
// What comes from the client is written so that it stays what it is: a name
// cannot end a comment, nor an address the line.
func (v *visit) received(b []byte, env *mtakit.Envelope, at time.Time) []byte {
	c := &env.Client
	unicode := env.Options.UTF8
	b = append(b, "Received: from "...)
	b = appendWord(b, c.HELO, unicode)
	b = append(b, " ("...)
	b = appendWord(b, c.Name, unicode)
	b = appendAddr(b, c.Addr.Addr())
	b = append(b, ')')
	b = appendTLS(b, c.TLS)
	b = append(b, "\r\n\tby "...)
	b = appendWord(b, v.host, unicode)
	b = append(b, " (mtakit) with "...)
	b = appendWord(b, c.Protocol, false)
	b = append(b, " id "...)
	b = append(b, v.transaction()...)
	// More than one recipient would tell each of the others, blind copies among
	// them (RFC 5321, section 7.2).
	if len(v.s.Envelope.Recipients) == 1 {
		if to := v.s.Envelope.Recipients[0].OriginalAddress(); isPlain(to, unicode) && len(to) <= maxFor {
			b = append(b, "\r\n\tfor <"...)
			b = append(b, to...)
			b = append(b, '>')
		}
	}
	b = append(b, "; "...)
	return at.AppendFormat(b, "Mon, _2 Jan 2006 15:04:05 -0700 (MST)")
}

// appendWord writes a name from outside, with a question mark for every
// character that could mean something in a structured field.
func appendWord(b []byte, word string, unicode bool) []byte {
	if word == "" {
		return append(b, unknownName...)
	}
	for i := range len(word) {
		ch := word[i]
		switch {
		case ch <= ' ', ch == 0x7f, ch >= 0x80 && !unicode, isSpecial(ch):
			ch = '?'
		}
		b = append(b, ch)
	}
	return b
}

func isSpecial(ch byte) bool {
	switch ch {
	case '(', ')', '<', '>', '@', ',', ';', '\\', '"':
		return true
	}
	return false
}

// appendAddr writes " [192.0.2.1]" or " [IPv6:2001:db8::1]"; nothing for a
// client that has no address.
func appendAddr(b []byte, a netip.Addr) []byte {
	if !a.IsValid() {
		return b
	}
	b = append(b, " ["...)
	if a.Is6() {
		b = append(b, "IPv6:"...)
	}
	return append(a.WithZone("").AppendTo(b), ']')
}

func appendTLS(b []byte, t mtakit.TLS) []byte {
	if !t.On() {
		return b
	}
	b = append(b, "\r\n\t(using "...)
	b = appendWord(b, t.Version, false)
	b = append(b, " with cipher "...)
	b = appendWord(b, t.Cipher, false)
	b = append(b, ')')
	if t.Peer == "" {
		return b
	}
	b = append(b, "\r\n\t(Client CN "...)
	b = appendWord(b, t.Peer[:min(len(t.Peer), maxDomain)], false)
	return append(b, " (verified OK))"...)
}

// isPlain reports whether an address can stand in a header as it is.
func isPlain(address string, unicode bool) bool {
	for i := range len(address) {
		if ch := address[i]; ch < ' ' || ch == 0x7f || ch >= 0x80 && !unicode {
			return false
		}
	}
	return address != ""
}

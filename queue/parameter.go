package queue

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue/internal/wire"
)

// A sender and a recipient of a submission are what stands behind MAIL FROM: and
// RCPT TO: (RFC 5321, section 4.1.1), with the parameters of RFC 6152, RFC 6531
// and RFC 3461. This file reads and writes them.

// Bounds of RFC 3461, section 5.4, for what is encoded.
const (
	maxENVID = 100
	maxORCPT = 500
)

// path cuts "<user@example.org> NAME=value" into address and parameters. The
// brackets may be missing; then there are no parameters.
func path(s string) (address string, parameters []string, err error) {
	address = s
	if strings.HasPrefix(s, "<") {
		end := closing(s)
		if end < 0 || end+1 < len(s) && s[end+1] != ' ' {
			return "", nil, fmt.Errorf("bad path %.80q", s)
		}
		address, parameters = s[1:end], strings.Fields(s[end+1:])
	}
	if !wire.IsAddress(address) {
		return "", nil, fmt.Errorf("bad address %.80q", address)
	}
	return address, parameters, nil
}

// closing returns where the bracket closes that s begins with, or -1.
func closing(s string) int {
	quoted := false
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '>' && !quoted:
			return i
		}
	}
	return -1
}

func readSender(env *mtakit.Envelope, value string) error {
	address, parameters, err := path(value)
	if err != nil {
		return err
	}
	env.Sender = address
	for _, p := range parameters {
		if !mailParameter(&env.Options, p) {
			return fmt.Errorf("bad parameter %.80q", p)
		}
	}
	return nil
}

func mailParameter(o *smtp.MailOptions, p string) (ok bool) {
	name, value, _ := strings.Cut(p, "=")
	switch strings.ToUpper(name) {
	case "BODY":
		o.Body = smtp.BodyType(strings.ToUpper(value))
		return o.Body == smtp.Body7Bit || o.Body == smtp.Body8BitMIME
	case "SMTPUTF8":
		o.UTF8 = true
		return value == ""
	case "RET":
		o.Return = smtp.DSNReturn(strings.ToUpper(value))
		return o.Return == smtp.DSNReturnFull || o.Return == smtp.DSNReturnHeaders
	case "ENVID":
		o.EnvelopeID, ok = decodeXtext(value)
		return ok && o.EnvelopeID != "" && len(value) <= maxENVID && printableASCII(o.EnvelopeID)
	}
	return false
}

func readRecipient(env *mtakit.Envelope, value string) error {
	address, parameters, err := path(value)
	if err != nil {
		return err
	}
	r := mtakit.Recipient{Address: address}
	for _, p := range parameters {
		if !rcptParameter(&r.Options, p) {
			return fmt.Errorf("bad parameter %.80q", p)
		}
	}
	env.Recipients = append(env.Recipients, r)
	return nil
}

func rcptParameter(o *smtp.RcptOptions, p string) bool {
	name, value, _ := strings.Cut(p, "=")
	switch strings.ToUpper(name) {
	case "NOTIFY":
		return o.Notify == nil && notifyParameter(o, value)
	case "ORCPT":
		return o.OriginalRecipient == "" && orcptParameter(o, value)
	}
	return false
}

// notifyParameter reads NEVER alone, or a list of the others (RFC 3461, section
// 4.1).
func notifyParameter(o *smtp.RcptOptions, value string) bool {
	for word := range strings.SplitSeq(strings.ToUpper(value), ",") {
		n := smtp.DSNNotify(word)
		switch n {
		case smtp.DSNNotifyNever, smtp.DSNNotifySuccess, smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed:
		default:
			return false
		}
		if slices.Contains(o.Notify, n) {
			return false
		}
		o.Notify = append(o.Notify, n)
	}
	return len(o.Notify) == 1 || !slices.Contains(o.Notify, smtp.DSNNotifyNever)
}

// orcptParameter reads "rfc822;user@example.org" in xtext, and
// "utf-8;\x{FC}ser@example.org" (RFC 6533, section 3).
func orcptParameter(o *smtp.RcptOptions, value string) bool {
	kind, encoded, ok := strings.Cut(value, ";")
	if !ok || kind == "" || len(value) > maxORCPT {
		return false
	}
	o.OriginalRecipientType = smtp.DSNAddressType(strings.ToUpper(kind))
	switch o.OriginalRecipientType {
	case smtp.DSNAddressTypeRFC822:
		o.OriginalRecipient, ok = decodeXtext(encoded)
		ok = ok && printableASCII(o.OriginalRecipient)
	case smtp.DSNAddressTypeUTF8:
		o.OriginalRecipient, ok = decodeUnitext(encoded)
		ok = ok && printable(o.OriginalRecipient)
	default:
		return false
	}
	return ok && o.OriginalRecipient != ""
}

func readAttribute(env *mtakit.Envelope, text string) error {
	name, value, ok := strings.Cut(text, "=")
	name, okName := decodeXtext(name)
	value, okValue := decodeXtext(value)
	if !ok || !okName || !okValue || name == AttrFullName {
		return fmt.Errorf("bad attribute %.80q", text)
	}
	return setAttribute(env, name, value)
}

func setAttribute(env *mtakit.Envelope, name, value string) error {
	if _, twice := env.Attrs[name]; twice {
		return fmt.Errorf("attribute %.80q twice", name)
	}
	if env.Attrs == nil {
		env.Attrs = make(map[string]string)
	}
	env.Attrs[name] = value
	return nil
}

// mailPath writes what stands behind MAIL FROM:.
func mailPath(env *mtakit.Envelope) string {
	s, o := "<"+env.Sender+">", &env.Options
	if o.Body != "" {
		s += " BODY=" + string(o.Body)
	}
	if o.UTF8 {
		s += " SMTPUTF8"
	}
	if o.Return != "" {
		s += " RET=" + string(o.Return)
	}
	if o.EnvelopeID != "" {
		s += " ENVID=" + wire.Xtext(o.EnvelopeID)
	}
	return s
}

// rcptPath writes what stands behind RCPT TO:.
func rcptPath(r *mtakit.Recipient) string {
	s, o := "<"+r.Address+">", &r.Options
	if len(o.Notify) > 0 {
		words := make([]string, len(o.Notify))
		for i, n := range o.Notify {
			words[i] = string(n)
		}
		s += " NOTIFY=" + strings.Join(words, ",")
	}
	switch {
	case o.OriginalRecipient == "":
	case o.OriginalRecipientType == smtp.DSNAddressTypeUTF8:
		s += " ORCPT=utf-8;" + unitext(o.OriginalRecipient)
	default:
		s += " ORCPT=rfc822;" + wire.Xtext(o.OriginalRecipient)
	}
	return s
}

func decodeXtext(s string) (string, bool) {
	var b strings.Builder
	for {
		text, rest, more := strings.Cut(s, "+")
		if !printableASCII(text) || strings.ContainsAny(text, " =") {
			return "", false
		}
		b.WriteString(text)
		if !more {
			return b.String(), true
		}
		if len(rest) < 2 || strings.ToUpper(rest[:2]) != rest[:2] {
			return "", false
		}
		ch, err := strconv.ParseUint(rest[:2], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(ch))
		s = rest[2:]
	}
}

// unitext encodes the address of ORCPT=utf-8 in ASCII (RFC 6533, section 3).
func unitext(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r > ' ' && r < 0x7f && r != '+' && r != '=' && r != '\\' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%02X}`, r)
		}
	}
	return b.String()
}

func decodeUnitext(s string) (string, bool) {
	var b strings.Builder
	for {
		text, rest, more := strings.Cut(s, `\x{`)
		if !printable(text) || strings.ContainsAny(text, ` \+=`) {
			return "", false
		}
		b.WriteString(text)
		if !more {
			return b.String(), true
		}
		digits, rest, closed := strings.Cut(rest, "}")
		n, err := strconv.ParseUint(digits, 16, 32)
		if !closed || err != nil || n > utf8.MaxRune || !utf8.ValidRune(rune(n)) {
			return "", false
		}
		b.WriteRune(rune(n))
		s = rest
	}
}

// printable reports whether s is UTF-8 without control characters: nothing in it
// can end a line.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 })
}

func printableASCII(s string) bool { return isASCII(s) && printable(s) }

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

package smtpserver

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Limits of RFC 3461, sections 4.2 and 4.4, in octets of the encoded value.
const (
	maxENVID = 100
	maxORCPT = 500
)

var (
	unicodeReply = &smtp.SMTPError{Code: 553, EnhancedCode: smtp.EnhancedCode{5, 6, 7},
		Message: "Must declare SMTPUTF8 to send unicode address"}
	tooBigReply = &smtp.SMTPError{Code: 552, EnhancedCode: smtp.EnhancedCode{5, 3, 4},
		Message: "Message size exceeds fixed limit"}
)

// badParam is the answer to a parameter whose value cannot be.
func badParam(text string) *smtp.SMTPError {
	return &smtp.SMTPError{Code: 501, EnhancedCode: smtp.EnhancedCode{5, 5, 4}, Message: text}
}

// unsupported is the answer to a parameter that nobody knows (RFC 5321, section
// 4.1.1.11).
func unsupported(p mtakit.Param) *smtp.SMTPError {
	text := p.Name
	if p.Value != "" {
		text += "=" + p.Value
	}
	return &smtp.SMTPError{Code: 555, EnhancedCode: smtp.EnhancedCode{5, 5, 4}, Message: "Unsupported option: " + text}
}

// param is one "NAME=value"; name is in upper case.
type param struct {
	name, value []byte
	assigned    bool // there was a =
}

// nextParam cuts the first parameter off b. ok is false when it is none.
func nextParam(b []byte, buf *[32]byte) (p param, rest []byte, ok bool) {
	end := 0
	for end < len(b) && b[end] != ' ' && b[end] != '\t' {
		end++
	}
	p.name, p.value, p.assigned = bytes.Cut(b[:end], []byte{'='})
	if len(p.name) == 0 || len(p.name) > len(buf) || p.name[0] == '-' {
		return p, nil, false
	}
	for i, ch := range p.name {
		if 'a' <= ch && ch <= 'z' {
			ch -= 'a' - 'A'
		}
		if !('A' <= ch && ch <= 'Z' || '0' <= ch && ch <= '9' || ch == '-') {
			return p, nil, false
		}
		buf[i] = ch
	}
	p.name = buf[:len(p.name)]
	return p, trimSpace(b[end:]), true
}

// mailParams reads the parameters of MAIL into opts. What go-smtp has no field
// for is returned.
func (c *Conn) mailParams(rest []byte, opts *smtp.MailOptions) (extra []mtakit.Param, bad *smtp.SMTPError) {
	var buf [32]byte
	var seen uint
	for rest = trimSpace(rest); len(rest) > 0; {
		p, next, ok := nextParam(rest, &buf)
		if !ok {
			return nil, badParam("Bad MAIL parameter syntax")
		}
		known, bad := c.mailParam(p, opts)
		if bad != nil {
			return nil, bad
		}
		if known != 0 && seen&known != 0 {
			return nil, badParam("Duplicate option: " + string(p.name))
		}
		if seen |= known; known == 0 {
			extra = append(extra, mtakit.Param{Name: string(p.name), Value: string(p.value)})
		}
		rest = next
	}
	return extra, nil
}

// mailParam reads one parameter; known is 0 when it is none of ours, and else a
// bit of its own.
func (c *Conn) mailParam(p param, opts *smtp.MailOptions) (known uint, bad *smtp.SMTPError) {
	switch string(p.name) {
	case "SIZE":
		return 1, c.sizeParam(p.value, opts)
	case "BODY":
		return 2, bodyParam(p.value, opts)
	case "SMTPUTF8":
		if opts.UTF8 = true; p.assigned {
			return 4, badParam("Bad SMTPUTF8 parameter syntax")
		}
		return 4, nil
	case "RET":
		return 8, retParam(p.value, opts)
	case "ENVID":
		id, ok := decodeXtext(string(p.value))
		if opts.EnvelopeID = id; !ok || id == "" || len(p.value) > maxENVID {
			return 16, badParam("Bad ENVID parameter syntax")
		}
		return 16, nil
	case "AUTH":
		if len(c.mechanisms()) == 0 {
			return 0, nil // not offered, so not ours
		}
		return 32, c.authParam(p.value, opts)
	}
	return 0, nil
}

// sizeParam reads SIZE (RFC 1870, section 5): up to 20 digits, which is more
// than there is.
func (c *Conn) sizeParam(value []byte, opts *smtp.MailOptions) *smtp.SMTPError {
	n, err := parseSize(value)
	if errors.Is(err, strconv.ErrSyntax) {
		return badParam("Bad message size syntax")
	}
	if err != nil || c.server.MaxSize > 0 && n > c.server.MaxSize {
		return tooBigReply
	}
	opts.Size = n
	return nil
}

// parseSize reads a number of bytes. It makes nothing of its own on the heap
// when the number is good.
func parseSize(b []byte) (int64, error) {
	if len(b) == 0 || len(b) > 20 {
		return 0, strconv.ErrSyntax
	}
	var n uint64
	over := false
	for _, ch := range b {
		if ch < '0' || ch > '9' {
			return 0, strconv.ErrSyntax
		}
		d := uint64(ch - '0')
		over = over || n > (math.MaxInt64-d)/10
		n = n*10 + d
	}
	if over {
		return 0, strconv.ErrRange
	}
	return int64(n), nil
}

// bodyParam reads BODY (RFC 6152). BINARYMIME is not offered: lines are what the
// next server may need.
func bodyParam(value []byte, opts *smtp.MailOptions) *smtp.SMTPError {
	switch {
	case foldEqual(value, "7BIT"):
		opts.Body = smtp.Body7Bit
	case foldEqual(value, "8BITMIME"):
		opts.Body = smtp.Body8BitMIME
	default:
		return badParam("Unsupported option: BODY=" + string(value))
	}
	return nil
}

func retParam(value []byte, opts *smtp.MailOptions) *smtp.SMTPError {
	switch {
	case foldEqual(value, "FULL"):
		opts.Return = smtp.DSNReturnFull
	case foldEqual(value, "HDRS"):
		opts.Return = smtp.DSNReturnHeaders
	default:
		return badParam("Bad RET parameter syntax")
	}
	return nil
}

// authParam reads AUTH (RFC 4954, section 5). What a client says that is not
// authenticated is taken as AUTH=<>.
func (c *Conn) authParam(value []byte, opts *smtp.MailOptions) *smtp.SMTPError {
	bad := badParam("Bad AUTH parameter syntax")
	text, ok := decodeXtext(string(value))
	if !ok || text == "" {
		return bad
	}
	who := ""
	if text != "<>" {
		p, err := parsePath([]byte("<"+strings.Trim(text, "<>")+">"), false)
		if err != nil || p.address == "" || len(p.rest) > 0 {
			return bad
		}
		who = p.address
	}
	if c.client.Login == "" {
		who = ""
	}
	opts.Auth = &who
	return nil
}

// rcptParams reads the parameters of RCPT into opts.
func (c *Conn) rcptParams(rest []byte, opts *smtp.RcptOptions) (extra []mtakit.Param, bad *smtp.SMTPError) {
	var buf [32]byte
	for rest = trimSpace(rest); len(rest) > 0; {
		p, next, ok := nextParam(rest, &buf)
		if !ok {
			return nil, badParam("Bad RCPT parameter syntax")
		}
		switch string(p.name) {
		case "NOTIFY":
			if opts.Notify != nil || !notifyParam(p.value, opts) {
				return nil, badParam("Bad NOTIFY parameter syntax")
			}
		case "ORCPT":
			if opts.OriginalRecipient != "" || !orcptParam(string(p.value), opts) {
				return nil, badParam("Bad ORCPT parameter syntax")
			}
		default:
			extra = append(extra, mtakit.Param{Name: string(p.name), Value: string(p.value)})
		}
		rest = next
	}
	return extra, nil
}

// notifies is what NOTIFY may say.
var notifies = [...]smtp.DSNNotify{smtp.DSNNotifyNever, smtp.DSNNotifySuccess, smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed}

// notifyParam reads NOTIFY (RFC 3461, section 4.1): NEVER alone, or a list.
func notifyParam(value []byte, opts *smtp.RcptOptions) bool {
	var seen [len(notifies)]bool
	opts.Notify = make([]smtp.DSNNotify, 0, len(notifies)-1)
	for more := true; more; {
		var word []byte
		word, value, more = bytes.Cut(value, []byte{','})
		i := slices.IndexFunc(notifies[:], func(n smtp.DSNNotify) bool { return foldEqual(word, string(n)) })
		if i < 0 || seen[i] {
			return false
		}
		seen[i] = true
		opts.Notify = append(opts.Notify, notifies[i])
	}
	return !seen[0] || len(opts.Notify) == 1
}

// orcptParam reads ORCPT (RFC 3461, section 4.2; RFC 6533, section 3):
// "rfc822;user@example.org". The type is stored in upper case.
func orcptParam(value string, opts *smtp.RcptOptions) bool {
	kind, encoded, ok := strings.Cut(value, ";")
	if !ok || kind == "" || encoded == "" || len(value) > maxORCPT {
		return false
	}
	for i := range len(kind) {
		if !isAtext(kind[i]) || kind[i] >= 0x80 {
			return false
		}
	}
	decode := decodeXtext
	if strings.EqualFold(kind, string(smtp.DSNAddressTypeUTF8)) {
		decode = decodeUTF8Address
	}
	if opts.OriginalRecipient, ok = decode(encoded); !ok {
		return false
	}
	opts.OriginalRecipientType = smtp.DSNAddressType(strings.ToUpper(kind))
	return true
}

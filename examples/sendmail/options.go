package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit/queue/control"
)

// mode is what it is asked to do.
type mode int

const (
	modeSend mode = iota
	modeSMTP
	modeList
	modeFlush
	modeAliases
	modeVerify
)

// options is what the command line says.
type options struct {
	mode      mode
	dir       string // the server's
	sender    string
	given     bool // a sender
	fullName  string
	body      smtp.BodyType
	notify    []smtp.DSNNotify
	ret       smtp.DSNReturn
	envid     string
	header    bool // take recipients from the header
	dots      bool // a dot alone does not end the message
	verbose   bool
	selection control.Selection // of messages to flush
	aliases   string            // the file
	names     []string          // the rest of the command line
}

// The options of one letter. What other programs pass, and Postfix ignores, is
// ignored here.
const (
	plainOptions    = "cGiImntUvx"        // without an argument
	argumentOptions = "ABbCDFfhLNOopRrVX" // with one, here or as the next word
	attachedOptions = "deqs"              // with one here, or without
)

// parse reads the command line. Options stand before recipients.
func parse(args []string) (*options, error) {
	o := &options{dir: directory}
	if dir := os.Getenv("MAIL_CONFIG"); dir != "" {
		o.dir = dir
	}
	if len(args) == 0 {
		args = []string{"sendmail"}
	}
	switch name := filepath.Base(args[0]); name {
	case "mailq":
		o.mode = modeList
	case "newaliases":
		o.mode = modeAliases
	case "smtpd", "hoststat", "purgestat":
		return nil, fail(exitUsage, "%s is not supported", name)
	}
	rest := args[1:]
	for len(rest) > 0 && len(rest[0]) > 1 && rest[0][0] == '-' {
		word := rest[0]
		rest = rest[1:]
		if word == "--" {
			break
		}
		for letters := word[1:]; letters != ""; {
			letter := letters[0]
			value := letters[1:]
			letters = ""
			switch {
			case strings.IndexByte(plainOptions, letter) >= 0:
				value, letters = "", value
			case strings.IndexByte(attachedOptions, letter) >= 0:
			case strings.IndexByte(argumentOptions, letter) < 0:
				return nil, fail(exitUsage, "unknown option -%c", rune(letter))
			case value == "" && len(rest) == 0:
				return nil, fail(exitUsage, "option -%c needs an argument", rune(letter))
			case value == "":
				value, rest = rest[0], rest[1:]
			}
			if err := o.set(letter, value); err != nil {
				return nil, err
			}
		}
	}
	o.names = rest
	return o, o.check()
}

// set heeds one option.
func (o *options) set(letter byte, value string) (err error) {
	switch letter {
	case 'B':
		return o.setBody(value)
	case 'b':
		return o.setMode(value)
	case 'C':
		o.dir = value
	case 'F':
		o.fullName, err = text("-F", value)
	case 'f', 'r':
		o.sender, err = senderOf(value)
		o.given = true
	case 'I':
		o.mode = modeAliases
	case 'i':
		o.dots = true
	case 'N':
		return o.setNotify(value)
	case 'o':
		return o.setOld(value)
	case 'q':
		return o.setFlush(value)
	case 'R':
		return o.setReturn(value)
	case 't':
		o.header = true
	case 'V':
		return o.setEnvelopeID(value)
	case 'v':
		o.verbose = true
	}
	return err
}

func (o *options) setMode(value string) error {
	switch value {
	case "m", "a":
		o.mode = modeSend
	case "s":
		o.mode = modeSMTP
	case "p", "P":
		o.mode = modeList
	case "i":
		o.mode = modeAliases
	case "v":
		o.mode = modeVerify
	case "d", "D", "l":
		return fail(exitUsage, "-b%s: this is not the server: start it by itself", value)
	default:
		return fail(exitUsage, "-b%s is not supported", value)
	}
	return nil
}

func (o *options) setBody(value string) error {
	o.body = smtp.BodyType(strings.ToUpper(value))
	if o.body != smtp.Body7Bit && o.body != smtp.Body8BitMIME {
		return fail(exitUsage, "-B %s: want 7BIT or 8BITMIME", value)
	}
	return nil
}

// setOld heeds Sendmail's -oi, -o7, -o8 and -oAFILE. All others are for its daemon.
func (o *options) setOld(value string) error {
	switch value[0] {
	case 'A':
		o.aliases = value[1:]
	case 'i':
		o.dots = true
	case '7':
		o.body = smtp.Body7Bit
	case '8':
		o.body = smtp.Body8BitMIME
	}
	return nil
}

// setFlush heeds -q, and Sendmail's -qI, -qR and -qS with a part of the queue ID,
// of a recipient or of the sender, "!" before the letter turning it round. -q30m
// would be a daemon's: the server looks after its queue by itself, so that trying
// everything once is all there is to do.
func (o *options) setFlush(value string) error {
	o.mode = modeFlush
	kind, not := strings.CutPrefix(value, "!")
	pattern := ""
	if kind != "" {
		if pattern = kind[1:]; not {
			pattern = "!" + pattern
		}
	}
	switch {
	case value == "" || value == "f":
		return nil
	case kind == "" || len(kind) == 1:
	case kind[0] == 'I':
		o.selection.ID = pattern
		return nil
	case kind[0] == 'R':
		o.selection.Recipient = pattern
		return nil
	case kind[0] == 'S':
		o.selection.Sender = pattern
		return nil
	case !not && isInterval(value):
		return nil
	}
	return fail(exitUsage, "-q%s is not supported", value)
}

// isInterval says whether it is a time as Sendmail writes it: numbers with s, m, h,
// d or w behind them, "2h30m"; a number alone is minutes.
func isInterval(s string) bool {
	for s != "" {
		rest := strings.TrimLeft(s, "0123456789")
		if digits := len(s) - len(rest); digits == 0 || digits > 6 {
			return false
		}
		if rest == "" {
			return true
		}
		if !strings.ContainsRune("smhdw", unicode.ToLower(rune(rest[0]))) {
			return false
		}
		if s = rest[1:]; s == "" {
			return true
		}
	}
	return false
}

func (o *options) setReturn(value string) error {
	o.ret = smtp.DSNReturn(strings.ToUpper(value))
	if o.ret != smtp.DSNReturnFull && o.ret != smtp.DSNReturnHeaders {
		return fail(exitUsage, "-R %s: want full or hdrs", value)
	}
	return nil
}

func (o *options) setNotify(value string) error {
	o.notify = nil
	for word := range strings.SplitSeq(strings.ToUpper(value), ",") {
		n := smtp.DSNNotify(strings.TrimSpace(word))
		switch n {
		case smtp.DSNNotifyNever, smtp.DSNNotifySuccess, smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed:
		default:
			return fail(exitUsage, "-N %s: want never, or some of success, failure, delay", value)
		}
		if !slices.Contains(o.notify, n) {
			o.notify = append(o.notify, n)
		}
	}
	if len(o.notify) > 1 && slices.Contains(o.notify, smtp.DSNNotifyNever) {
		return fail(exitUsage, "-N %s: never stands alone", value)
	}
	return nil
}

// setEnvelopeID heeds -V. RFC 3461, section 4.4, has 100 characters for it, as
// they are encoded.
func (o *options) setEnvelopeID(value string) (err error) {
	if o.envid, err = text("-V", value); err != nil {
		return err
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r >= utf8.RuneSelf }) || value == "" || len(value) > 100/3 && len(xtext(value)) > 100 {
		return fail(exitUsage, "-V %s: want at most 100 characters of ASCII", value)
	}
	return nil
}

// xtext is as long as RFC 3461, section 4, makes it.
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == '+' || s[i] == '=' {
			fmt.Fprintf(&b, "+%02X", s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// text is an argument that cannot hide a line end.
func text(option, value string) (string, error) {
	if !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
		return "", fail(exitUsage, "%s: bad character in %.100q", option, value)
	}
	return strings.TrimSpace(value), nil
}

func (o *options) check() error {
	if info, err := os.Stat(o.dir); err != nil || !info.IsDir() {
		return fail(exitConfig, "%s is not the directory of a server", o.dir)
	}
	for _, name := range o.names {
		if strings.HasPrefix(name, "-") {
			return fail(exitUsage, "option %s behind a recipient", name)
		}
	}
	return nil
}

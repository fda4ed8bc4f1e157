package local

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/mtakit/mtakit"
)

var errRoot = errors.New("mail is not delivered to commands and files as root: set Default")

// letter is a message on its way to a command or a file.
type letter struct {
	envelope  *mtakit.Envelope
	recipient *mtakit.Recipient
	message   *mtakit.Message
	local     string // the address whose alias or .forward this is
	delimiter string
}

// fields are what local(8) puts above a message.
func (l letter) fields() ([]mtakit.Field, error) {
	values := [...][2]string{
		{"Return-Path", "<" + l.envelope.Sender + ">"},
		{"X-Original-To", l.recipient.OriginalAddress()},
		{"Delivered-To", l.recipient.Address},
	}
	fields := make([]mtakit.Field, 0, len(values))
	for _, v := range values {
		f, err := mtakit.NewField(v[0], v[1])
		if err != nil {
			return nil, err
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// writeTo writes the "From " line, the fields and the message with the line ends of
// Unix. With quote, lines that begin with "From " get a ">", and an empty line ends it:
// that is mbox(5).
func (l letter) writeTo(w io.Writer, quote bool) error {
	fields, err := l.fields()
	if err != nil {
		return err
	}
	header := l.message.Header.Clone()
	header.Prepend(fields...)
	m := &mtakit.Message{Header: header, Body: l.message.Body}
	sender := l.envelope.Sender
	if sender == "" {
		sender = "MAILER-DAEMON"
	}
	u := &unixLines{w: bufio.NewWriterSize(w, 1<<16), quote: quote, start: true}
	fmt.Fprintf(u.w, "From %s %s\n", sender, time.Now().Format(time.ANSIC))
	if _, err := m.WriteTo(u); err != nil {
		return err
	}
	return u.end()
}

// unixLines turns CRLF into LF. A CR that is no part of one stays.
type unixLines struct {
	w     *bufio.Writer
	quote bool
	start bool // of a line
	cr    bool // was the last byte, and is not written yet
	from  int  // how much of "From " has been seen at the start of this line, and is not written yet
}

var fromLine = []byte("From ")

func (u *unixLines) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if u.cr {
			u.cr = false
			if p[0] != '\n' {
				u.put([]byte{'\r'})
			}
		}
		line := p
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			line = p[:i+1]
		}
		p = p[len(line):]
		switch {
		case bytes.HasSuffix(line, []byte("\r\n")):
			u.put(line[:len(line)-2])
			u.put([]byte{'\n'})
		case line[len(line)-1] == '\r':
			u.put(line[:len(line)-1])
			u.cr = true
		default:
			u.put(line)
		}
	}
	return n, nil // errors stay in the bufio.Writer until Flush
}

func (u *unixLines) put(b []byte) {
	if len(b) == 0 {
		return
	}
	if u.quote && (u.start || u.from > 0) {
		n := min(len(b), len(fromLine)-u.from)
		if bytes.Equal(b[:n], fromLine[u.from:u.from+n]) {
			u.from += n
			b = b[n:]
			u.start = false
		}
		if u.from < len(fromLine) && len(b) == 0 {
			return // it may be torn between two writes
		}
		u.release(u.from == len(fromLine))
	}
	if len(b) > 0 {
		u.w.Write(b)
		u.start = b[len(b)-1] == '\n'
	}
}

// release writes what was held back of "From ".
func (u *unixLines) release(quoted bool) {
	if quoted {
		u.w.WriteByte('>')
	}
	u.w.Write(fromLine[:u.from])
	u.from = 0
}

// end completes the last line.
func (u *unixLines) end() error {
	if u.cr {
		u.put([]byte{'\r'})
	}
	u.release(false)
	if !u.start {
		u.w.WriteByte('\n')
	}
	if u.quote {
		u.w.WriteByte('\n')
	}
	return u.w.Flush()
}

// environment is what a command is told, as in local(8).
func (l letter) environment(u User) []string {
	name, domain := split(l.local)
	user, extension := splitExtension(name, l.delimiter)
	if extension != "" {
		extension = extension[1:]
	}
	values := [...][2]string{
		{"PATH", "/usr/bin:/bin"}, {"SHELL", "/bin/sh"}, {"HOME", u.Home}, {"LOGNAME", u.Name}, {"USER", u.Name},
		{"SENDER", l.envelope.Sender}, {"RECIPIENT", l.recipient.Address}, {"ORIGINAL_RECIPIENT", l.recipient.OriginalAddress()},
		{"LOCAL", name}, {"DOMAIN", domain}, {"MAILBOX_NAME", user}, {"EXTENSION", extension}, {"ENVID", l.envelope.Options.EnvelopeID},
		{"CLIENT_ADDRESS", clientAddress(l.envelope)}, {"CLIENT_HELO", l.envelope.Client.HELO}, {"SASL_USERNAME", l.envelope.Client.Login},
	}
	env := make([]string, 0, len(values))
	for _, v := range values {
		if v[1] != "" && !strings.Contains(v[1], "\x00") {
			env = append(env, v[0]+"="+v[1])
		}
	}
	return env
}

func clientAddress(e *mtakit.Envelope) string {
	if a := e.Client.Addr.Addr(); a.IsValid() {
		return a.String()
	}
	return ""
}

// trouble is the result of what the system said.
func trouble(err error) mtakit.Result {
	switch {
	case errors.Is(err, errDisabled), errors.Is(err, errRoot), errors.Is(err, errIdentity):
		return failed(4, 3, 5, "mail system configuration error")
	case errors.Is(err, errFull):
		return failed(5, 2, 2, "mailbox full: it would exceed its size limit")
	case errors.Is(err, errNoFile):
		return failed(5, 2, 0, "not a file that mail may be appended to")
	case errors.Is(err, syscall.ENOSPC):
		return failed(4, 3, 1, "insufficient system storage")
	case errors.Is(err, syscall.EDQUOT):
		return failed(4, 2, 2, "mailbox full: disk quota exceeded")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return failed(4, 3, 2, "delivery interrupted")
	case errors.Is(err, errLocked):
		return failed(4, 2, 0, "the mailbox is locked by somebody else")
	}
	return failed(4, 3, 0, "cannot deliver")
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// text of a message, in a file that has no name.
type stored struct {
	file     *os.File
	size     int64
	eightBit bool
}

// store reads a message from standard input: to its end, or to a line with
// nothing but a dot. Lines in front that a mailbox has between its messages are
// left out.
func store(ctx context.Context, r io.Reader, dots bool) (m *stored, err error) {
	most, err := mostBytes()
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp("", "sendmail")
	if err != nil {
		return nil, fail(exitCantCreat, "%w", err)
	}
	_ = os.Remove(f.Name())
	m = &stored{file: f}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	in, out := bufio.NewReaderSize(r, 1<<16), bufio.NewWriterSize(f, 1<<16)
	atStart, above := true, true // of a line, and of the message
	for {
		if ctx.Err() != nil {
			return nil, fail(exitTempFail, "interrupted")
		}
		line, err := in.ReadSlice('\n')
		if atStart && !dots && (string(line) == ".\n" || string(line) == ".\r\n") {
			break
		}
		above = above && atStart && mailboxLine(line)
		if !above {
			m.add(line, out)
		}
		atStart = err == nil
		switch {
		case m.size > most:
			return nil, fail(exitDataErr, "the message has more than %d bytes", most)
		case err == nil, errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return m, m.end(out)
		default:
			return nil, fail(exitIOErr, "reading the message: %w", err)
		}
	}
	return m, m.end(out)
}

// mostBytes is how long a message may be.
func mostBytes() (int64, error) {
	n, err := strconv.ParseInt(limit, 10, 64)
	if err != nil || n <= 0 {
		return 0, fail(exitConfig, "built with limit %q", limit)
	}
	return n, nil
}

// mailboxLine reports whether a line is mbox(5)'s "From user date".
func mailboxLine(line []byte) bool {
	return bytes.HasPrefix(bytes.TrimPrefix(line, []byte(">")), []byte("From "))
}

func (m *stored) add(line []byte, out *bufio.Writer) {
	m.size += int64(len(line))
	m.eightBit = m.eightBit || bytes.ContainsFunc(line, func(r rune) bool { return r >= utf8.RuneSelf })
	_, _ = out.Write(line) // the error comes with Flush
}

// end makes an empty message one of an empty header, so that it has a length.
func (m *stored) end(out *bufio.Writer) error {
	if m.size == 0 {
		m.add([]byte("\n"), out)
	}
	if err := out.Flush(); err != nil {
		return fail(exitIOErr, "%w", err)
	}
	return nil
}

// read returns the header, and where the body begins. The header ends with the
// message when that has no more.
func (m *stored) read() (*mtakit.Header, int64, error) {
	b := make([]byte, min(m.size, mtakit.MaxHeader))
	if _, err := m.file.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, fail(exitIOErr, "%w", err)
	}
	h, n := mtakit.ParseStart(b)
	return h, int64(n), nil
}

// letter is a message ready to go.
type letter struct {
	env  *mtakit.Envelope
	size int64
	open func() (io.ReadCloser, error)
}

// send reads a message and submits it.
func (o *options) send(ctx context.Context, stdin io.Reader, out io.Writer) error {
	env, err := o.envelope()
	if err != nil {
		return err
	}
	m, err := store(ctx, stdin, o.dots)
	if err != nil {
		return err
	}
	defer m.file.Close()
	header, begin, err := m.read()
	if err != nil {
		return err
	}
	if err := o.address(env, header); err != nil {
		return err
	}
	if env.Options.Body == "" && m.eightBit {
		env.Options.Body = "8BITMIME"
	}
	head := header.Bytes()
	env.Options.UTF8 = utf8.Valid(head) && bytes.ContainsFunc(head, func(r rune) bool { return r >= utf8.RuneSelf })
	said, err := o.submit(ctx, &letter{env: env, size: int64(len(head)) + m.size - begin, open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(head), io.NewSectionReader(m.file, begin, m.size-begin))), nil
	}})
	if err == nil && o.verbose {
		signal.Ignore(syscall.SIGPIPE)
		fmt.Fprintf(out, "%s %s\n", said.how, said.id)
	}
	return err
}

// envelope is what the command line says of it.
func (o *options) envelope() (*mtakit.Envelope, error) {
	env := &mtakit.Envelope{Sender: o.sender}
	env.Options.Body, env.Options.Return, env.Options.EnvelopeID = o.body, o.ret, o.envid
	name := o.fullName
	if u, err := user.Current(); err == nil {
		if !o.given {
			env.Sender, err = senderOf(u.Username)
		}
		if full, bad := text("", u.Name); bad == nil && name == "" {
			name = full
		}
		if err != nil {
			return nil, err
		}
	} else if !o.given {
		return nil, fail(exitOSErr, "who are you? %w", err)
	}
	if name != "" {
		env.Attrs = map[string]string{queue.AttrFullName: name}
	}
	for _, arg := range o.names {
		arg, err := text("recipient", arg)
		if err != nil {
			return nil, err
		}
		list, err := addresses(arg)
		if err != nil {
			return nil, fail(exitUsage, "recipient: %w", err)
		}
		o.to(env, list)
	}
	if len(env.Recipients) == 0 && !o.header {
		return nil, fail(exitUsage, "recipients must stand on the command line, or in the header with -t")
	}
	return env, nil
}

// to adds recipients, each once.
func (o *options) to(env *mtakit.Envelope, list []string) {
	seen := make(map[string]bool, len(env.Recipients))
	for i := range env.Recipients {
		seen[env.Recipients[i].Address] = true
	}
	for _, address := range list {
		if seen[address] {
			continue
		}
		seen[address] = true
		r := mtakit.Recipient{Address: address}
		r.Options.Notify = o.notify
		env.Recipients = append(env.Recipients, r)
	}
}

// senderOf reads the sender's address; "" and <> are the null sender.
func senderOf(value string) (string, error) {
	value, err := text("sender", value)
	if err != nil || value == "" || value == "<>" {
		return "", err
	}
	list, err := addresses(value)
	if err == nil && len(list) != 1 {
		err = errors.New("want one address")
	}
	if err != nil {
		return "", fail(exitUsage, "sender %.100q: %w", value, err)
	}
	return list[0], nil
}

// address takes the recipients from the header when that is wanted, and the fields
// away that name who is not to be known. A message that is sent once more goes to
// those of its Resent- fields (RFC 5322, section 3.6.6).
func (o *options) address(env *mtakit.Envelope, h *mtakit.Header) error {
	if h.Cut() {
		return fail(exitDataErr, "the header has more than %d bytes", mtakit.MaxHeader)
	}
	prefix := ""
	for _, f := range h.All() {
		if strings.HasPrefix(strings.ToLower(f.Name()), "resent-") {
			prefix = "Resent-"
		}
	}
	var list []string
	for i := h.Len() - 1; i >= 0; i-- {
		f := h.At(i)
		if o.header && (f.Is(prefix+"To") || f.Is(prefix+"Cc") || f.Is(prefix+"Bcc")) {
			found, err := addresses(f.Value())
			if err != nil {
				return fail(exitDataErr, "field %s: %w", f.Name(), err)
			}
			list = append(found, list...)
		}
		if f.Is("Bcc") || f.Is("Resent-Bcc") {
			h.Remove(i)
		}
	}
	o.to(env, list)
	if len(env.Recipients) == 0 {
		return fail(exitUsage, "no recipient in the header")
	}
	return nil
}

package queue

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mtakit/mtakit"
)

// submissionLine is how many bytes a line above the message may have.
const submissionLine = 4096

// submission reads the format of Maildrop.
type submission struct {
	r             *bufio.Reader
	maxRecipients int
}

func newSubmission(r io.Reader, maxRecipients int) *submission {
	return &submission{bufio.NewReaderSize(r, 1<<16), maxRecipients}
}

// envelope reads what stands above the first empty line.
func (s *submission) envelope() (*mtakit.Envelope, error) {
	env := &mtakit.Envelope{}
	sender := false
	for {
		line, err := s.line()
		if err != nil {
			return nil, err
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if !ok || !plain(value) {
			return nil, fmt.Errorf("%w: bad line %.80q", ErrSubmission, line)
		}
		switch strings.ToLower(name) {
		case "sender":
			if sender {
				return nil, fmt.Errorf("%w: two senders", ErrSubmission)
			}
			env.Sender, sender = bare(value), true
		case "recipient":
			env.Recipients = append(env.Recipients, mtakit.Recipient{Address: bare(value)})
		default:
			return nil, fmt.Errorf("%w: unknown field %.80q", ErrSubmission, name)
		}
		if len(env.Recipients) > s.maxRecipients {
			return nil, fmt.Errorf("%w: more than %d recipients", ErrSubmission, s.maxRecipients)
		}
	}
	return env, complete(env, sender)
}

// complete says what an envelope lacks.
func complete(env *mtakit.Envelope, sender bool) error {
	if !sender {
		return fmt.Errorf("%w: no sender", ErrSubmission)
	}
	if len(env.Recipients) == 0 {
		return fmt.Errorf("%w: no recipient", ErrSubmission)
	}
	for i := range env.Recipients {
		if env.Recipients[i].Address == "" {
			return fmt.Errorf("%w: an empty recipient", ErrSubmission)
		}
	}
	return nil
}

// line reads one line without its end. The empty line cannot be missing: a file
// without it was cut off.
func (s *submission) line() (string, error) {
	line, err := s.r.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF):
		return "", fmt.Errorf("%w: no empty line before the message", ErrSubmission)
	case errors.Is(err, bufio.ErrBufferFull), len(line) > submissionLine:
		return "", fmt.Errorf("%w: a line of more than %d bytes", ErrSubmission, submissionLine)
	case err != nil:
		return "", fmt.Errorf("reading: %w", err)
	}
	return string(bytes.TrimSuffix(line[:len(line)-1], []byte("\r"))), nil
}

// plain reports whether s can be an address: nothing in it can end a line or a
// word of SMTP.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return strings.IndexByte(s, ' ') < 0 || strings.IndexByte(s, '"') >= 0
}

// bare takes the brackets off "<user@example.org>".
func bare(s string) string {
	if strings.HasPrefix(s, "<") && strings.HasSuffix(s, ">") {
		return s[1 : len(s)-1]
	}
	return s
}

// message copies the message with every line ending in CRLF.
func (s *submission) message(w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<16)
	afterCR, begun := false, false
	for {
		line, err := s.r.ReadSlice('\n')
		if n := len(line); n > 0 && line[n-1] == '\n' {
			end := line[:n-1]
			if n == 1 && afterCR { // the CR is written, a part of a long line
				_, _ = out.WriteString("\n")
			} else {
				_, _ = out.Write(bytes.TrimSuffix(end, []byte("\r")))
				_, _ = out.WriteString("\r\n")
			}
			begun, afterCR = false, false
		} else if n > 0 {
			_, _ = out.Write(line)
			begun, afterCR = true, line[n-1] == '\r'
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return s.end(out, begun, afterCR)
		case err != nil:
			return fmt.Errorf("reading: %w", err)
		}
	}
}

// end writes the last line's end where it is missing.
func (s *submission) end(out *bufio.Writer, begun, afterCR bool) error {
	switch {
	case begun && afterCR:
		_, _ = out.WriteString("\n")
	case begun:
		_, _ = out.WriteString("\r\n")
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

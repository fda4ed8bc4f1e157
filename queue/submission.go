package queue

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mtakit/mtakit"
)

// submissionLine is how many bytes a line above the message may have.
const submissionLine = 4096

// submissionVersion is what "version:" says in what Drop writes.
const submissionVersion = 1

// ErrSubmission is wrapped by the reason for which something is no submission, or
// is refused for good.
var ErrSubmission = errors.New("queue: not a submission")

// submission reads the format of Maildrop.
type submission struct {
	r             *bufio.Reader
	maxRecipients int
	length        int64 // of the message, bytes; -1 means that it was not told
	sender        bool  // was there
	attributes    bool  // were there
}

func newSubmission(r io.Reader, maxRecipients int) *submission {
	return &submission{r: bufio.NewReaderSize(r, 1<<16), maxRecipients: maxRecipients, length: -1}
}

// ReadSubmission reads what stands above the message of a submission, and
// returns the envelope and the message as it stands there. Its length, when the
// submission says it, is in Options.Size; reading another one fails with
// ErrSubmission. maxRecipients bounds the recipients; zero means 50000.
func ReadSubmission(r io.Reader, maxRecipients int) (*mtakit.Envelope, io.Reader, error) {
	s := newSubmission(r, cmp.Or(maxRecipients, defaultRecipients))
	env, err := s.envelope()
	if err != nil {
		return nil, nil, err
	}
	return env, s.r, nil
}

// envelope reads what stands above the first empty line.
func (s *submission) envelope() (*mtakit.Envelope, error) {
	env := &mtakit.Envelope{}
	for first := true; ; first = false {
		line, err := s.line()
		if err != nil {
			return nil, err
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if !ok || !printable(value) {
			return nil, fmt.Errorf("%w: bad line %.80q", ErrSubmission, line)
		}
		name = strings.ToLower(name)
		if name == "version" && first {
			if value != strconv.Itoa(submissionVersion) {
				return nil, fmt.Errorf("%w: submission of version %.20q", ErrVersion, value)
			}
			continue
		}
		if err := s.field(env, name, value); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSubmission, err)
		}
	}
	if s.length >= 0 {
		s.r = bufio.NewReaderSize(&exactly{s.r, s.length}, 1<<16)
	}
	return env, complete(env, s.sender)
}

// field reads one line into env.
func (s *submission) field(env *mtakit.Envelope, name, value string) error {
	switch name {
	case "sender":
		if s.sender {
			return errors.New("two senders")
		}
		s.sender = true
		return readSender(env, value)
	case "recipient":
		if len(env.Recipients) >= s.maxRecipients {
			return fmt.Errorf("more than %d recipients", s.maxRecipients)
		}
		return readRecipient(env, value)
	case "length":
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n < 0 || s.length >= 0 {
			return fmt.Errorf("bad length %.40q", value)
		}
		s.length, env.Options.Size = n, n
	case "full-name":
		return setAttribute(env, AttrFullName, value)
	case "not-before":
		at, err := time.Parse(time.RFC3339Nano, value)
		if err != nil {
			return fmt.Errorf("bad time %.40q", value)
		}
		env.NotBefore = at
	case "attribute":
		s.attributes = true
		return readAttribute(env, value)
	default:
		return fmt.Errorf("unknown field %.80q", name)
	}
	return nil
}

// complete says what an envelope lacks, and adds what its addresses need.
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
	// Nobody could deliver it otherwise (RFC 6531, section 3.4).
	env.Options.UTF8 = env.Options.UTF8 || !isASCII(env.Sender) ||
		slices.ContainsFunc(env.Recipients, func(r mtakit.Recipient) bool { return !isASCII(r.Address) })
	return nil
}

// line reads one line without its end. The empty line cannot be missing: a file
// without it was cut off.
func (s *submission) line() (string, error) {
	line, err := s.r.ReadSlice('\n')
	switch {
	case errors.Is(err, io.EOF):
		return "", fmt.Errorf("%w: no empty line before the message", ErrSubmission)
	case errors.Is(err, bufio.ErrBufferFull), err == nil && len(line) > submissionLine:
		return "", fmt.Errorf("%w: a line of more than %d bytes", ErrSubmission, submissionLine)
	case err != nil:
		return "", fmt.Errorf("reading: %w", err)
	}
	return string(bytes.TrimSuffix(line[:len(line)-1], []byte("\r"))), nil
}

// exactly is a reader of n bytes: fewer or more are an error, not a shorter
// message.
type exactly struct {
	r io.Reader
	n int64
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.n == 0 {
		if n, err := io.ReadFull(e.r, make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
			return 0, cmp.Or(err, fmt.Errorf("%w: the message is longer than it says", ErrSubmission))
		}
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.n)])
	e.n -= int64(n)
	if errors.Is(err, io.EOF) && e.n > 0 {
		err = fmt.Errorf("%w: the message was cut off, %d bytes are missing", ErrSubmission, e.n)
	} else if errors.Is(err, io.EOF) {
		err = nil // the next call looks whether there is more
	}
	return n, err
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

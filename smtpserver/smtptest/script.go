package smtptest

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// step is a line of a dialogue.
type step struct {
	kind byte // 'C', 'R', 'S', 'X', or ' ' for comments and empty lines
	text string
	line int // from 1
}

// parse reads a dialogue.
func parse(file string, text string) ([]step, error) {
	var steps []step
	for i, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		s := step{kind: ' ', text: l, line: i + 1}
		if l != "" && l[0] != '#' {
			if len(l) < 2 || l[1] != ':' || !strings.Contains("CRSX", l[:1]) {
				return nil, fmt.Errorf("%s:%d: want C:, R:, S:, X: or #, got %q", file, s.line, l)
			}
			s.kind, s.text = l[0], strings.TrimPrefix(l[2:], " ")
		}
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, s.line, err)
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// check reports what would fail only when the step is played.
func (s step) check() error {
	switch s.kind {
	case 'R':
		_, err := strconv.Unquote(s.text)
		return err
	case 'X':
		verb, arg, _ := strings.Cut(s.text, " ")
		switch verb {
		case "eof", "close", "dial", "tls":
			return nil
		case "pause":
			_, err := time.ParseDuration(arg)
			return err
		}
		return fmt.Errorf("unknown directive %q", s.text)
	}
	return nil
}

// invites reports whether the server may say something after the step.
func (s step) invites() bool {
	return s.kind == 'C' || s.kind == 'R' || s.text == "dial" || strings.HasPrefix(s.text, "pause")
}

// bytes returns what a C or R step sends.
func (s step) bytes() string {
	if s.kind == 'C' {
		return s.text + "\r\n"
	}
	raw, _ := strconv.Unquote(s.text) // parse has checked it
	return raw
}

// String returns the line of the file.
func (s step) String() string {
	if s.kind == ' ' {
		return s.text
	}
	return strings.TrimRight(string(s.kind)+": "+s.text, " ")
}

// matches reports whether text is what pattern says; * stands for any text.
// White space at the end of a line does not count: editors remove it from files.
func matches(pattern, text string) bool {
	text = strings.TrimRight(text, " ")
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	last := len(parts) - 1
	if !strings.HasPrefix(text, parts[0]) {
		return false
	}
	text = text[len(parts[0]):]
	for _, p := range parts[1:last] {
		i := strings.Index(text, p)
		if i < 0 {
			return false
		}
		text = text[i+len(p):]
	}
	return strings.HasSuffix(text, parts[last])
}

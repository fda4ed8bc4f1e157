package rewrite

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine is how many bytes of an aliases file's logical line are looked at.
const maxLine = 1 << 20

// LineError is what is wrong with one entry of a file.
type LineError struct {
	File string // as it was given
	Line int    // of the key, from 1
	Err  error
}

// Error returns "file:line: reason".
func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

// Unwrap returns the reason.
func (e *LineError) Unwrap() error { return e.Err }

// Check reads a file in the format of aliases(5) and returns what Expand would
// refuse, as *LineErrors in the order of the lines: items that are not enabled
// and values that are no lists. Lookups cannot say where a value came from; this
// can, so call it whenever the file is read, and log what it returns.
//
// What the table itself complains about (a line without a colon, duplicates) is
// not reported again. A read error is the last one returned.
func (a *Aliases) Check(file string, r io.Reader) []error {
	var problems []error
	err := logicalLines(r, func(line int, text string) {
		key, value, found := cutKey(text)
		if !found {
			return
		}
		items, err := ParseList(value)
		if err == nil {
			err = a.enabled(items)
		}
		if err == nil && len(items) == 0 {
			err = fmt.Errorf("%w: no addresses", ErrSyntax)
		}
		if err != nil {
			problems = append(problems, &LineError{file, line, fmt.Errorf("alias %.100q: %w", key, err)})
		}
	})
	if err != nil {
		problems = append(problems, fmt.Errorf("read %s: %w", file, err))
	}
	return problems
}

// logicalLines joins continuation lines and drops comments and empty lines, as
// Postfix's readlline does: a comment does not end the line that it stands in.
func logicalLines(r io.Reader, each func(line int, text string)) error {
	var text strings.Builder
	start, number := 0, 0
	flush := func() {
		if text.Len() > 0 {
			each(start, text.String())
		}
		text.Reset()
	}
	b := bufio.NewReader(r)
	for {
		line, more, err := readLine(b)
		number++
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case line[0] == ' ' || line[0] == '\t': // continues a line, or nothing
			if text.Len() > 0 && text.Len()+len(line) <= maxLine {
				text.WriteString(line)
			}
		default:
			flush()
			start = number
			text.WriteString(line)
		}
		if !more || err != nil {
			flush()
			return err
		}
	}
}

// readLine reads a line without its end and keeps at most maxLine bytes of it.
// more is false at the end of the file.
func readLine(b *bufio.Reader) (line string, more bool, err error) {
	var kept []byte
	for {
		part, err := b.ReadSlice('\n')
		if len(kept)+len(part) <= maxLine {
			kept = append(kept, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) {
			return string(kept), false, nil
		}
		return strings.TrimRight(string(kept), "\r\n"), err == nil, err
	}
}

// cutKey cuts "key: value" at the first colon that is not quoted.
func cutKey(s string) (key, value string, found bool) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ':' && !quoted:
			return Unquote(strings.TrimSpace(s[:i])), strings.TrimSpace(s[i+1:]), true
		}
	}
	return "", "", false
}

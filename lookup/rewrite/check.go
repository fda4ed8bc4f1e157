package rewrite

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine is how many bytes a logical line of an aliases file may have.
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
	err := logicalLines(r, func(line int, text string, err error) {
		key, value, found := cutKey(text)
		if !found {
			return
		}
		if err == nil {
			err = a.checkValue(value)
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

func (a *Aliases) checkValue(value string) error {
	items, err := ParseList(value)
	if err == nil && len(items) == 0 {
		err = fmt.Errorf("%w: no addresses", ErrSyntax)
	}
	if err != nil {
		return err
	}
	return a.enabled(items)
}

var errTooLong = fmt.Errorf("%w: longer than %d bytes", ErrSyntax, maxLine)

// logicalLines joins continuation lines and drops comments and empty lines, as
// Postfix's readlline does: a comment does not end the line that it stands in. One that
// is too long comes with an error: without a part of it addresses would be lost.
func logicalLines(r io.Reader, each func(line int, text string, err error)) error {
	var text strings.Builder
	var long error
	start, number := 0, 0
	flush := func() {
		if text.Len() > 0 || long != nil {
			each(start, text.String(), long)
		}
		text.Reset()
		long = nil
	}
	b := bufio.NewReader(r)
	for {
		line, cut, err := readLine(b)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		number++
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case (line[0] == ' ' || line[0] == '\t') && text.Len() > 0:
			if cut = cut || text.Len()+len(line) > maxLine; !cut {
				text.WriteString(line)
			}
			long = orLong(long, cut)
		default:
			flush()
			start, long = number, orLong(nil, cut)
			text.WriteString(line)
		}
		if err != nil {
			flush()
			return nil
		}
	}
}

func orLong(err error, cut bool) error {
	if cut {
		return errTooLong
	}
	return err
}

// readLine reads a line without its end and keeps the first maxLine bytes of it; cut is
// true when there were more. The error of the last one is io.EOF.
func readLine(b *bufio.Reader) (line string, cut bool, err error) {
	var kept []byte
	for {
		part, err := b.ReadSlice('\n')
		if room := maxLine - len(kept); len(part) > room {
			part, cut = part[:room], true
		}
		kept = append(kept, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return strings.TrimRight(string(kept), "\r\n"), cut, err
		}
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

package lookup

import (
	"fmt"
	"iter"
	"strings"
)

// MaxLine is the longest logical line that a table file may hold, in bytes.
// A longer one is skipped.
const MaxLine = 4 << 20

// LineError says what is wrong with a line of a file. The rest of the file is
// in force.
type LineError struct {
	File   string // as it was given to Open or Parse
	Line   int    // where the logical line starts, from 1
	Reason string // what is wrong, and what was done about it
}

// Error returns "file:line: reason".
func (e *LineError) Error() string {
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Reason)
}

// Line is a logical line of a text: comments and empty lines are gone and
// continuation lines are joined.
type Line struct {
	Number int // of the first physical line, from 1
	Text   string
}

// space is what separates in Postfix's text formats (isspace(3)).
const space = " \t\n\v\f\r"

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// physical cuts the first line off text. The line is without its line end,
// which is LF or CRLF.
func physical(text string) (line, rest string) {
	line, rest, _ = strings.Cut(text, "\n")
	return strings.TrimSuffix(line, "\r"), rest
}

func isComment(line string) bool {
	line = strings.TrimLeft(line, space)
	return line == "" || line[0] == '#'
}

// Lines yields the logical lines of a text in the format that postmap(1)
// describes: a line that starts with white space continues the one before it,
// also over comments and empty lines between them. A text of lines with CRLF
// and one that starts with a byte order mark are read like any other. What can
// be no line is yielded as a *LineError and skipped.
func Lines(file, text string) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		text = strings.TrimPrefix(text, "\ufeff")
		for n := 1; text != ""; {
			line, used := logical(text)
			if line != "" && !yieldLine(yield, file, n, line) {
				return
			}
			n += used.lines
			text = text[used.bytes:]
		}
	}
}

type extent struct{ lines, bytes int }

// logical returns the logical line that text starts with, "" when it starts
// with a comment, and how much of text that was. Continuation lines keep their
// leading white space.
func logical(text string) (line string, used extent) {
	line, rest := physical(text)
	used = extent{1, len(text) - len(rest)}
	if isComment(line) {
		return "", used
	}
	var joined strings.Builder
	here := used
	for rest != "" && (isSpace(rest[0]) || rest[0] == '#') {
		next, after := physical(rest)
		here = extent{here.lines + 1, here.bytes + len(rest) - len(after)}
		rest = after
		if isComment(next) {
			continue
		}
		if joined.Len() == 0 {
			joined.WriteString(line)
		}
		if joined.Len() <= MaxLine {
			joined.WriteString(next)
		}
		used = here
	}
	if joined.Len() > 0 {
		line = joined.String()
	}
	return line, used
}

func yieldLine(yield func(Line, error) bool, file string, n int, text string) bool {
	reason := ""
	switch {
	case isSpace(text[0]):
		reason = "a logical line must not start with white space, line skipped"
	case len(text) > MaxLine:
		reason = fmt.Sprintf("longer than %d bytes, line skipped", MaxLine)
	case strings.IndexByte(text, 0) >= 0:
		reason = "NUL byte, line skipped"
	}
	if reason != "" {
		return yield(Line{}, &LineError{file, n, reason})
	}
	return yield(Line{n, strings.TrimRight(text, space)}, nil)
}

package filter

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// change is what an action does to the header field or line that it stands for.
type change int

const (
	keep change = iota
	remove
	replace
	prepend
)

// judge collects what the table says of the units of a message.
type judge struct {
	sum  mtakit.Verdict
	pass bool // nothing more is to be asked
}

// ask looks one unit up. kind is what the log calls it: "header", "body".
func (j *judge) ask(ctx context.Context, t Table, kind, unit string) (change, string, error) {
	if t == nil || unit == "" {
		return keep, "", nil
	}
	value, ok, err := t.Lookup(ctx, unit)
	if err != nil {
		return keep, "", fmt.Errorf("%s checks: %w", kind, err)
	}
	if !ok {
		return keep, "", nil
	}
	c, text := j.act(kind, unit, value)
	return c, text, nil
}

// done reports whether a decision ends the checks.
func (j *judge) done() bool { return j.pass || j.sum.Action != mtakit.Dunno }

// act does what a value says (header_checks(5)). What it cannot do is logged
// and does nothing.
func (j *judge) act(kind, unit, value string) (change, string) {
	word, text := cutWord(value)
	note := func(what string) string { return entry(what, kind, unit, text) }
	switch strings.ToUpper(word) {
	case "DUNNO", "OK":
	case "PASS":
		j.pass = true
	case "REJECT":
		j.sum.Action, j.sum.Reply, j.sum.Reason = mtakit.Reject, refusal(text), note("reject")
	case "DISCARD":
		j.sum.Action, j.sum.Reason = mtakit.Discard, note("discard")
	case "HOLD":
		j.sum.Hold = note("hold")
	case "WARN":
		j.log(note("warning"))
	case "INFO":
		j.log(note("info"))
	case "IGNORE":
		return remove, ""
	case "STRIP":
		j.log(note("strip"))
		return remove, ""
	default:
		return j.edit(strings.ToUpper(word), text, kind, unit)
	}
	return keep, ""
}

// edit does the actions that need an argument.
func (j *judge) edit(word, text, kind, unit string) (change, string) {
	switch {
	case word == "REPLACE" && text != "":
		return replace, text
	case word == "PREPEND" && text != "":
		return prepend, text
	case word == "FILTER" && strings.IndexByte(text, ':') > 0:
		j.sum.Filter = text
	case word == "REDIRECT" && address(text):
		j.sum.Redirect = text
	case word == "BCC" && address(text):
		j.sum.BCC = append(j.sum.BCC, text)
	default:
		j.log(entry("warning: bad action "+strconv.Quote(cut(word+" "+text, 80)), kind, unit, ""))
	}
	return keep, ""
}

// maxLog bounds what a message can write into the log.
const maxLog = 100

func (j *judge) log(text string) {
	if len(j.sum.Log) < maxLog {
		j.sum.Log = append(j.sum.Log, text)
	}
}

func address(s string) bool {
	i := strings.LastIndexByte(s, '@')
	return i > 0 && i < len(s)-1 && !strings.ContainsAny(s, " \t\r\n")
}

// refusal is the reply of a REJECT, "5.7.1 text".
func refusal(text string) *smtp.SMTPError {
	r := &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: printable(text)}
	if word, rest := cutWord(text); isStatus(word) {
		for i, p := range strings.Split(word, ".") {
			r.EnhancedCode[i], _ = strconv.Atoi(p)
		}
		r.Message = printable(rest)
	}
	if r.EnhancedCode[0] == 4 {
		r.Code = 450
	}
	if r.Message == "" {
		r.Message = "message content rejected"
	}
	return r
}

// isStatus reports whether s is a status of a refusal (RFC 3463, section 2).
func isStatus(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || parts[0] != "4" && parts[0] != "5" {
		return false
	}
	for _, p := range parts {
		if p == "" || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return false
		}
	}
	return true
}

// entry is a line for the log: "warning: header Subject: hello: text".
func entry(what, kind, unit, text string) string {
	s := what + ": " + kind + " " + strings.ReplaceAll(cut(unit, 200), "\n", "?")
	if text != "" {
		s += ": " + text
	}
	return printable(s)
}

func cut(s string, n int) string { return s[:min(n, len(s))] }

func cutWord(s string) (word, rest string) {
	s = strings.TrimSpace(s)
	i := strings.IndexAny(s, " \t\r\n")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimSpace(s[i:])
}

func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}

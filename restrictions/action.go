package restrictions

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

var (
	errNested  = errors.New("restriction lists of tables are nested too deep")
	errUnknown = errors.New("unknown restriction")
)

// action is a value of an access table, taken apart: "REJECT 5.7.1 go away".
type action struct {
	word string // upper case: "REJECT", "OK"; "" when it is no action but names of restrictions
	code int    // with REJECT and DEFER; 0 means the general one
	// text is what follows the word, without the status.
	status smtp.EnhancedCode
	text   string
}

// parseAction reads a value as access(5) describes it, Sendmail's forms
// included: ERROR:5.7.1:550 text, ERROR:550 text, SKIP.
func parseAction(value string) action {
	value = strings.TrimSpace(value)
	word, rest := cutWord(value)
	upper := strings.ToUpper(word)
	switch {
	case strings.HasPrefix(upper, "ERROR:"):
		return parseError(value[len("ERROR:"):])
	case refusalCode(word) && rest != "":
		code, _ := strconv.Atoi(word)
		return refusal(code, rest)
	case digits(word) || upper == "OK" || upper == "RELAY":
		return action{word: "OK", text: word}
	case upper == "SKIP":
		return action{word: "DUNNO"}
	case upper == "REJECT":
		return refusal(554, rest)
	case upper == "DEFER":
		return refusal(450, rest)
	}
	if !known(upper) {
		return action{text: value}
	}
	a := action{word: upper, text: rest}
	if strings.HasPrefix(upper, "DEFER_IF_") {
		a.status, a.text = cutStatus(rest, smtp.EnhancedCode{4, 7, 0})
	}
	return a
}

func known(word string) bool {
	switch word {
	case "DUNNO", "DISCARD", "HOLD", "FILTER", "REDIRECT", "BCC", "PREPEND", "INFO", "WARN",
		"DEFER_IF_PERMIT", "DEFER_IF_REJECT":
		return true
	}
	return false
}

// parseError reads what follows Sendmail's ERROR: "5.7.1:550 text", "550 text",
// both also in double quotes. A code that is none becomes 554.
func parseError(s string) action {
	s = strings.TrimSpace(s)
	status := smtp.EnhancedCode{5, 7, 1}
	if first, rest, ok := strings.Cut(s, ":"); ok {
		if c, isStatus := parseStatus(first); isStatus {
			status, s = c, rest
		}
	}
	if s = strings.TrimSpace(s); len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"' {
		s = strings.TrimSpace(s[1 : len(s)-1])
	}
	code := 554
	if word, rest := cutWord(s); refusalCode(word) {
		code, _ = strconv.Atoi(word)
		s = rest
	} else if status[0] == 4 {
		code = 450
	}
	a := action{word: "REJECT", code: code}
	a.status, a.text = cutStatus(s, status)
	return a
}

func refusal(code int, text string) action {
	a := action{word: "REJECT", code: code}
	a.status, a.text = cutStatus(text, smtp.EnhancedCode{code / 100, 7, 1})
	return a
}

// cutWord parts s at its first white space.
func cutWord(s string) (word, rest string) {
	i := strings.IndexAny(s, " \t\r\n")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimSpace(s[i:])
}

// cutStatus takes the status off a text that starts with one.
func cutStatus(text string, otherwise smtp.EnhancedCode) (smtp.EnhancedCode, string) {
	word, rest := cutWord(text)
	if c, ok := parseStatus(word); ok {
		return c, rest
	}
	return otherwise, text
}

// parseStatus reads "5.7.1" (RFC 3463, section 2).
func parseStatus(s string) (c smtp.EnhancedCode, ok bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || len(parts[0]) != 1 || !strings.Contains("245", parts[0]) {
		return c, false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n > 999 || len(p) > 3 {
			return c, false
		}
		c[i] = int(n)
	}
	return c, true
}

func refusalCode(s string) bool {
	return len(s) == 3 && digits(s) && (s[0] == '4' || s[0] == '5')
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// verdict is what an action means for what is asked about. bad says what is
// wrong with it: it is then logged, and no opinion.
func (a action) verdict(what subject) (v mtakit.Verdict, bad string) {
	switch a.word {
	case "OK":
		v.Action = mtakit.Permit
		if refusalCode(a.text) {
			v.Log = []string{fmt.Sprintf("access table: %q without a text means OK", a.text)}
		}
	case "REJECT":
		return what.reject(a.code, a.status, or(a.text, "Access denied")), ""
	case "DEFER_IF_PERMIT":
		v.DeferIfPermit = what.reply(450, a.status, or(a.text, "Service unavailable"))
	case "DEFER_IF_REJECT":
		v.DeferIfReject = what.reply(450, a.status, or(a.text, "Service unavailable"))
	case "DISCARD":
		v.Action, v.Reason = mtakit.Discard, a.note(what, "triggers DISCARD action")
	case "HOLD":
		v.Hold = a.note(what, "triggers HOLD action")
	case "INFO", "WARN":
		v.Log = []string{strings.ToLower(a.word) + ": " + a.note(what, "")}
	default:
		return a.effect()
	}
	return v, ""
}

// effect is the actions that need an argument.
func (a action) effect() (v mtakit.Verdict, bad string) {
	switch a.word {
	case "FILTER":
		if transport, _, ok := strings.Cut(a.text, ":"); !ok || transport == "" {
			return v, "FILTER needs transport:destination"
		}
		v.Filter = a.text
	case "REDIRECT", "BCC":
		if local, domain, ok := split(a.text); !ok || local == "" || domain == "" || strings.ContainsAny(a.text, " \t\r\n") {
			return v, a.word + " needs user@domain"
		}
		if a.word == "BCC" {
			v.BCC = []string{a.text}
		} else {
			v.Redirect = a.text
		}
	case "PREPEND":
		if _, err := mtakit.ParseField(a.text); err != nil {
			return v, "PREPEND: " + err.Error()
		}
		v.Prepend = []string{a.text}
	}
	return v, ""
}

// note is "<name>: Class text", as Postfix logs actions.
func (a action) note(what subject, otherwise string) string {
	return printable(strings.TrimSpace(fmt.Sprintf("<%s>: %s %s", what.name, what.class, or(a.text, otherwise))))
}

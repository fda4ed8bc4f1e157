package dsn

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Templates are the subjects and texts of reports. ParseTemplates reads them
// from a file in the format of Postfix's bounce(5).
type Templates struct {
	Failure, Delay, Success, Verify Template // zero fields mean what is built in
}

// Template is what one kind of report says. A report to the postmaster has no
// Text, only the reasons.
type Template struct {
	Charset           string // of Text: "utf-8", or another that has ASCII in it; "" means us-ascii
	From              string // "MAILER-DAEMON (Mail Delivery System)", an address without a domain gets that of the MTA; "" means the built-in one
	Subject           string // ASCII; "" means the built-in one
	PostmasterSubject string // of a copy for the postmaster; "" means the built-in one
	Text              string // before the list of recipients, lines ending in "\n"; "" means the built-in one
}

// Params are what the text of a template may name: "$name", "${name}" and
// "$(name)". $$ is a dollar. A name that nobody knows stays as it is.
type Params map[string]string

// SetDuration sets the parameters that bounce(5) has of a duration, in whole
// units: name_seconds, name_minutes, name_hours, name_days and name_weeks.
func (p Params) SetDuration(name string, d time.Duration) {
	for unit, length := range map[string]time.Duration{"seconds": time.Second, "minutes": time.Minute,
		"hours": time.Hour, "days": 24 * time.Hour, "weeks": 7 * 24 * time.Hour} {
		p[name+"_"+unit] = strconv.FormatInt(int64(d/length), 10)
	}
}

// ParseTemplates reads a template file: blocks "failure_template = <<EOF" to
// "EOF" (also delay_template, success_template and verify_template), each of
// header lines, an empty line, and text. The word EOF may be any other. Between
// blocks there may be empty lines, and lines that begin with "#". Errors name
// the line.
func ParseTemplates(b []byte) (Templates, error) {
	p := &templateFile{lines: strings.Split(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n")}
	for p.n < len(p.lines) {
		if err := p.block(); err != nil {
			return Templates{}, fmt.Errorf("dsn: template file, line %d: %w", p.n, err)
		}
	}
	return p.t, nil
}

// templateFile is a template file that is read.
type templateFile struct {
	lines []string
	n     int // lines read
	t     Templates
	seen  [4]bool
}

func (p *templateFile) next() (line string, ok bool) {
	if p.n == len(p.lines) {
		return "", false
	}
	p.n++
	return p.lines[p.n-1], true
}

func (p *templateFile) block() error {
	line, _ := p.next()
	if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
		return nil
	}
	name, end, ok := strings.Cut(line, "=")
	end = strings.TrimSpace(end)
	word := strings.TrimSpace(strings.TrimPrefix(end, "<<"))
	if !ok || !strings.HasPrefix(end, "<<") || word == "" || strings.ContainsAny(word, " \t'\"") {
		return fmt.Errorf("want \"name_template = <<EOF\", not %.40q", line)
	}
	t, err := p.template(strings.TrimSpace(name))
	if err != nil {
		return err
	}
	var lines []string
	for {
		line, ok := p.next()
		if !ok {
			return fmt.Errorf("no line %q at the end of %s", word, strings.TrimSpace(name))
		}
		if line == word {
			return t.parse(lines)
		}
		lines = append(lines, line)
	}
}

func (p *templateFile) template(name string) (*Template, error) {
	for i, known := range []struct {
		name string
		t    *Template
	}{{"failure_template", &p.t.Failure}, {"delay_template", &p.t.Delay},
		{"success_template", &p.t.Success}, {"verify_template", &p.t.Verify}} {
		if name != known.name {
			continue
		}
		if p.seen[i] {
			return nil, fmt.Errorf("a second %s", name)
		}
		p.seen[i] = true
		return known.t, nil
	}
	return nil, fmt.Errorf("no such template: %.40q", name)
}

// parse reads the lines of a block.
func (t *Template) parse(lines []string) error {
	for len(lines) > 0 {
		name, value, ok := strings.Cut(lines[0], ":")
		if !ok || !isToken(name) {
			break
		}
		if err := t.set(name, strings.TrimSpace(value)); err != nil {
			return err
		}
		lines = lines[1:]
	}
	if len(lines) > 0 && lines[0] == "" {
		lines = lines[1:]
	}
	for _, line := range lines {
		t.Text += line + "\n"
	}
	return t.check()
}

func (t *Template) set(name, value string) error {
	if !ascii(value) || strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return fmt.Errorf("template header %s must be ASCII (RFC 2047)", name)
	}
	switch strings.ToLower(name) {
	case "charset":
		t.Charset = strings.ToLower(value)
	case "from":
		t.From = value
	case "subject":
		t.Subject = value
	case "postmaster-subject":
		t.PostmasterSubject = value
	default:
		return fmt.Errorf("no such template header: %.40q", name)
	}
	return nil
}

func (t *Template) check() error {
	switch {
	case t.Charset != "" && !isToken(t.Charset):
		return fmt.Errorf("no charset: %.40q", t.Charset)
	case !ascii(t.Text) && (t.Charset == "" || t.Charset == "us-ascii"):
		return fmt.Errorf("text that is not ASCII needs a Charset")
	case t.Charset == "utf-8" && !utf8.ValidString(t.Text):
		return fmt.Errorf("text is not UTF-8, as Charset says")
	}
	return nil
}

// charset is that of the text for people: the template's, or one that has all
// addresses and all that servers say.
func (r *Report) charset() string {
	t := r.template()
	if t.Text == "" || r.Postmaster || t.Charset == "" || t.Charset == "us-ascii" || !isToken(t.Charset) {
		return "utf-8"
	}
	return strings.ToLower(t.Charset)
}

// expand writes the text of a template with the parameters that it names.
func (r *Report) expand(w *writer, text string) {
	text = strings.TrimSuffix(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for line := range strings.SplitSeq(text, "\n") {
		w.asIs(r.expandLine(line))
	}
}

func (r *Report) expandLine(line string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(line, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if strings.HasPrefix(after, "$") {
			b.WriteByte('$')
			line = after[1:]
			continue
		}
		name, n := parameter(after)
		if value, ok := r.param(name); ok {
			b.WriteString(value)
		} else {
			b.WriteString("$" + after[:n])
		}
		line = after[n:]
	}
}

func (r *Report) param(name string) (string, bool) {
	if name == "myhostname" {
		return r.host(), true
	}
	v, ok := r.Params[name]
	return v, ok
}

// parameter returns the name that follows a dollar in s, and how long it stands
// there with its braces.
func parameter(s string) (name string, n int) {
	closing := byte(0)
	switch {
	case strings.HasPrefix(s, "{"):
		closing = '}'
	case strings.HasPrefix(s, "("):
		closing = ')'
	}
	start := 0
	if closing != 0 {
		start = 1
	}
	end := start
	for end < len(s) && (s[end] == '_' || '0' <= s[end] && s[end] <= '9' || 'a' <= s[end]|0x20 && s[end]|0x20 <= 'z') {
		end++
	}
	switch {
	case end == start || closing != 0 && (end == len(s) || s[end] != closing):
		return "", 0
	case closing != 0:
		return s[start:end], end + 1
	}
	return s[start:end], end
}

// qualified gives an address in a From field the domain of host when it has none.
func qualified(from, host string) string {
	if strings.Contains(from, "@") {
		return from
	}
	if i := strings.IndexByte(from, '>'); i >= 0 {
		return from[:i] + "@" + host + from[i:]
	}
	first, rest, _ := strings.Cut(from, " ")
	return strings.TrimSpace(first + "@" + host + " " + rest)
}

// isToken is that of RFC 2045, section 5.1, as far as anybody uses it.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return c != '-' && c != '_' && c != '.' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z')
	})
}

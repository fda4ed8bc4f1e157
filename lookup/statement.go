package lookup

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Dialect is how a database writes placeholders and strings.
type Dialect int

// The dialects of SQL.
const (
	MySQL      Dialect = iota // ?, and a backslash escapes in strings; MariaDB too
	PostgreSQL                // $1
	SQLite                    // ?
)

// statement is a query whose expansions have become bound arguments.
type statement struct {
	text string
	args []argument
	// typed is the text for a PostgreSQL that cannot tell the type of an argument: it
	// is that of a string then, as it is in concat('%u', '/').
	typed string
}

// argument is what becomes a bound argument.
type argument struct {
	template
	escape string // of the pattern that it is; "" when it is none
	most   int    // bytes; 0 means any number
}

// sqlitePattern is how long a pattern may be in SQLite, which gives an error
// for longer ones: of a key that no address is.
const sqlitePattern = 50_000

// parseStatement reads a query template. A string that holds expansions,
// '%u@%d', becomes one placeholder, bound to the string as it would have been;
// an expansion outside of strings becomes one of its own.
func parseStatement(query string, d Dialect) (statement, error) {
	p := statementParser{in: query, dialect: d}
	for p.in != "" {
		if err := p.step(); err != nil {
			return statement{}, fmt.Errorf("query %s: %w", quoteShort(query), err)
		}
	}
	return statement{text: p.out.String(), args: p.args, typed: p.typed()}, nil
}

type statementParser struct {
	dialect Dialect
	in      string
	out     strings.Builder
	args    []argument
	ends    []int // of PostgreSQL's placeholders, in out
}

// typed returns what was written with a type behind each placeholder.
func (p *statementParser) typed() string {
	text := p.out.String()
	for _, end := range slices.Backward(p.ends) {
		text = text[:end] + "::text" + text[end:]
	}
	return text
}

// step reads one string, comment, expansion or byte.
func (p *statementParser) step() error {
	switch c := p.in[0]; {
	case c == '"' && p.dialect == PostgreSQL:
		return p.verbatim(1, `"`)
	case c == '\'' || c == '"':
		return p.quoted(c)
	case c == '`':
		return p.verbatim(1, "`")
	case c == '[' && p.dialect == SQLite:
		return p.verbatim(1, "]")
	case strings.HasPrefix(p.in, "--"), c == '#' && p.dialect == MySQL:
		return p.verbatim(1, "\n")
	case strings.HasPrefix(p.in, "/*"):
		return p.verbatim(2, "*/")
	case c == '%':
		return p.expansion()
	case c == '?' && p.dialect != PostgreSQL, c == '$' && p.dialect == PostgreSQL:
		return fmt.Errorf("%q cannot stand outside of strings", c)
	default:
		p.copy(1)
		return nil
	}
}

func (p *statementParser) copy(n int) {
	p.out.WriteString(p.in[:n])
	p.in = p.in[n:]
}

// verbatim copies what can hold no argument: a quoted name, a comment.
func (p *statementParser) verbatim(opening int, closing string) error {
	n := len(p.in)
	if i := strings.Index(p.in[opening:], closing); i >= 0 {
		n = opening + i + len(closing)
	}
	t, err := parseTemplate(p.in[:n])
	if err != nil {
		return err
	}
	if t.expands() {
		return fmt.Errorf("expansion in a name or comment: %s", quoteShort(p.in[:n]))
	}
	p.out.WriteString(t[0].text)
	p.in = p.in[n:]
	return nil
}

// expansion reads one that stands outside of strings.
func (p *statementParser) expansion() error {
	t, err := parseTemplate(p.in[:min(2, len(p.in))])
	if err != nil {
		return err
	}
	p.in = p.in[2:]
	if !t.expands() {
		p.out.WriteByte('%')
		return nil
	}
	if p.in != "" && (isWord(p.in[0]) || p.in[0] == '%') || p.behindWord() {
		return errors.New("an expansion cannot be part of a name or number")
	}
	return p.bind(t)
}

func isWord(c byte) bool { return isAlnum(c) || c == '_' || c == '$' || c >= 0x80 }

// behindWord reports whether what was written ends with a word, such as the
// prefix in E'...'.
func (p *statementParser) behindWord() bool {
	s := p.out.String()
	return s != "" && isWord(s[len(s)-1])
}

// lastWord returns the word that what was written ends with, in upper case.
func (p *statementParser) lastWord() string {
	s := p.out.String()
	i := len(s)
	for i > 0 && isWord(s[i-1]) {
		i--
	}
	return strings.ToUpper(s[i:])
}

// behindLike reports whether a pattern follows: LIKE, ILIKE, LIKE BINARY.
func (p *statementParser) behindLike() bool {
	words := strings.Fields(strings.ToUpper(p.out.String()))
	n := len(words)
	if n > 1 && words[n-1] == "BINARY" {
		n--
	}
	return n > 0 && (words[n-1] == "LIKE" || words[n-1] == "ILIKE")
}

// quoted reads a string.
func (p *statementParser) quoted(quote byte) error {
	n, body, err := p.unquote(quote)
	if err != nil {
		return err
	}
	t, err := parseTemplate(body)
	if err != nil {
		return err
	}
	if !t.expands() {
		whole, _ := parseTemplate(p.in[:n]) // %% as everywhere; the same escapes
		p.out.WriteString(whole[0].text)
		p.in = p.in[n:]
		return nil
	}
	if p.behindWord() {
		return fmt.Errorf("expansion in a string with a prefix: %s", quoteShort(p.in[:n]))
	}
	p.in = p.in[n:]
	return p.bind(t)
}

// unquote returns how long the string is that the query goes on with, and what
// it means.
func (p *statementParser) unquote(quote byte) (n int, body string, err error) {
	var b strings.Builder
	escapes := p.dialect == MySQL || p.dialect == PostgreSQL && p.lastWord() == "E"
	for i := 1; i < len(p.in); i++ {
		switch c := p.in[i]; {
		case c == '\\' && escapes && i+1 < len(p.in):
			i++
			b.WriteString(unescape(p.in[i]))
		case c != quote:
			b.WriteByte(c)
		case i+1 < len(p.in) && p.in[i+1] == quote:
			i++
			b.WriteByte(quote)
		default:
			return i + 1, b.String(), nil
		}
	}
	return 0, "", errors.New("a string does not end")
}

// unescape returns what a backslash and c stand for in a string of MySQL. \%
// and \_ keep their backslash: they are escapes of LIKE.
func unescape(c byte) string {
	const from, to = "0bnrtZ", "\x00\b\n\r\t\x1a"
	if i := strings.IndexByte(from, c); i >= 0 {
		return to[i : i+1]
	}
	if c == '%' || c == '_' {
		return `\` + string(c)
	}
	return string(c)
}

// bind writes a placeholder.
func (p *statementParser) bind(t template) error {
	arg := argument{template: t}
	isPattern := p.behindLike()
	if p.dialect == PostgreSQL {
		p.out.WriteString("$" + strconv.Itoa(len(p.args)+1))
		p.ends = append(p.ends, p.out.Len())
	} else {
		p.out.WriteByte('?')
	}
	if isPattern {
		escape, err := p.escape()
		if err != nil {
			return err
		}
		if escape == "" && p.dialect == SQLite { // which has none by itself
			p.out.WriteString(` ESCAPE '\'`)
			arg.template = t.escaped()
		}
		arg.escape = cmp.Or(escape, `\`)
		if p.dialect == SQLite {
			arg.most = sqlitePattern
		}
	}
	p.args = append(p.args, arg)
	return nil
}

// escape returns what the ESCAPE clause says that comes next, or "".
func (p *statementParser) escape() (string, error) {
	const word = "ESCAPE"
	rest := strings.TrimLeft(p.in, space)
	if len(rest) < len(word) || !strings.EqualFold(rest[:len(word)], word) {
		return "", nil
	}
	clause := statementParser{dialect: p.dialect, in: strings.TrimLeft(rest[len(word):], space)}
	if !strings.HasPrefix(clause.in, "'") {
		return "", errors.New("ESCAPE behind an expansion must have a string")
	}
	_, escape, err := clause.unquote('\'')
	if err == nil && len(escape) != 1 {
		err = errors.New("ESCAPE behind an expansion must have one byte")
	}
	return escape, err
}

// escaped returns a pattern's template with its backslashes doubled, for they
// mean themselves where there is no ESCAPE clause.
func (t template) escaped() template {
	doubled := slices.Clone(t)
	for i := range doubled {
		doubled[i].text = strings.ReplaceAll(doubled[i].text, `\`, `\\`)
	}
	return doubled
}

// expand returns the arguments for a key. false means that the key lacks a part
// that the query wants: there is nothing to ask.
func (s statement) expand(key subject) (args []any, ok bool) {
	for _, a := range s.args {
		arg, ok := a.expand(key)
		if !ok {
			return nil, false
		}
		args = append(args, arg)
	}
	return args, true
}

// expand fills the argument in.
func (a argument) expand(key subject) (string, bool) {
	if a.escape == "" {
		return a.template.expand(key, key)
	}
	var b strings.Builder
	quote := strings.NewReplacer("%", a.escape+"%", "_", a.escape+"_", a.escape, a.escape+a.escape)
	for _, e := range a.template {
		if e.what == 0 {
			b.WriteString(e.text)
			continue
		}
		s, ok := e.of(key, key)
		if !ok {
			return "", false
		}
		_, _ = quote.WriteString(&b, s) // a Builder has no errors
	}
	return b.String(), a.most == 0 || b.Len() <= a.most
}

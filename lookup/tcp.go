package lookup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
)

// maxTCPLine bounds a line of tcp_table(5), with its line end.
const maxTCPLine = 4096

// TCP is a table that another program answers for by the protocol of tcp_table(5).
// Keys are sent as they are, and never parts of keys: it may hold patterns. It must
// not be copied after its first use.
type TCP struct{ Remote }

// Lookup asks the server. "400" and everything else that is no answer is an error.
func (t *TCP) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	question := "get " + quoteTCP(key) + "\n"
	if key == "" || len(question) > maxTCPLine {
		return "", false, nil // longer than any key that the server could know
	}
	line, err := t.ask(ctx, []byte(question), readTCPLine)
	if err != nil {
		return "", false, fmt.Errorf("tcp table %s: %w", t.Address, err)
	}
	code, text, spaced := strings.Cut(line, " ")
	text, good := unquoteTCP(text)
	switch {
	case !good || !spaced: // "200" alone is the beginning of an answer
	case code == "200":
		return text, true, nil
	case code == "500":
		return "", false, nil
	case code == "400":
		return "", false, fmt.Errorf("tcp table %s: it says %s", t.Address, quoteShort(text))
	}
	return "", false, fmt.Errorf("tcp table %s: %w: %s", t.Address, errBadReply, quoteShort(line))
}

// FullKeyOnly returns true, as for Postfix.
func (t *TCP) FullKeyOnly() bool { return true }

// readTCPLine reads a line without its end.
func readTCPLine(in *bufio.Reader) (string, error) { return readLine(in, maxTCPLine-1) }

// quoteTCP writes white space, control characters, the percent sign and what is not
// ASCII as %XX.
func quoteTCP(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '%' {
			fmt.Fprintf(&b, "%%%02x", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// unquoteTCP reads %XX. Anything else behind a percent sign is no good.
func unquoteTCP(s string) (string, bool) {
	if !strings.Contains(s, "%") {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) || hexValue(s[i+1]) < 0 || hexValue(s[i+2]) < 0 {
			return "", false
		}
		b.WriteByte(byte(hexValue(s[i+1])<<4 | hexValue(s[i+2])))
		i += 2
	}
	return b.String(), true
}

func hexValue(c byte) int { return strings.IndexByte("0123456789abcdef", lowerByteOf(c)) }

func lowerByteOf(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// answerTCP answers one line of a client.
func answerTCP(ctx context.Context, tables map[string]LookupTable, line string) (reply string, known error) {
	command, key, ok := strings.Cut(line, " ")
	key, good := unquoteTCP(strings.TrimSpace(key))
	switch {
	case command == "put" && ok:
		return "500 put is not offered\n", nil
	case command != "get" || !ok || !good:
		return "400 bad command\n", nil
	}
	t := tables[""]
	if t == nil {
		return "400 no such table\n", errors.New("there is no table without a name")
	}
	value, found, err := contained(func() (string, bool, error) { return t.Lookup(ctx, key) })
	reply = "200 " + quoteTCP(value) + "\n"
	switch {
	case err != nil:
		return "400 " + quoteTCP("table cannot answer") + "\n", err
	case !found:
		return "500 " + quoteTCP("not found") + "\n", nil
	case len(reply) > maxTCPLine:
		return "400 " + quoteTCP("value is too long") + "\n", fmt.Errorf("value of %d bytes is too long for a line", len(value))
	}
	return reply, nil
}

package lookup

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxSocketmap bounds a netstring of socketmap_table(5).
const maxSocketmap = 100_000

// Socketmap is a table that another program answers for by Sendmail's socketmap
// protocol, socketmap_table(5). Keys are sent as they are, and never parts of keys: it
// may hold patterns, or rewrite addresses whose case counts. It must not be copied
// after its first use.
type Socketmap struct {
	Remote
	Name string // of the table there, without white space
}

// Lookup asks the server. "TEMP", "TIMEOUT", "PERM" and everything else that is no
// answer is an error.
func (t *Socketmap) Lookup(ctx context.Context, key string) (value string, ok bool, err error) {
	question := t.Name + " " + key
	if key == "" || len(question) > maxSocketmap {
		return "", false, nil
	}
	reply, err := t.ask(ctx, netstring(question), readNetstring)
	if err != nil {
		return "", false, fmt.Errorf("socketmap %s %s: %w", t.Address, t.Name, err)
	}
	status, text, spaced := strings.Cut(reply, " ")
	switch {
	case status == "OK" && spaced:
		return text, true, nil
	case status == "NOTFOUND":
		return "", false, nil
	case status == "TEMP" || status == "TIMEOUT" || status == "PERM":
		return "", false, fmt.Errorf("socketmap %s %s: it says %s: %s", t.Address, t.Name, status, quoteShort(text))
	}
	return "", false, fmt.Errorf("socketmap %s %s: %w: %s", t.Address, t.Name, errBadReply, quoteShort(reply))
}

// FullKeyOnly returns true, as for Postfix.
func (t *Socketmap) FullKeyOnly() bool { return true }

func netstring(s string) []byte { return fmt.Appendf(nil, "%d:%s,", len(s), s) }

// readNetstring reads "5:hello,".
func readNetstring(in *bufio.Reader) (string, error) {
	n := 0
	for digits := 0; ; digits++ {
		c, err := in.ReadByte()
		switch {
		case err != nil:
			return "", err
		case c == ':' && digits > 0:
			return readCounted(in, n)
		case !isDigit(c) || digits > 6:
			return "", fmt.Errorf("%w: no length of a netstring", errBadReply)
		}
		if n = n*10 + int(c-'0'); n > maxSocketmap {
			return "", fmt.Errorf("%w: netstring longer than %d bytes", errBadReply, maxSocketmap)
		}
	}
}

func readCounted(in *bufio.Reader, n int) (string, error) {
	b := make([]byte, n+1)
	if _, err := io.ReadFull(in, b); err != nil {
		return "", err
	}
	if b[n] != ',' {
		return "", fmt.Errorf("%w: netstring without its comma", errBadReply)
	}
	return string(b[:n]), nil
}

// answerSocketmap answers one question of a client.
func answerSocketmap(ctx context.Context, tables map[string]LookupTable, question string) (reply string, known error) {
	name, key, ok := strings.Cut(question, " ")
	t := tables[name]
	if !ok || t == nil {
		return "PERM no such table", fmt.Errorf("asked for the table %s", quoteShort(name))
	}
	value, found, err := contained(func() (string, bool, error) { return t.Lookup(ctx, key) })
	switch {
	case err != nil:
		return "TEMP table cannot answer", err
	case !found:
		return "NOTFOUND ", nil
	case len(value) > maxSocketmap-len("OK "):
		return "PERM value is too long", fmt.Errorf("value of %s bytes is too long", strconv.Itoa(len(value)))
	}
	return "OK " + value, nil
}

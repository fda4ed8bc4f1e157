package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/filter"
	"github.com/mtakit/mtakit/lookup"
)

// maxMessage bounds a message on standard input, in bytes.
const maxMessage = 256 << 20

// printer is a table without actions, which prints what is found under the keys that
// checks of a message ask for.
type printer struct {
	table lookup.LookupTable
	out   io.Writer
	found bool
}

// Lookup prints what is found, and finds nothing.
func (p *printer) Lookup(ctx context.Context, key string) (string, bool, error) {
	value, ok, err := p.table.Lookup(ctx, key)
	if !ok || err != nil || key == "" {
		return "", false, err
	}
	p.found = true
	_, err = fmt.Fprintf(p.out, "%s\t%s\n", key, value)
	return "", false, err
}

// askMessage asks for the header fields (-h) and the body lines (-b) of the message on
// standard input, as header_checks(5) and body_checks(5) do: with -m as they see MIME.
func (t *tool) askMessage(ctx context.Context, table lookup.LookupTable, out io.Writer) (found bool, err error) {
	text, err := io.ReadAll(io.LimitReader(t.in, maxMessage+1))
	if err != nil {
		return false, err
	}
	if len(text) > maxMessage {
		return false, fmt.Errorf("the message has more than %d bytes", maxMessage)
	}
	text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	m, p := mtakit.NewMessage(text), &printer{table: table, out: out}
	if t.header {
		if _, err := (filter.HeaderChecks{Table: p, PrimaryOnly: !t.mime}).Filter(ctx, nil, m); err != nil {
			return p.found, err
		}
	}
	switch {
	case !t.body:
	case t.mime:
		_, err = filter.BodyChecks{Table: p}.Filter(ctx, nil, m)
	default:
		err = p.bodyLines(ctx, text[m.Header.Size():])
	}
	return p.found, err
}

// bodyLines asks for each line.
func (p *printer) bodyLines(ctx context.Context, body []byte) error {
	for line := range strings.Lines(string(body)) {
		if _, _, err := p.Lookup(ctx, strings.TrimRight(line, "\r\n")); err != nil {
			return err
		}
	}
	return nil
}

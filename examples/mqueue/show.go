package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mtakit/mtakit/queue/control"
)

// show prints messages. What goes to a terminal has nothing in it that the
// terminal would obey; what goes elsewhere is as it is.
func (t *tool) show(ctx context.Context, terminal bool) error {
	all := !t.envelope && !t.header && !t.body
	ids, err := t.meantIDs(ctx)
	if err != nil {
		return err
	}
	for i, id := range ids {
		if i > 0 && (all || t.envelope) && !t.json {
			fmt.Fprintln(t.out)
		}
		d, text, err := t.spool.Show(ctx, id)
		if err != nil && !control.OfOne(err) && !errors.Is(err, control.ErrUnsupported) {
			return err
		}
		if err != nil {
			t.complain(id, err)
			continue
		}
		err = t.showOne(&d, text, all, terminal)
		text.Close()
		if err != nil {
			t.complain(id, err)
		}
	}
	return nil
}

// meantIDs are the IDs of what is meant. Plain ones need no look at the queue:
// what can only be found by name is shown too.
func (t *tool) meantIDs(ctx context.Context) (ids []string, err error) {
	others := t.Selection
	others.IDs = nil
	if others.All() && len(t.IDs) > 0 && !strings.ContainsAny(strings.Join(t.IDs, ""), "*?") {
		return t.IDs, nil
	}
	err = t.messages(ctx, true, func(m *control.Message) error {
		ids = append(ids, m.ID)
		return nil
	})
	return ids, err
}

func (t *tool) showOne(d *control.Details, text io.Reader, all, terminal bool) error {
	if t.json {
		b, err := control.JSON(d)
		if err != nil {
			return err
		}
		_, err = t.out.Write(append(b, '\n'))
		return err
	}
	if all || t.envelope {
		writeEnvelope(t.out, d)
	}
	if all {
		fmt.Fprintln(t.out)
	}
	return t.text(text, all || t.header, all || t.body, terminal)
}

// text copies header and body, or one of them.
func (t *tool) text(text io.Reader, header, body, terminal bool) error {
	in := bufio.NewReaderSize(text, 64<<10)
	inHeader, begins := true, true
	for header && inHeader || body {
		line, err := in.ReadSlice('\n')
		ends := len(line) > 0 && line[len(line)-1] == '\n'
		empty := inHeader && begins && strings.Trim(string(line), "\r\n") == ""
		if inHeader && (header || empty && body) || !inHeader {
			if empty && !header {
				line = nil
			}
			if terminal {
				line = []byte(safe(string(line)))
			}
			if _, err := t.out.Write(line); err != nil {
				return err
			}
		}
		inHeader, begins = inHeader && !empty, ends
		switch {
		case err == io.EOF:
			return nil
		case err != nil && err != bufio.ErrBufferFull:
			return err
		}
	}
	return nil
}

// safe is a line, or a part of one, for a terminal.
func safe(line string) string {
	text := strings.TrimRight(line, "\r\n")
	end := ""
	if len(text) < len(line) {
		end = "\n"
	}
	parts := strings.Split(text, "\t")
	for i := range parts {
		parts[i] = control.Printable(parts[i])
	}
	return strings.Join(parts, "\t") + end
}

// writeEnvelope writes what is known of a message, a line each.
func writeEnvelope(w io.Writer, d *control.Details) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-13s %s\n", name+":", control.Printable(value))
		}
	}
	line("ID", d.ID)
	line("Queue", d.Queue)
	line("Reason", d.Reason)
	line("Sender", "<"+d.Sender+">")
	line("Size", fmt.Sprint(d.Size))
	line("Arrival", stamp(d.Arrival))
	line("Not before", stamp(d.NotBefore))
	line("Next attempt", stamp(d.Next))
	line("Attempts", fmt.Sprint(d.Attempts))
	line("Client", d.Client)
	line("HELO", d.HELO)
	line("Protocol", d.Protocol)
	line("Login", d.Login)
	line("Envelope ID", d.EnvelopeID)
	line("Return", d.Return)
	line("Body", d.Body)
	line("Filter", d.Filter)
	line("Key", d.Key)
	for _, set := range []struct {
		on   bool
		text string
	}{{d.UTF8, "SMTPUTF8"}, {d.Warned, "the sender was told of the delay"}, {d.Expire, "it will be given up"}, {d.Requeue, "it will be accepted anew"}} {
		if set.on {
			line("Note", set.text)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.Attrs)) {
		line("Attribute", name+"="+d.Attrs[name])
	}
	for _, r := range d.All {
		line("Recipient", recipient(&r))
	}
}

func recipient(r *control.Destiny) string {
	s := "<" + r.Address + "> " + r.State
	if r.Original != "" {
		s += ", was <" + r.Original + ">"
	}
	if len(r.Notify) > 0 {
		s += ", NOTIFY=" + strings.Join(r.Notify, ",")
	}
	if r.Reason != "" {
		s += " (" + r.Reason + ")"
	}
	return s
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.RFC3339)
}

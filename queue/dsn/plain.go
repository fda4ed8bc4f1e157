package dsn

import (
	"bufio"
	"bytes"
	"strings"
)

// plain looks for the notifications of those who know no RFC 3464.
func (p *parser) plain() {
	if p.exim(); len(p.n.Recipients) == 0 {
		p.qsbmf()
	}
}

// exim reads X-Failed-Recipients. Older Exims say nothing else to programs; the
// reasons are in the Text, in a form that sites change.
func (p *parser) exim() {
	for _, f := range p.n.Header.All() {
		if !f.Is("X-Failed-Recipients") {
			continue
		}
		for address := range strings.SplitSeq(f.Value(), ",") {
			if address = strings.TrimSpace(address); address != "" {
				p.add(RecipientReport{Address: address, AddressType: "rfc822", Action: "failed"})
			}
		}
		p.n.Form = Exim
	}
	_, copied, found := bytes.Cut(p.body, []byte("\n------ This is a copy of"))
	if _, copied, _ = bytes.Cut(copied, []byte("\n")); found && p.n.Form == Exim {
		p.original(copied)
	}
}

// qsbmf reads qmail's own format: paragraphs of which the first begins with "Hi.
// This is the", those about recipients with "<", and that before the message
// with "-" (D. J. Bernstein, "The qmail-send bounce message format").
func (p *parser) qsbmf() {
	body := bytes.TrimLeft(bytes.ReplaceAll(p.body, []byte("\r\n"), []byte("\n")), "\n")
	if !bytes.HasPrefix(body, []byte("Hi. This is the ")) {
		return
	}
	for len(body) > 0 {
		var paragraph []byte
		paragraph, body, _ = bytes.Cut(body, []byte("\n\n"))
		body = bytes.TrimLeft(body, "\n")
		if bytes.HasPrefix(paragraph, []byte("-")) {
			p.original(body)
			break
		}
		first, reason, _ := strings.Cut(string(paragraph), "\n")
		first, ok := strings.CutPrefix(first, "<")
		first, ok2 := strings.CutSuffix(strings.TrimRight(first, " "), ">:")
		if !ok || !ok2 {
			continue
		}
		r := RecipientReport{Address: first, AddressType: "rfc822", Action: "failed", Diagnostic: strings.Join(strings.Fields(reason), " ")}
		if _, code, ok := strings.Cut(r.Diagnostic, "(#"); ok {
			r.Status = enhanced(code)
		}
		p.add(r)
		p.n.Form = QSBMF
	}
}

// original takes the header of the message from a text that has all of it.
func (p *parser) original(text []byte) {
	if h, _ := readHeader(bufio.NewReader(bytes.NewReader(bytes.TrimLeft(text, "\r\n")))); h.Len() > 0 {
		p.n.Original = h
	}
}

package rewrite

import (
	"context"
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Transport overrides how recipients are reached, as transport(5) does. The zero
// value overrides nothing.
//
// The keys are user+ext@domain, user@domain, domain, .parent for each parent
// domain, and "*".
type Transport struct {
	Table     Table  // keys to "transport:nexthop"; nil means empty
	Delimiter string // characters that begin an address extension, "+"; "" means that there are none
}

// Apply changes the route of a recipient as the table says: "t:n" replaces
// transport and next hop, "t:" the transport and makes the recipient's domain
// the next hop, ":n" the next hop only, ":" nothing. ok says that there was an
// entry.
func (t *Transport) Apply(ctx context.Context, address string, route *mtakit.Route) (ok bool, err error) {
	value, ok, err := t.find(ctx, address)
	if !ok || err != nil {
		return false, wrap("transport", err)
	}
	transport, nexthop := ParseTransport(value)
	if transport == "error" || transport == "retry" {
		*route = mtakit.Route{Transport: transport, Reply: refusal(transport, nexthop)}
		return true, nil
	}
	if transport != "" {
		_, domain := Split(address)
		*route = mtakit.Route{Transport: transport, NextHop: ASCIIDomain(domain)}
	}
	if nexthop != "" {
		route.NextHop = nexthop
	}
	route.Key = lower(route.NextHop)
	return true, nil
}

// find looks for the entry of an address.
func (t *Transport) find(ctx context.Context, address string) (string, bool, error) {
	if t.Table == nil || address == "" {
		return "", false, nil
	}
	k := Keys{Delimiter: t.Delimiter}
	m, ok, err := k.findUser(ctx, t.Table, address)
	if ok || err != nil || fullKeyOnly(t.Table) {
		return m.value, ok, err
	}
	_, domain := Split(address)
	s := search{ctx: ctx, table: t.Table}
	for key := range domainKeys(domain) {
		if v, ok, err := s.parts(key); ok || err != nil {
			return v, ok, err
		}
	}
	return s.parts("*")
}

// domainKeys yields the domain and its parents with a dot before them. Address
// literals have no parents.
func domainKeys(domain string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		name := ASCIIDomain(domain)
		folded := lower(domain)
		if folded != name && !yield(folded) { // the table may have it in Unicode
			return
		}
		if !yield(name) || strings.HasPrefix(name, "[") {
			return
		}
		for {
			_, parent, found := strings.Cut(name, ".")
			if !found || parent == "" || !yield("."+parent) {
				return
			}
			name = parent
		}
	}
}

// ParseTransport cuts the value of a transport table, "smtp:[mx.example.org]:25",
// at its first colon. Without a colon it is all transport.
func ParseTransport(value string) (transport, nexthop string) {
	transport, nexthop, _ = strings.Cut(strings.TrimSpace(value), ":")
	return strings.TrimSpace(transport), strings.TrimSpace(nexthop)
}

// refusal is the reply of the error and retry transports, "5.1.2 No such host".
// The text is the administrator's; the class of the code is the transport's.
func refusal(transport, text string) *smtp.SMTPError {
	reply := &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 0, 0}}
	if transport == "retry" {
		reply.Code, reply.EnhancedCode[0] = 450, 4
	}
	if status, rest, ok := cutStatus(text); ok {
		reply.EnhancedCode[1], reply.EnhancedCode[2] = status[1], status[2]
		text = rest
	}
	if text == "" {
		text = "Address is undeliverable"
	}
	reply.Message = clean(text)
	return reply
}

// cutStatus reads the RFC 3463 code that a text may begin with.
func cutStatus(text string) (status smtp.EnhancedCode, rest string, ok bool) {
	word, rest, _ := strings.Cut(text, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 {
		return status, text, false
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 10)
		if err != nil || len(part) > 3 || n > 999 || i == 0 && n != 4 && n != 5 {
			return status, text, false
		}
		status[i] = int(n)
	}
	return status, strings.TrimSpace(rest), true
}

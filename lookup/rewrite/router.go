package rewrite

import (
	"context"
	"slices"
	"strings"

	"github.com/emersion/go-smtp"

	"github.com/mtakit/mtakit"
)

// Router says how a recipient is reached, as Postfix's trivial-rewrite resolves
// addresses: the class of the domain gives the default, Transport overrides it,
// Relocated refuses. It is asked at each attempt, so that a changed table is in
// force for what waits in the queue. The zero value sends everything to the
// mail exchangers of its domain.
//
// The first class that has the domain counts: Local (mydestination), Aliased
// (virtual_alias_domains), Domains (virtual_mailbox_domains), Relayed
// (relay_domains). All other domains are remote. Users who are unknown in the first
// four are refused, 550 5.1.1: one may go after mail for him was accepted.
type Router struct {
	// Local has the domains whose users are those of the system, and the address
	// literals that are ours, "[192.0.2.1]". nil means none.
	Local Table
	// LocalRecipients has the users of Local, by user, user@domain or @domain: those of
	// passwd(5) and aliases(5) usually (local_recipient_maps). Postmaster, MAILER-DAEMON
	// and double-bounce are always known. nil means that all are.
	LocalRecipients Table
	// Aliased has the domains all of whose addresses Virtual replaces. Who is left in
	// one is unknown. nil means none.
	Aliased Table
	// Domains has the domains whose users have mailboxes, by name. nil means none.
	Domains Table
	// Mailboxes has the addresses in Domains that have a mailbox, user@domain or
	// @domain. nil means that every user has one.
	Mailboxes Table
	// Unknown is what is said of a user in Domains without a mailbox. "" means "User
	// unknown in virtual mailbox table".
	Unknown string
	// Relayed has the domains that we are a mail exchanger of. nil means none.
	Relayed Table
	// RelayRecipients has the addresses in Relayed that there are, user@domain or
	// @domain. nil means that all are.
	RelayRecipients Table
	Keys                       // for LocalRecipients, Mailboxes and RelayRecipients
	Transport       *Transport // nil means that nothing overrides the class
	Relocated       *Relocated // nil means that nobody has moved
	RelayHost       string     // next hop of mail in Relayed and of remote mail: "example.net", "[192.0.2.1]:2525" (no MX); "" means the recipient's domain
	LocalName       string     // transport of Local; "" means "local"
	MailboxName     string     // transport of Domains, "virtual"; "" means LocalName
	RelayName       string     // transport of Relayed; "" means RemoteName
	RemoteName      string     // transport of other domains; "" means "smtp"
	// SenderRelayHost has other next hops than RelayHost for mail of some senders, by
	// user@domain, @domain, or "<>" for the null sender
	// (sender_dependent_relayhost_maps); DUNNO means RelayHost. nil means none.
	SenderRelayHost Table
	// SenderTransport has "transport:nexthop" for remote mail of some senders, likewise
	// (sender_dependent_default_transport_maps). nil means none.
	SenderTransport Table
}

// Route returns the route of a recipient. The error is a table's; the recipient
// is to be deferred.
func (r *Router) Route(ctx context.Context, env *mtakit.Envelope, rcpt *mtakit.Recipient) (mtakit.Route, error) {
	sender := ""
	if env != nil {
		sender = env.Sender
	}
	route, class, err := r.resolve(ctx, sender, rcpt.Address)
	if err != nil {
		return mtakit.Route{}, err
	}
	if r.Relocated != nil {
		reply, err := r.Relocated.Reply(ctx, rcpt.Address)
		if err != nil {
			return mtakit.Route{}, err
		}
		if reply != nil {
			return mtakit.Route{Transport: "error", Reply: reply}, nil
		}
	}
	if route.Reply == nil && route.Transport == class.transport {
		if route.Reply, err = r.unknown(ctx, class, rcpt.Address); err != nil {
			return mtakit.Route{}, err
		}
	}
	return route, nil
}

// addressClass is what a domain is to us.
type addressClass struct {
	transport string
	users     Table  // who there is; nil means everybody
	unknown   string // what is said of others; "" means that all are known
	goesOn    bool   // to another server
	system    bool   // has the users of the system, who may stand in users without a domain
}

// resolve returns the route of an address whether or not it exists.
func (r *Router) resolve(ctx context.Context, sender, address string) (mtakit.Route, addressClass, error) {
	_, domain := Split(address)
	if domain == "" {
		return mtakit.Route{Transport: "error", Reply: &smtp.SMTPError{
			Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 3}, Message: "Bad recipient address syntax",
		}}, addressClass{}, nil
	}
	route, class, err := r.class(ctx, sender, ASCIIDomain(domain))
	if err != nil || r.Transport == nil {
		return route, class, err
	}
	_, err = r.Transport.Apply(ctx, address, &route)
	return route, class, err
}

func orText(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// class returns the class of a domain, and the route that it has by itself.
func (r *Router) class(ctx context.Context, sender, domain string) (mtakit.Route, addressClass, error) {
	remote, local := orText(r.RemoteName, "smtp"), orText(r.LocalName, "local")
	for _, c := range [...]struct {
		domains Table
		addressClass
	}{
		{r.Local, addressClass{transport: local, users: r.LocalRecipients, unknown: "User unknown in local recipient table", system: true}},
		{r.Aliased, addressClass{transport: "error", users: nobody, unknown: "User unknown in virtual alias table"}},
		{r.Domains, addressClass{transport: orText(r.MailboxName, local), users: r.Mailboxes, unknown: orText(r.Unknown, "User unknown in virtual mailbox table")}},
		{r.Relayed, addressClass{transport: orText(r.RelayName, remote), users: r.RelayRecipients, unknown: "User unknown in relay recipient table", goesOn: true}},
	} {
		ours, err := hasDomain(ctx, c.domains, domain)
		if err != nil {
			return mtakit.Route{}, addressClass{}, wrap("domains", err)
		}
		if !ours {
			continue
		}
		route := mtakit.Route{Transport: c.transport, NextHop: domain, Key: domain}
		if c.goesOn {
			err = r.relayHost(ctx, sender, &route)
		}
		return route, c.addressClass, err
	}
	route := mtakit.Route{Transport: remote, NextHop: domain, Key: domain}
	err := r.relayHost(ctx, sender, &route)
	if err == nil {
		err = r.senderTransport(ctx, sender, &route)
	}
	return route, addressClass{}, err
}

// nobody is the table of the users of a domain that has none.
var nobody = TableFunc(func(context.Context, string) (string, bool, error) { return "", false, nil })

// relayHost sets the next hop of mail that goes on.
func (r *Router) relayHost(ctx context.Context, sender string, route *mtakit.Route) error {
	host, ok, err := ofSender(ctx, r.SenderRelayHost, sender)
	if err != nil {
		return wrap("sender's relay host", err)
	}
	if !ok {
		host = r.RelayHost
	}
	if host != "" {
		route.NextHop, route.Key = host, lower(host)
	}
	return nil
}

// senderTransport sets what the table says for a sender.
func (r *Router) senderTransport(ctx context.Context, sender string, route *mtakit.Route) error {
	value, ok, err := ofSender(ctx, r.SenderTransport, sender)
	if !ok || err != nil {
		return wrap("sender's transport", err)
	}
	transport, nexthop := ParseTransport(value)
	if transport == "error" || transport == "retry" {
		*route = mtakit.Route{Transport: transport, Reply: refusal(transport, nexthop)}
		return nil
	}
	if transport != "" {
		route.Transport = transport
	}
	if nexthop != "" {
		route.NextHop, route.Key = nexthop, lower(nexthop)
	}
	return nil
}

// ofSender looks a sender up. DUNNO is no entry.
func ofSender(ctx context.Context, t Table, sender string) (string, bool, error) {
	if t == nil {
		return "", false, nil
	}
	if sender == "" {
		sender = "<>"
	}
	k := Keys{}
	m, ok, err := k.find(ctx, t, sender)
	if err != nil || !ok || strings.EqualFold(strings.TrimSpace(m.value), "DUNNO") {
		return "", false, err
	}
	return strings.TrimSpace(m.value), true, nil
}

// alwaysKnown are the users of Local whom Postfix never refuses.
var alwaysKnown = []string{"postmaster", "mailer-daemon", "double-bounce"}

// unknown returns the refusal of an address that there is not.
func (r *Router) unknown(ctx context.Context, class addressClass, address string) (*smtp.SMTPError, error) {
	if class.users == nil || class.unknown == "" {
		return nil, nil
	}
	keys := r.Keys
	if class.system {
		if local, _ := Split(lower(address)); slices.Contains(alwaysKnown, local) {
			return nil, nil
		}
		keys.Local = r.Local
	}
	_, ok, err := keys.find(ctx, class.users, address)
	if ok || err != nil {
		return nil, wrap("recipients", err)
	}
	return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: class.unknown}, nil
}

package restrictions_test

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/mtakit/mtakit"
	r "github.com/mtakit/mtakit/restrictions"
)

// Example is a server that takes mail for one domain, and from its own network
// for all.
func Example() {
	domains := table{"example.org": ""}
	networks := table{"192.0.2.1": ""}
	access := table{"spammer@example.net": "REJECT we know you"}
	rules := &r.Stages{
		Sender: r.CheckSenderAccess{Table: access},
		Relay: r.List{r.PermitMynetworks{Networks: networks}, r.PermitSASLAuthenticated{},
			r.RejectUnauthDestination{Domains: domains}},
	}
	ask := func(client, sender, recipient string) {
		v, _ := rules.Check(context.Background(), &mtakit.Session{
			Client:    mtakit.Client{Addr: netip.AddrPortFrom(netip.MustParseAddr(client), 25)},
			Stage:     mtakit.StageRcpt,
			Envelope:  &mtakit.Envelope{Sender: sender},
			Recipient: &mtakit.Recipient{Address: recipient},
		})
		fmt.Println(v.Action, v.Reply)
	}
	ask("203.0.113.5", "a@example.net", "user@example.org")
	ask("203.0.113.5", "a@example.net", "user@example.com")
	ask("192.0.2.1", "a@example.net", "user@example.com")
	ask("192.0.2.1", "spammer@example.net", "user@example.org")
	// Output:
	// DUNNO <nil>
	// REJECT SMTP error 554: <user@example.com>: Relay access denied
	// DUNNO <nil>
	// REJECT SMTP error 554: <spammer@example.net>: Sender address rejected: we know you
}

package mtakit_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/filter"
	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/rewrite"
	"github.com/mtakit/mtakit/maildir"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/control"
	"github.com/mtakit/mtakit/queue/filespool"
	"github.com/mtakit/mtakit/queue/local"
	"github.com/mtakit/mtakit/queue/memspool"
	"github.com/mtakit/mtakit/queue/relay"
	"github.com/mtakit/mtakit/queue/verify"
	"github.com/mtakit/mtakit/restrictions"
	"github.com/mtakit/mtakit/smtpserver"
	"github.com/mtakit/mtakit/smtpserver/auth"
	"github.com/mtakit/mtakit/tlsutil"
)

// The siblings do not know each other; these lines prove that they fit.
var (
	_ restrictions.Table  = lookup.LookupTable(nil)
	_ filter.Table        = lookup.LookupTable(nil)
	_ maildir.Table       = lookup.LookupTable(nil)
	_ rewrite.Table       = lookup.LookupTable(nil)
	_ auth.Table          = lookup.LookupTable(nil)
	_ control.Table       = lookup.LookupTable(nil)
	_ relay.Passwords     = lookup.LookupTable(nil)
	_ lookup.LookupTable  = (*rewrite.Recipients)(nil)
	_ local.Table         = lookup.LookupTable(nil)
	_ local.Aliases       = (*rewrite.Aliases)(nil)
	_ local.Queue         = queue.Queue(nil)
	_ local.DeliveryAgent = queue.DeliveryAgent(nil)
	_ queue.DeliveryAgent = (*local.Agent)(nil)
	_ queue.DeliveryAgent = (*local.Mbox)(nil)

	_ smtpserver.Queue         = queue.Queue(nil)
	_ queue.Queue              = (*queue.Manager)(nil)
	_ smtpserver.Restriction   = restrictions.Restriction(nil)
	_ smtpserver.Restriction   = (*restrictions.Stages)(nil)
	_ smtpserver.Restriction   = restrictions.List(nil)
	_ restrictions.Restriction = (*rewrite.Relocated)(nil)
	_ smtpserver.ContentFilter = filter.ContentFilter(nil)
	_ smtpserver.ContentFilter = filter.Chain(nil)
	_ queue.Filter             = filter.ContentFilter(nil)
	_ queue.Rewriter           = (*rewrite.Trivial)(nil)
	_ queue.Table              = lookup.LookupTable(nil)
	_ filter.ContentFilter     = rewrite.Missing{}
	_ filter.ContentFilter     = (*rewrite.Cleanup)(nil)
	_ smtpserver.Flusher       = (*queue.Manager)(nil)
	_ smtpserver.Rewriter      = (*rewrite.Trivial)(nil)
	_ smtpserver.Authenticator = (*auth.SASL)(nil)
	_ smtpserver.Resolver      = (*net.Resolver)(nil)
	_ smtpserver.Reporter      = (*queue.Manager)(nil)

	_ queue.Spool           = (*filespool.Spool)(nil)
	_ queue.Spool           = (*memspool.Spool)(nil)
	_ queue.Router          = (*rewrite.Router)(nil)
	_ queue.DeliveryAgent   = (*maildir.Agent)(nil)
	_ queue.DeliveryAgent   = (*rewrite.Outgoing)(nil)
	_ rewrite.Agent         = queue.DeliveryAgent(nil)
	_ queue.DeliveryAgent   = (*relay.Agent)(nil)
	_ verify.Prober         = (*queue.Manager)(nil)
	_ restrictions.Verifier = (*verify.Cache)(nil)
	_ queue.Verifier        = (*maildir.Agent)(nil)
	_ queue.Verifier        = (*relay.Agent)(nil)
	_ relay.Resolver        = (*net.Resolver)(nil)
)

func TestCompose(t *testing.T) {
	t.Parallel()
	intake := &smtpserver.Intake{
		Queue:        &queue.Manager{Spool: new(memspool.Spool), Router: &rewrite.Router{}},
		Restrictions: &restrictions.Stages{Relay: restrictions.List{restrictions.RejectUnauthDestination{Domains: lookup.Inline{"example.org": "OK"}}}},
		Filter:       filter.Chain{&rewrite.Cleanup{}},
	}
	server := &smtpserver.Server{Backend: intake, TLSConfig: tlsutil.Server(&tlsutil.Pair{})}
	assert.NotNil(t, server)
	assert.NotNil(t, smtp.NewServer(smtp.BackendFunc(intake.GoSMTP)))
}

// A mail server in its shortest form: mail for example.org comes in by SMTP, lies
// in a spool until it is delivered, and ends in Maildirs. Errors are left out.
func Example_wiring() {
	dir, _ := os.MkdirTemp("", "mail")
	defer os.RemoveAll(dir)
	root, _ := os.OpenRoot(dir)
	spool, _ := filespool.Open(dir+"/queue", filespool.Options{})
	domains := lookup.Inline{"example.org": "OK"}
	boxes := lookup.Inline{"alice@example.org": "alice/"}
	delivered := make(chan mtakit.Event)

	manager := &queue.Manager{
		Spool:  spool,
		Router: &rewrite.Router{Domains: domains, Mailboxes: boxes},
		Agents: map[string]queue.DeliveryAgent{
			"local": &maildir.Agent{Root: root, Mailboxes: boxes},
			"smtp":  &relay.Agent{},
		},
		Observer: mtakit.ObserverFunc(func(_ context.Context, e mtakit.Event) {
			if e.Kind == mtakit.EventDelivered {
				delivered <- e
			}
		}),
	}
	server := &smtpserver.Server{Backend: &smtpserver.Intake{
		Queue: manager,
		Restrictions: &restrictions.Stages{
			Relay:    restrictions.RejectUnauthDestination{Domains: domains},
			Unlisted: restrictions.RejectUnlistedRecipient{Domains: domains, Recipients: boxes},
		},
	}}
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	go server.Serve(l)
	go manager.Serve(context.Background())

	c, _ := smtp.Dial(l.Addr().String())
	fmt.Println(c.SendMail("bob@example.net", []string{"nobody@example.org"}, strings.NewReader("")))
	c.Reset()
	c.SendMail("bob@example.net", []string{"alice@example.org"}, strings.NewReader("Subject: hello\r\n\r\nHi Alice\r\n"))
	e := <-delivered
	fmt.Println(e.Kind, e.Recipient)

	c.Close()
	server.Shutdown(context.Background())
	manager.Shutdown(context.Background())
	spool.Close()
	root.Close()
	// Output:
	// SMTP error 550: <nobody@example.org>: Recipient address rejected: User unknown in virtual mailbox table
	// delivered alice@example.org
}

// Command mta is a complete mail server made of mtakit's parts, and the place to
// look when you wire your own: see wire, below.
//
//	mta -demo      shows what it does
//	mta            serves until SIGINT or SIGTERM; SIGHUP reads everything again
//	mta -h         lists the flags
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/filter"
	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/rewrite"
	"github.com/mtakit/mtakit/maildir"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/control"
	"github.com/mtakit/mtakit/queue/local"
	"github.com/mtakit/mtakit/queue/relay"
	"github.com/mtakit/mtakit/queue/verify"
	"github.com/mtakit/mtakit/restrictions"
	"github.com/mtakit/mtakit/smtpserver"
	"github.com/mtakit/mtakit/smtpserver/auth"
	"github.com/mtakit/mtakit/tlsutil"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	c, err := parseFlags(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil {
		err = start(c, stdout, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "mta: %s\n", strings.ReplaceAll(err.Error(), "\n", "; ")) // joined errors have a line each
		return 1
	}
	return 0
}

func start(c config, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if c.demo {
		return demo(ctx, c, stdout, stderr)
	}
	s, err := open(c, newLogger(c.log, stderr))
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "ready smtp=%s submission=%s dir=%s\n", s.smtpAddr(), s.submissionAddr(), s.dir)
	return s.serve(ctx)
}

// wire draws the lines between the parts: docs/architecture.md as Go.
func (s *server) wire(c config, t *tables, observer mtakit.Observer) {
	// What addresses become, and where they lead.
	canonical := &rewrite.Canonical{Both: t.canonical, Origin: t.origin}
	aliases := &rewrite.Aliases{Table: t.aliases, Domains: t.domains, Includes: t.includes, Agent: true, Commands: c.runs != nil}
	expander := &rewrite.Expander{Virtual: &rewrite.Virtual{Table: t.virtual, Origin: t.origin}, Mailboxes: t.mailboxes, Aliases: aliases}
	aliased := &rewrite.Recipients{Canonical: canonical, Expander: &rewrite.Expander{Virtual: expander.Virtual}}
	relocated := &rewrite.Relocated{Table: t.relocated, Aliased: aliased}
	router := &rewrite.Router{Domains: t.domains, Mailboxes: t.mailboxes, Relocated: relocated,
		Transport: &rewrite.Transport{Table: t.transport}, RelayHost: relayhost(c.relayhost)}

	// An alias that is left to the agent is known too.
	known := &rewrite.Recipients{Expander: &rewrite.Expander{Mailboxes: t.mailboxes, Aliases: aliases}}
	router.Mailboxes = known

	// Copies are made of mail when it comes, and of nothing that is made here.
	cleanup := &rewrite.Cleanup{Canonical: canonical, Expander: expander}
	arrival := *cleanup
	arrival.BCC = &rewrite.BCC{Always: c.alwaysBCC, Sender: t.senderBCC, Recipient: t.recipientBCC, Origin: t.origin}
	trivial := &rewrite.Trivial{Origin: t.origin}

	// Keeping and delivering.
	s.local = &maildir.Agent{Root: s.mail, Mailboxes: lookup.Address(t.mailboxes), Hostname: c.hostname,
		SyncFS: c.wholeSyncs(s.mail.Name()), Logger: s.logger}
	s.remote = &relay.Agent{Hostname: c.hostname, Logger: s.logger}
	users := &local.Agent{Mailboxes: s.local, Domains: t.domains, Aliases: members{aliases, expander.Virtual, t.mailboxes},
		Default: c.runs, Hostname: c.hostname, Logger: s.logger}
	if c.runs != nil {
		users.Commands, users.Files = &local.Commands{}, &local.Files{}
	}
	s.manager = &queue.Manager{
		Spool:  s.spool,
		Router: router,
		Agents: map[string]queue.DeliveryAgent{
			"local": users,
			"smtp":  &rewrite.Outgoing{Agent: s.remote, Mapper: &rewrite.Generic{Table: t.generic, Origin: t.origin}},
		},
		// Mailboxes are no site to be gentle with, and deliveries that wait for the
		// disk together share its syncs.
		Transports: map[string]queue.Limits{"local": {Concurrency: 400, Destination: 300, Initial: 300}},
		Hostname:   c.hostname,
		MinBackoff: c.minBackoff, MaxBackoff: c.maxBackoff, WarningAfter: c.warningAfter,
		Lifetime:    cmp.Or(c.lifetime, -1), // the flag's 0 is one attempt
		WarnSenders: queue.SendersFunc(s.ours), FlushDomains: t.domains,
		Postmaster: "postmaster@" + cmp.Or(t.origin(), c.hostname), Notify: c.notifyClasses(), NoticeFilter: cleanup, Templates: c.texts,
		Logger: s.logger, Observer: observer,
	}

	users.Queue = s.manager

	// Who is asked for, where the access table says so.
	s.verified = &verify.Cache{Prober: verifier(expander, s.manager), Logger: s.logger}

	// Who may send what to whom. The relay list stands alone and comes before the
	// recipient list, so that no OK for a name that can be forged opens the relay.
	mynetworks := restrictions.PermitMynetworks{Networks: t.networks}
	stages := &restrictions.Stages{
		Client: restrictions.CheckClientAccess{Table: lookup.Client(lookup.Tag("Connect:", t.access))},
		HELO:   restrictions.CheckHELOAccess{Table: lookup.Domain(tagged("Helo:", t.access))},
		Sender: restrictions.CheckSenderAccess{Table: lookup.AccessAddress(lookup.Tag("From:", t.access)), Named: restrictions.Named{
			"reject_unverified_sender": restrictions.RejectUnverifiedSender{Verifier: s.verified}}},
		Relay: restrictions.List{mynetworks, restrictions.PermitSASLAuthenticated{}, restrictions.RejectUnauthDestination{Domains: t.domains}},
		Recipient: restrictions.List{
			relocated,
			restrictions.CheckRecipientAccess{Table: lookup.AccessAddress(tagged("To:", t.access)), Named: restrictions.Named{
				"reject_unverified_recipient": restrictions.RejectUnverifiedRecipient{Verifier: s.verified}}},
		},
		Unlisted: restrictions.List{
			restrictions.RejectUnlistedRecipient{Domains: t.domains, Recipients: &rewrite.Recipients{Canonical: canonical, Expander: expander}},
			restrictions.RejectUnroutableRecipient{Router: router, Replaced: aliased},
		},
	}
	checks := filter.Chain{filter.HeaderChecks{Table: t.header}, filter.BodyChecks{Table: t.body}} // what PASS ends
	filters := filter.Chain{checks, &arrival}
	s.manager.Filter = filter.Chain{checks, cleanup} // of what is requeued

	// Receiving.
	intake := smtpserver.Intake{
		Queue: s.manager, Flusher: s.manager, Hostname: c.hostname, Restrictions: stages, Filter: filters,
		Rewriter: trivial, AddMissing: mynetworks, Logger: s.logger, Observer: observer,
	}
	submit := intake
	submit.RequireTLS, submit.RequireAuth = true, true
	submit.Authenticator = &auth.SASL{Verifier: &auth.Passwd{Table: t.users}}
	submit.AddMissing = restrictions.Permit{}

	s.inbound = &smtpserver.Server{Backend: &intake, Hostname: c.hostname, TLSConfig: tlsutil.Server(s.pair),
		MaxSize: c.maxSize, IdleTimeout: c.timeout, Reporter: s.manager, Logger: s.logger, Observer: observer}
	s.submission = &smtpserver.Server{Backend: &submit, Hostname: c.hostname, TLSConfig: tlsutil.Server(s.pair),
		MaxSize: c.maxSize, IdleTimeout: c.timeout, Reporter: s.manager, Logger: s.logger, Observer: observer}
	s.maildrop = &queue.Maildrop{Dir: filepath.Join(s.dir, "queue", "maildrop"), Corrupt: filepath.Join(s.dir, "queue", "corrupt"),
		Queue: s.manager, Hostname: c.hostname, Rewriter: trivial, Submitters: t.submitters,
		Filter:   filter.Chain{checks, rewrite.Missing{Hostname: c.hostname, FullName: queue.AttrFullName}, &arrival},
		QueueRun: c.queueRun, MaxSize: cmp.Or(c.maxSize, -1), Logger: s.logger, Observer: observer}

	// Looking at the queue and changing it.
	s.control = &control.Server{
		Local:     control.Local{Queue: s.manager, Checker: s.spool, Corrupt: s.maildrop.Corrupt, Maildrop: s.maildrop.Dir},
		Submitter: s.maildrop, Verifier: &destinies{trivial: trivial, cleanup: cleanup, manager: s.manager},
		MaySubmit: t.submitters, MayList: t.listers, MayFlush: t.flushers, Logger: s.logger,
	}

	s.check = func(ctx context.Context) { t.check(ctx, expander, known) }
}

// verifier asks for what an address becomes. One that becomes many is taken for
// good, as in Postfix.
func verifier(expander *rewrite.Expander, m *queue.Manager) verify.Prober {
	return verify.ProberFunc(func(ctx context.Context, address string) (mtakit.Result, error) {
		ends, err := expander.Expand(ctx, address)
		switch {
		case err != nil:
			return mtakit.Result{}, err // not remembered
		case len(ends) != 1:
			return mtakit.Result{Outcome: mtakit.Delivered, Diagnostic: "aliased to multiple recipients"}, nil
		}
		return m.Verify(ctx, ends[0])
	})
}

// tagged is an access table whose keys need their tag: in Sendmail's way keys
// without one are for clients and senders.
func tagged(tag string, t lookup.LookupTable) lookup.LookupTable {
	return lookup.TagTable{Tag: tag, Table: t, TaggedOnly: true}
}

// members are the aliases as the agent asks for them: a mailbox wins over them, and
// virtual is asked before them, as in rewrite.Expander, which has led here.
type members struct {
	*rewrite.Aliases
	virtual   *rewrite.Virtual
	mailboxes lookup.LookupTable
}

// Destinations says what an address leads to. Whether there is an owner is for the
// aliases alone to say: an entry for @example.test in virtual makes none.
func (m members) Destinations(ctx context.Context, address string) ([]string, bool, error) {
	if strings.HasPrefix(strings.ToLower(address), "owner-") {
		return m.Aliases.Destinations(ctx, address)
	}
	list, err := m.virtual.Expand(ctx, address)
	if err != nil {
		return nil, false, err
	}
	if !slices.ContainsFunc(list, func(to string) bool { return strings.EqualFold(to, address) }) {
		return list, true, nil
	}
	if _, ok, err := lookup.Address(m.mailboxes).Lookup(ctx, address); ok || err != nil {
		return nil, false, err
	}
	return m.Aliases.Destinations(ctx, address)
}

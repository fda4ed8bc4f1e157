// Command virtualhosting is a mail server for virtual domains whose users are in
// a database: MariaDB or MySQL, or an SQLite file that it makes itself.
//
//	virtualhosting -demo      shows what it does
//	virtualhosting            serves from an SQLite file until SIGINT or SIGTERM
//	virtualhosting -mysql 'user:password@unix(/run/mysqld/mysqld.sock)/mail'
//	virtualhosting -h         lists the flags
//
// README.md says how the database is made. wire, below, is the installation.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/rewrite"
	"github.com/mtakit/mtakit/maildir"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/relay"
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
		fmt.Fprintf(stderr, "virtualhosting: %s\n", strings.ReplaceAll(err.Error(), "\n", "; ")) // joined errors have a line each
		return 1
	}
	return 0
}

func start(c config, stdout, stderr io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if c.demo {
		return demo(ctx, c, stdout)
	}
	s, err := open(ctx, c, newLogger(c.log, stderr), nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "ready smtp=%s submission=%s dir=%s\n", s.smtp.Addr(), s.submission.Addr(), s.dir)
	return s.serve(ctx)
}

// wire draws the lines between the database and the parts.
func (s *server) wire(c config, t *tables, observer mtakit.Observer) {
	origin := func() string { return c.domain }

	// Where addresses lead: aliases first, then mailboxes, and what is not in our
	// domains goes to its mail exchangers.
	trivial := &rewrite.Trivial{Origin: origin}
	expander := &rewrite.Expander{Virtual: &rewrite.Virtual{Table: t.aliases, Origin: origin}, Mailboxes: t.mailboxes}
	cleanup := &rewrite.Cleanup{Expander: expander}
	router := &rewrite.Router{Domains: t.domains, Mailboxes: t.mailboxes, MailboxName: "virtual", RelayHost: relayhost(c.relayhost)}

	// Keeping and delivering.
	s.virtual = &maildir.Agent{Root: s.mail, Mailboxes: lookup.Address(t.mailboxes), Quotas: lookup.Address(t.quotas),
		DeferOverQuota: c.deferOverQuota, Hostname: c.hostname, Logger: s.logger}
	if c.chown {
		s.virtual.UIDs, s.virtual.GIDs = lookup.Address(t.uids), lookup.Address(t.gids)
	}
	s.remote = &relay.Agent{Hostname: c.hostname, Logger: s.logger}
	s.manager = &queue.Manager{
		Spool: s.spool, Router: router, Hostname: c.hostname, Postmaster: "postmaster@" + c.domain, NoticeFilter: cleanup,
		Agents:     map[string]queue.DeliveryAgent{"virtual": s.virtual, "smtp": s.remote},
		MinBackoff: c.minBackoff, MaxBackoff: max(c.minBackoff, c.maxBackoff),
		Logger: s.logger, Observer: observer,
	}

	// Who may send what to whom: everybody to our users, and users to everybody. A
	// table that cannot answer is a 451 here, and a 454 in AUTH.
	stages := &restrictions.Stages{
		Relay:     restrictions.List{restrictions.PermitSASLAuthenticated{}, restrictions.RejectUnauthDestination{Domains: t.domains}},
		Recipient: rejectFull{expander, s.virtual},
		Unlisted:  restrictions.RejectUnlistedRecipient{Domains: t.domains, Recipients: &rewrite.Recipients{Expander: expander}},
	}
	intake := smtpserver.Intake{Queue: s.manager, Hostname: c.hostname, Restrictions: stages, Filter: cleanup, Rewriter: trivial,
		Logger: s.logger, Observer: observer}
	submit := intake
	submit.RequireTLS, submit.RequireAuth = true, true
	submit.Authenticator = &auth.SASL{Verifier: &auth.Passwd{Table: t.users}}
	submit.AddMissing = restrictions.Permit{}

	s.smtp.Server = &smtpserver.Server{Backend: &intake, Hostname: c.hostname, TLSConfig: tlsutil.Server(s.pair),
		MaxSize: maxSize, Reporter: s.manager, Logger: s.logger, Observer: observer}
	s.submission.Server = &smtpserver.Server{Backend: &submit, Hostname: c.hostname, TLSConfig: tlsutil.Server(s.pair),
		MaxSize: maxSize, Reporter: s.manager, Logger: s.logger, Observer: observer}
}

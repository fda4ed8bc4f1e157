package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/rewrite"
)

// tables are the files in etc/. Each is read again when it changes.
type tables struct {
	domains, mailboxes, users, networks, access, aliases   *lookup.File
	canonical, relocated, transport, virtual, header, body *lookup.File
	generic, senderBCC, recipientBCC                       *lookup.File
	submitters, listers, flushers                          *lookup.File // of the control socket
	includes                                               rewrite.IncludeDirs
	logger                                                 *slog.Logger
}

// commands says that aliases may have some.
func openTables(etc string, commands bool, logger *slog.Logger) (*tables, error) {
	t := &tables{logger: logger, includes: rewrite.IncludeDirs{etc}}
	// A domain or a network may stand alone in its line.
	hash := func(path string, o lookup.Options) (*lookup.File, error) {
		if filepath.Base(path) == "domains" {
			o.Bare = "OK"
		}
		return lookup.OpenHash(path, o)
	}
	aliases := func(path string, o lookup.Options) (*lookup.File, error) {
		o.Inspect = func(file, text string) []error { return t.unusable(file, text, commands) }
		return lookup.OpenAliases(path, o)
	}
	for _, f := range []struct {
		table **lookup.File
		name  string
		open  func(string, lookup.Options) (*lookup.File, error)
	}{
		{&t.domains, "domains", hash}, {&t.mailboxes, "mailboxes", hash}, {&t.users, "users", hash},
		{&t.networks, "networks", lookup.OpenNetworks}, {&t.access, "access", hash}, {&t.aliases, "aliases", aliases},
		{&t.canonical, "canonical", hash}, {&t.relocated, "relocated", hash}, {&t.transport, "transport", hash},
		{&t.virtual, "virtual", hash}, {&t.header, "header_checks", lookup.OpenRegexp}, {&t.body, "body_checks", lookup.OpenRegexp},
		{&t.generic, "generic", hash}, {&t.senderBCC, "sender_bcc", hash}, {&t.recipientBCC, "recipient_bcc", hash},
		{&t.submitters, "authorized_submit_users", lookup.OpenRegexp}, {&t.listers, "authorized_mailq_users", lookup.OpenRegexp},
		{&t.flushers, "authorized_flush_users", lookup.OpenRegexp},
	} {
		table, err := f.open(filepath.Join(etc, f.name), lookup.Options{Logger: logger})
		if err != nil {
			return nil, err
		}
		*f.table = table
	}
	return t, nil
}

func (t *tables) all() []*lookup.File {
	return []*lookup.File{t.domains, t.mailboxes, t.users, t.networks, t.access, t.aliases,
		t.canonical, t.relocated, t.transport, t.virtual, t.header, t.body,
		t.generic, t.senderBCC, t.recipientBCC, t.submitters, t.listers, t.flushers}
}

// reload reads every file now. What cannot be read keeps its old contents.
func (t *tables) reload(ctx context.Context) error {
	var errs []error
	for _, file := range t.all() {
		errs = append(errs, file.Reload(ctx))
	}
	return errors.Join(errs...)
}

// origin is the domain of addresses that have none: the first of domains.
func (t *tables) origin() string {
	for e, err := range lookup.Entries(t.domains.Path(), t.domains.Text()) {
		if err == nil {
			return strings.ToLower(e.Key)
		}
	}
	return ""
}

// unusable finds the aliases that are not enabled, |command and /file, and those whose
// :include: cannot be read.
func (t *tables) unusable(file, text string, commands bool) (problems []error) {
	aliases := rewrite.Aliases{Commands: commands, Includes: t.includes}
	for _, err := range aliases.Check(file, strings.NewReader(text)) {
		if e, ok := errors.AsType[*rewrite.LineError](err); ok {
			err = &lookup.LineError{File: e.File, Line: e.Line, Reason: e.Err.Error()}
		}
		problems = append(problems, err)
	}
	return problems
}

// check warns of domains whose postmaster leads nowhere (RFC 5321, section 4.5.1).
func (t *tables) check(ctx context.Context, expander *rewrite.Expander, known rewrite.Table) {
	for e, err := range lookup.Entries(t.domains.Path(), t.domains.Text()) {
		if err != nil {
			continue
		}
		postmaster := "postmaster@" + strings.ToLower(e.Key)
		if err := t.reachable(ctx, expander, known, postmaster); err != nil {
			t.logger.WarnContext(ctx, "postmaster leads nowhere: mail about problems with this domain will be lost", "address", postmaster, "error", err)
		}
	}
}

// reachable returns nil when address ends in a mailbox, or outside.
func (t *tables) reachable(ctx context.Context, expander *rewrite.Expander, known rewrite.Table, address string) error {
	ends, err := expander.Expand(ctx, address)
	if err != nil {
		return err
	}
	for _, end := range ends {
		_, domain := rewrite.Split(end)
		_, ours, err := t.domains.Lookup(ctx, domain)
		if err != nil || !ours {
			return err
		}
		if _, ok, err := known.Lookup(ctx, end); err != nil || ok {
			return err
		}
	}
	return fmt.Errorf("no mailbox for %s", strings.Join(ends, ", "))
}

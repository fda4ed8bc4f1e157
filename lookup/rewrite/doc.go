// Package rewrite turns addresses into other addresses and into routes: what
// Postfix's trivial-rewrite, cleanup and the alias part of local do.
//
// The strategies, named as the manual pages name them:
//
//   - trivial rewriting completes what clients write: Trivial.
//   - canonical(5) replaces addresses one by one, in envelope and header: Canonical;
//     Masquerade hides host names behind their domain. Class says in which places.
//   - generic(5) does so for mail that leaves: Generic, in front of the agent that
//     sends it: Outgoing.
//   - always_bcc and its like give others a copy: BCC.
//   - virtual(5) replaces a recipient by any number of others: Virtual.
//   - aliases(5) does so for the users of our own domains: Aliases.
//   - Expander follows virtual and aliases until nothing is left to replace.
//   - relocated(5) refuses users who have moved: Relocated.
//   - transport(5) says how a recipient is reached: Transport, Router.
//   - Recipients answers "does this address exist?".
//   - Cleanup puts canonical, masquerading, copies, virtual and aliases in Postfix's
//     order, between the end of the message and the queue.
//   - Missing adds the Date, Message-ID and From that a message lacks.
//
// # Use
//
//  1. Open the tables (package lookup, or anything with its Lookup method).
//  2. Make one struct for each kind of table that there is. All of them are
//     plain literals; nil means that there is no such table.
//  3. Trivial goes where MAIL and RCPT are read, Relocated and Recipients are
//     asked by restrictions at RCPT, Cleanup runs as a filter before the queue,
//     and Router is asked by the queue before each attempt.
//
// All of them are safe for concurrent use when their tables are, and none keeps
// state: a table that reloads is in force with the next address.
//
// # Keys
//
// An address is looked up as it stands, then unquoted, then in lower case, then
// by the partial keys that its manual page lists. Each key goes to one Table;
// several tables are made into one outside of here. A table with a method
// FullKeyOnly() bool that says true (regexp, pcre, cidr, and wrappers that
// search by themselves) is never asked for a partial key; one with a method
// LookupPartial (a list of tables) is asked for them through it. Give the tables
// as they are, not inside lookup.Address: which key was found decides what
// becomes of an address extension, and a wrapper does not tell.
//
// # Errors
//
// A table that cannot answer is an error and never a miss; all errors of this
// package are temporary. ErrExpansion, ErrDisabled and ErrSyntax say that the
// tables are at fault.
//
// # Postfix
//
// Tests send the same mail through cleanup(8) and trivial-rewrite(8) of Postfix 3.7.
// What differs is meant to:
//
//   - an address gets one copy, however many recipients lead to it; there each of
//     them makes one, unless enable_original_recipient is off.
//   - the fields that were missing stand above the others, with the other trace of
//     where a message went; there below them.
//   - a field whose addresses change keeps its folding, names and comments byte for
//     byte; there it is written anew.
//   - quotes protect a local part in an envelope, too: "a!b" and "a%b" in them are no
//     hosts; nor is anything done to "user!" and "%host", which would leave no user.
//   - a From field for the null sender has our name behind its MAILER-DAEMON.
//   - in a header, only what stands in brackets, or alone between commas, is replaced, and
//     only without white space and comments inside; there "a b" are two addresses.
//   - what tables give gets the domain of Origin where it has none, and is not completed
//     otherwise: "user@host", "host!user" and "user@example.org." stay so.
//   - an entry of canonical(5) with several addresses, or without an end, is an error, and
//     the message waits; there the first counts, and what ten steps lead to.
//   - a circle of virtual(5) that leads to others too goes to those; there it is an error.
//   - ";" and groups in lists of tables are ErrSyntax; there they part addresses.
//   - Router refuses no user whom Transport sends elsewhere: he is known there.
//
// # Caveats
//
// "|command" and "/file" are understood in aliases(5) and refused, or left to an agent
// with Aliases.Commands; ":include:" is heeded when Aliases.Includes opens files. An owner-
// alias changes the sender, which only an agent can do.
package rewrite

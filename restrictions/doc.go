// Package restrictions decides whether mail is taken: from this client, under
// this name, from this sender, for this recipient. It is what Postfix calls
// smtpd access restrictions, with Postfix's rules and replies.
//
// # Strategies
//
// Lists: restrictions stand in a List and are asked in their order. OK ends its
// own list only, REJECT ends everything, DUNNO asks the next, the end of a list
// is a yes.
//
// Stages: there is a list for each point of the SMTP session. The lists of
// client, HELO and sender are asked at RCPT unless NoDelay says otherwise, so
// that the log shows whose mail for whom was refused.
//
// Two locks: the Relay list runs before the Recipient list and both must not
// refuse, so that a sender's or a HELO name's OK never opens the relay.
//
// Access tables: Check...Access look a client, name or address up and do what
// the value says, in the language of access(5): OK, REJECT, DEFER, "550 5.7.1
// text", DEFER_IF_PERMIT, HOLD, REDIRECT, the names of other restrictions, and
// Sendmail's ERROR:5.7.1:550 text.
//
// Faults refuse for now: a table that cannot answer is never a miss. Broken
// access tables give 451 4.3.5 "Server configuration error", broken lists of
// users, domains and networks 451 4.3.0 "Temporary lookup failure"; the cause
// stands in Verdict.Reason.
//
// # Use
//
//  1. Open tables; those of package lookup search for the parts of a key:
//     lookup.Client for clients, lookup.AccessAddress for addresses.
//  2. Write a Stages with at least Relay.
//  3. Give it to smtpserver.Intake, or ask Check at each stage with
//     Session.Stage set, and keep Verdict.DeferIfPermit in
//     Session.DeferIfPermit for the stages after it.
//
// A restriction of your own needs the one method of Restriction, or is a
// RestrictionFunc.
//
// # Caveats
//
// Stages without Relay refuses every recipient. An empty List there permits
// every recipient, and is an open relay unless Recipient refuses.
//
// A table's value is read each time it is found, so that a bad one shows when
// it is used: an action without its argument is logged and counts as DUNNO; the
// name of an unknown restriction gives 451 4.3.5.
//
// A value of digits only is OK, "550" too, as in Postfix; that is logged.
//
// RejectUnverifiedSender and RejectUnverifiedRecipient have other servers asked,
// which takes time and is not welcome everywhere: see their Verifier.
//
// There is no DNS here: names of clients come with the session.
package restrictions

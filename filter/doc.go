// Package filter looks at the content of messages and changes it: Postfix's
// header_checks and body_checks, and the border at which other filters fit.
//
// # Strategies
//
// Chain: filters stand in a Chain and each sees what the one before has left. A
// Reject or Discard ends everything.
//
// Header checks: HeaderChecks asks a table for each field as it was received,
// with its continuation lines; those of MIME parts and of attached messages too.
//
// Body checks: BodyChecks asks for each line of the body, in one pass.
//
// Actions: REJECT [d.s.n] text (550 5.7.1), DISCARD, HOLD, FILTER
// transport:destination, REDIRECT and BCC user@domain, PREPEND, REPLACE, IGNORE,
// STRIP (which is IGNORE with a line in the log), WARN, INFO, PASS, DUNNO and OK,
// as in header_checks(5). What is none of them is logged, and does nothing.
//
// Immutable bodies: a body is never written again. One that a check changes is
// a list of edits over the original, applied while it is read.
//
// # Use
//
//  1. Open tables: lookup.OpenRegexp.
//  2. Put the filters together:
//     Chain{HeaderChecks{Table: headers}, BodyChecks{Table: lines}}.
//  3. Give the chain to smtpserver.Intake, or call Filter for each message.
//
// A filter of your own needs the one method of ContentFilter, or is a
// ContentFilterFunc.
//
// # Caveats
//
// The checks see everything in the header that they are given. Fields of one's
// own (Received) belong above it after the filters have run, as Intake does.
//
// A table that cannot answer is an error and never a miss: the message is
// refused for now.
//
// Nothing is decoded: text in base64 and encoded words are looked up as they
// are. Lines that are no line of a table's language (NUL, 8-bit) are looked up
// byte for byte.
//
// PASS is a Permit: it ends the Chain that the check stands in. Put filters that
// must run in any case outside of it.
//
// A message of which a table changes more than 65536 places or puts in more than
// 4 MiB fails with ErrTooManyEdits, since changes are kept in memory.
package filter

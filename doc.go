// Package mtakit is a toolkit of mail-pipeline parts: what Postfix knows, as Go
// packages that a program imports one by one. This root package holds only the
// words that the parts speak to each other: values, no I/O.
//
// # The picture
//
//	net.Conn                                                                    the world
//	   |                                                                            ^
//	[smtpserver]--Restriction*--ContentFilter*--Queue-------------------DeliveryAgent
//	      |            |              |          |  \                         |
//	   tlsutil      lookup         lookup      Spool  Router               tlsutil
//
// Every box is a package. None imports another: each declares, beside its
// caller, the one-to-three-method interface that it needs, and they fit by
// their shapes. The lines are drawn in a program, as a Go literal: the Wiring
// example below is the shortest one, examples/mta a complete mail server.
//
// # The map
//
//   - smtpserver receives mail: Server speaks SMTP for go-smtp sessions, Intake is
//     the mail flow. smtpserver/auth checks logins, smtpserver/smtptest plays
//     dialogues.
//   - restrictions says who may send what to whom.
//   - lookup has the tables, lookup/rewrite what they do to addresses.
//   - filter looks at headers and bodies.
//   - queue keeps mail until it is delivered or its sender told, on a spool:
//     queue/filespool, or queue/memspool for tests. queue/dsn writes and reads the
//     notifications, queue/control lets an operator in, queue/verify knows which
//     addresses take mail.
//   - queue/relay, queue/local and maildir deliver.
//   - tlsutil makes certificates and keeps them up to date.
//
// # The words
//
// A Session with its Client is what restrictions look at, and a Verdict what
// they say. An Envelope and a Message are what is queued, by way of a Draft. A
// Route says where a recipient is, a Delivery is one attempt, and a Result what
// became of it. An Event tells of all that. Options and replies of SMTP are
// go-smtp's: smtp.MailOptions, smtp.RcptOptions, and *smtp.SMTPError, the reply
// that is also the error.
package mtakit

// Package smtpserver receives mail: Server speaks SMTP and LMTP with clients,
// and Intake is the mail flow behind it. Either can be used without the other.
//
// # What it does
//
// Server reads commands, keeps their order, parses addresses and parameters,
// and calls the session of the connection: a go-smtp Session, which may have
// more (HELOSession, BeforeDataSession, VRFYSession, ETRNSession, ParamSession,
// AuthenticatedSession, and go-smtp's AuthSession and LMTPSession). What the
// session does not implement is not offered.
//
// It offers PIPELINING (RFC 2920), SIZE (1870), VRFY, ETRN (1985), STARTTLS
// (3207), AUTH (4954), ENHANCEDSTATUSCODES (2034), 8BITMIME (6152), DSN (3461,
// 6533), SMTPUTF8 (6531) and CHUNKING (3030), and speaks LMTP (2033). Replies,
// limits and leniency are Postfix's.
//
// # Strategies
//
//   - One goroutine per connection: it reads, calls the session and writes. The
//     session's Data reads the message from the same goroutine, also the chunks
//     of BDAT.
//   - Replies leave when the next read would wait. So those of a pipelined group
//     leave in one write.
//   - Whole buffers: the end of data is searched for in up to 64 KiB at a time,
//     and the message is handed to io.Copy in slices of the input buffer. An idle
//     connection holds 4 KiB.
//   - End of data is CR LF "." CR LF and nothing else. Stray newlines are mended
//     or refused (BareNewline), so that no message is smuggled inside another.
//   - What was cut off was never there: a message that ends by a disconnect or a
//     timeout gives the session an error that wraps io.ErrUnexpectedEOF, and the
//     connection closes, so that the rest of a body never runs as commands.
//   - A client that must wait waits: one that talks before the greeting, or
//     behind EHLO, DATA or STARTTLS, is refused (554 5.5.0), since what it sent
//     may have been put there by another.
//   - Patience, not deadlines: a command line may take IdleTimeout in all; a
//     message that, a minimum rate and an absolute cap. Our own slowness does
//     not count.
//   - Errors cost time, then the connection: SoftErrors, MaxErrors, MaxJunk.
//   - With a Reporter, what is said in a session is kept (bounded; no messages, no
//     passwords) and handed over at its end when something was refused.
//   - A fault is temporary. An error that is no reply is 451 4.3.0, a panic ends
//     its connection with 421 4.3.0; the cause goes to the log.
//
// # How to use it
//
//  1. Write a Backend, or fill in an Intake.
//  2. Make a Server with it. Set Hostname, MaxSize and, for STARTTLS, TLSConfig.
//  3. Call Serve with a listener, or ServeConn with a connection, each in a
//     goroutine of its own.
//  4. Call Shutdown to end: idle clients are told 421, open transactions may
//     finish. Close ends what is left.
//
// A server for submission is a second Server, with AUTH and other limits.
//
// # Addresses
//
// Sessions get addresses in wire form: quoted where they must be, not quoted
// where they need not be, without source route and <>. `"odd user"@example.org`
// stays quoted, `"user"@example.org` becomes user@example.org, and a..b@example.org,
// which Postfix takes though RFC 5321 does not, becomes "a..b"@example.org. So an
// address can be written into a command or a table query as it is.
//
// # The mail flow
//
// Intake is a Backend. Its sessions ask the restrictions at each stage, write
// the message into a draft of the queue while it comes, have it filtered, and
// answer 250 when the queue has it on disk. It also runs under go-smtp's own
// server, see Intake.GoSMTP.
//
// # Testing
//
// Package smtptest plays written dialogues against a server; testdata has those
// that show each reply of this one.
//
// # Caveats
//
// A session must not keep the reader of Data, and must not call Shutdown or
// Close of its server. BINARYMIME, DELIVERBY, MT-PRIORITY and REQUIRETLS are not
// offered; their parameters reach a ParamSession, which may know better.
// A command line may not end in a bare LF, unless BareNewlineAllowed has the
// client; Postfix takes it from everybody by default. A bare CR in a message
// becomes a space, as Postfix's cleanup makes it. Talking before the greeting is
// seen on Unix sockets and TCP of Unix systems only, and not inside TLS.
package smtpserver

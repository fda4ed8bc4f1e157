// Package smtptest plays written dialogues against a server that speaks lines:
// SMTP, LMTP, or anything of their kind. A dialogue is a file that holds the
// script and its transcript in one, so that what a server says can be read, and
// a change of it shows in a diff.
//
// # The format
//
//	# A comment. Empty lines are kept too.
//	S: 220 mx.example.test ESMTP *
//	C: EHLO client.example.test
//	S: 250-mx.example.test
//	S: 250 CHUNKING
//	R: "MAIL FROM:<a@example.test>\n"
//	S: 550 5.5.2 *
//	X: eof
//
// "C: text" sends a line, with CR LF behind it; "R:" sends a Go string, byte by
// byte as it is written. Lines of C and R that follow each other leave in one
// write, which makes them a pipelined group.
//
// "S: text" is a line that the server must send now. A * stands for any text
// within the line.
//
// "X:" is for what is no text:
//
//	X: eof          the server must close the connection, and say nothing more
//	X: close        close the connection
//	X: dial         make a new connection; the first is there without it
//	X: tls          shake hands as a TLS client; any certificate will do
//	X: pause 10m    wait, in a testing/synctest bubble, where it takes no time
//
// # Use
//
//  1. Write the C lines, and run the test with -update: the S lines are written.
//  2. Read them. Put a * where something differs from run to run; -update keeps
//     a line that matches.
//  3. Commit the file.
//
// # Caveats
//
// With -update a server that needs more than three seconds for an answer seems to
// be silent; outside of a bubble the wait for that silence makes it slow. The flag is defined by this package: a test binary that
// has an -update of its own must not import it.
package smtptest

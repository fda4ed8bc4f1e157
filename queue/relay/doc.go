// Package relay delivers mail to other servers by SMTP and LMTP: it finds them
// in DNS, speaks the protocol, and says for each recipient what became of it.
// An Agent is a DeliveryAgent of package queue, and is also of use alone.
//
// # Strategies
//
//   - MX hosts in the order of RFC 5321, section 5.1: sorted by preference,
//     shuffled where equal, address families balanced; an MX that is this
//     machine is dropped together with all that are not better.
//   - Next host on trouble: a host that cannot be reached, greets with 4xx or
//     5xx or goes away is followed by the next one, with the recipients that are
//     left, and so is one that says 4xx.
//   - Pipelining within a window: MAIL, all RCPT and DATA leave in one write.
//   - Opportunistic TLS: any certificate is better than plain text, and plain
//     text, on a new connection, is better than no delivery.
//   - Idle connections: one that has delivered is kept for two seconds for the
//     next message to the same next hop.
//   - Patience at the end of data: giving up there would deliver twice.
//
// # How to use it
//
//  1. Make one Agent per transport; its zero value relays by MX.
//  2. Give it to the queue as an agent, or call Deliver.
//  3. Close it when no delivery runs any more.
//
// The next hop is what the route says:
//
//	example.org            the MX hosts of example.org, or else its addresses
//	example.org:587        the same, at port 587
//	[mx.example.org]:2525  this host, no MX look-up
//	[192.0.2.1]            this address; also [2001:db8::1] and [IPv6:2001:db8::1]
//	unix:/run/lmtp         a socket
//
// So the unambiguous form of a relay host that a user gives as host and port is
// "[host]:port". With LMTP there is never an MX look-up.
//
// # What the results mean
//
// A recipient whose RCPT is answered with 5xx is bounced and with 4xx deferred;
// MAIL, DATA and the end of data speak for all that were accepted until then. A
// domain that does not exist is 5.4.4, one with a null MX 5.1.0, one whose
// look-up fails is deferred with 4.4.3, a loop is bounced with 5.4.6. A
// certificate, an EHLO or a password that is not accepted concerns all mail to
// the host. Result.Site is set for what came before RCPT, and for every 421.
// When the connection is lost after the final dot, the mail is deferred, and no
// other host is tried: it may have been delivered.
//
// An address that could end its command, with a control character, or a space
// or an angle bracket outside quotes, is bounced before anything is sent.
// Bare LF and bare CR never leave: they become CRLF and a space.
//
// # Caveats
//
// Lines longer than 998 octets are sent as they are (as with
// smtp_line_length_limit = 0), and 8-bit text is sent as it is to a server
// without 8BITMIME (as with disable_mime_output_conversion): changing either
// would break signatures. BDAT, BINARYMIME and REQUIRETLS are not spoken: mail
// that needs one of the last two is bounced. DELIVERBY, MT-PRIORITY and
// FUTURERELEASE are not passed on. A password is sent over verified TLS only.
//
// A server that calls itself by our Hostname is a loop; let a content filter on
// the same machine have a name of its own.
//
// See RFC 5321, 2920, 3207, 3461, 6531, 7505, and smtp(8), lmtp(8) of Postfix.
package relay

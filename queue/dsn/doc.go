// Package dsn writes delivery status notifications: the mail that tells a
// sender what became of a message.
//
// # Strategies
//
// One report names all recipients that share a fate. It is a multipart/report
// (RFC 6522) of three parts: a text for people, a message/delivery-status (RFC
// 3464) for programs, and the message itself, or its header when the message is
// longer than Limit or the sender asked for the header only (RET=HDRS, RFC
// 3461). Reports of delays and of successes carry the header only.
//
// Everything in a report comes from strangers: addresses, and above all what
// remote servers said. Nothing of it can begin a line, end a part or add a
// field: control characters become spaces, lines are folded, and the boundary
// is random.
//
// Internationalised mail (RFC 6533): with UTF8, addresses stand as they are,
// and the parts are message/global-delivery-status and message/global. Without
// it, addresses that are not ASCII are written in the form utf-8-addr-xtext.
//
// # Use
//
//  1. Fill a Report.
//  2. Call Bytes, and send what it returns from the null reverse-path to
//     Report.To.
//
// # Caveats
//
// Reports are made in memory. Templates and threaded reports (In-Reply-To) are
// not there, nor is a reader of notifications.
package dsn

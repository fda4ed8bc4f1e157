// Package dsn writes and reads delivery status notifications: the mail that
// tells a sender what became of a message.
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
// A report may name any number of recipients and return a message of any size:
// it is written piece by piece. About more than 1000 recipients the text for
// people breaks off, and all reasons are cut to 200 bytes.
//
// Internationalised mail (RFC 6533): a report needs SMTPUTF8 only where its
// addressee does, and then has its forms: message/global-delivery-status, and
// addresses as they are. In any other, addresses that are not ASCII have the
// form utf-8-addr-xtext, so that no server on the way back can refuse it. A
// message with an UTF-8 header is returned as message/global in both; such a
// part may travel in any envelope (RFC 6532, section 3.7).
//
// Read takes what mail servers send, in the forms of RFC 3464 and 6533, Exim and
// qmail, and is lenient with it. Whoever can send mail can send notifications:
// they prove nothing. VERP puts the recipient into the address that they come
// back to, which works with all servers.
//
// # Use
//
//  1. Fill a Report.
//  2. Call Encode with a draft of the queue, and send it from the null
//     reverse-path to Report.To.
//
// ParseTemplates reads the texts that a site has of its own.
package dsn

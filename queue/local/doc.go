// Package local delivers to local names: through aliases to commands, files, lists and
// other addresses, through the .forward files of users, and into mailboxes, as local(8)
// of Postfix does.
//
// It is the agent, and nothing before it, that looks commands and files up, so that no
// address of SMTP can ever name one: what runs is what the administrator's aliases and
// the user's own .forward say at the moment of the delivery.
//
// # Strategies
//
// Expand, then deliver: all aliases and .forward files on the way are read before
// anything is delivered. A table that fails defers the recipient as a whole.
//
// Each destination once: names are followed once and destinations delivered to once,
// however many ways lead there. A name that comes up again in its own alias is the user
// himself, so "user: user, other" keeps a copy.
//
// One failure is one destination's: when one of several cannot be delivered to now, a
// message for the rest goes into the queue, with a digest of each destination that is
// left. It is tried again by itself, and who has the mail does not get it again. (In
// Postfix the whole alias is tried again.) The digest selects from what the tables say
// then; it cannot name what is not there.
//
// Owners: when "owner-list" is an alias too, what goes on from "list" has it as its
// sender, and so its failures.
//
// Least rights: commands run, and files are written and read, as the user whose .forward
// names them, or as Agent.Default for aliases; never as root because nobody said
// otherwise: that of root has the rights of aliases. A .forward must be a regular file of the user or root that nobody else may
// write to.
//
// Loops end: by the Delivered-To field of each mailbox and forwarded message (5.4.6), by
// the count of Received fields, and by bounds of nesting and number.
//
// # Use
//
//  1. Give the queue manager an Agent as the agent of the transport "local", with the
//     manager as its Queue, and a maildir.Agent or a Mbox as its Mailboxes.
//  2. Set Commands, Files and DotForward as far as they are to be enabled.
//
// # Caveats
//
// A crash between a delivery and its record in the queue repeats it, as everywhere; and
// so does a failure to write the message for the rest.
//
// As another user than that of the process only Linux can read and write files, since
// identities belong to threads there. Commands run as others everywhere, when the
// process may do that, as root.
//
// Commands and files in an :include: are refused (allow_mail_to_commands and
// allow_mail_to_files of Postfix, in their default).
package local

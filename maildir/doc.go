// Package maildir delivers mail into Maildirs.
//
// A Maildir is a directory with three directories in it. A message is written
// to tmp/, synced, and renamed into new/, so that no reader ever sees half a
// message and no lock is needed; readers move it on to cur/. The format is
// qmail's, as maildir(5) describes it; file names carry the size of the file as
// Courier and Dovecot expect it (",S=4711").
//
// # Strategies
//
// Durable: the result of a delivery is only known when the file, its name in
// new/, and every directory that had to be made are synced. A crash leaves a
// stray file in tmp/ at most, never half a message in new/.
//
// Shared syncs: deliveries into the same folder at the same time share the sync
// of its names. With Agent.SyncFS all that wait at a moment share one syncfs(2)
// of the file system, and each takes part in two: one when its file is written,
// and after the rename one for the name. The recipients of one message go through
// this side by side.
//
// Contained: mailbox paths come from tables that people edit, and local parts
// may be put into them. Every path is walked below an os.Root, so that none, and
// no symbolic link, leads out of the mail directory; tmp/ and new/ may be no
// symbolic links at all.
//
// Looping mail ends: a message that already has a Delivered-To field with the
// same address bounces (5.4.6), as in local(8).
//
// Quotas are those of Maildir++ (Courier's README.maildirquota): what a Maildir
// with its folders holds stands in its file maildirsize, one line for each message
// that comes or goes, which Courier, Dovecot and Postfix's VDA patch maintain too.
// Deliveries of one Agent keep each other's places and never exceed a quota
// together. The file is a hint all the same: when it is broken, of another quota,
// 5120 bytes long, or says that a message does not fit, the Agent counts the
// files. What others remove without telling is seen when the file is older than 15
// minutes. A crash, and other programs that deliver at the same moment, may put it
// wrong by what was under way, until it is counted again.
//
// # Use
//
//  1. Make an Agent with the mail directory and a table of mailboxes, and give
//     it to the queue manager as the agent of a transport. Close it after that.
//  2. A program that wants to put a message into one Maildir calls Dir.Deliver.
//
// # Caveats
//
// Lines end in LF in the file, as every Unix program expects it; set CRLF to
// keep the bytes of the wire. Other bytes are written as they came. There is no
// mbox, and no cleaning of old files in tmp/, which readers do.
//
// All files belong to the user of the process, or with Agent.UIDs and GIDs to those
// of the tables. The process stays what it is, unlike virtual(8), which becomes the
// recipient: Go's threads are not each other's, and the syncs are shared. So it is
// not the system that keeps one user's mail from another's Maildir, but that folders
// have to be the recipient's; and disk quotas of users do not stop root.
//
// A quota does not count the folder .Trash, and counts messages that are marked as
// deleted until they are gone, as Dovecot does (Courier does not count them). It is
// only as good as the users' honesty when they can write into their Maildirs.
//
// A path with ".." in it is refused, but a local part may have other slashes: a
// pattern that puts it into a path should not match them, or "alice/.Trash" is a
// mailbox.
package maildir

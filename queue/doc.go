// Package queue keeps mail until it is delivered or given up: what Postfix's
// queue manager does, as a library.
//
// A Manager takes messages (it is a Queue), asks a Router where their
// recipients are, has DeliveryAgents deliver them, tries again, and tells
// senders of what failed. A Spool keeps it all on disk; queue/filespool is one,
// queue/memspool is one for tests. queue/dsn writes the notifications,
// queue/relay and maildir deliver.
//
// # Strategies
//
// Leaky bucket: at most ActiveLimit messages are in memory. Of the others the
// manager knows no more than the time at which they are due and the site that
// they wait for, 60 bytes each, and it opens none before. When more is due than
// there is room for, new mail and old take turns. At most RecipientLimit
// recipients are in work: a list is worked on in portions, each of which is half
// of what is free, and a message with up to 50 recipients is never kept waiting
// by that.
//
// Slow start and feedback: a destination begins with Limits.Initial deliveries
// at a time. Each success raises that up to Limits.Destination, each failure of
// the site lowers it, by Limits.Positive and Limits.Negative. A refused
// connection or a 421 is the site's failure, and its mail is no worse for it: it
// comes back at its time, or when the site has recovered. What is answered to
// RCPT or to the message is the message's, and says nothing against the site.
//
// Dead destinations: after Limits.FailedCohorts whole cohorts of failures a site
// is left alone for MinBackoff. Its mail is deferred without an attempt,
// "delivery temporarily suspended". A failure is remembered as long, so that a
// site that gets little mail dies too. A flush, or the success of a delivery that
// was under way, brings it back.
//
// Round robin: transports take turns, in each its destinations, in each its
// messages, and a list gives way to other messages of its class after each
// Limits.Recipients of its recipients.
//
// Preemption: messages are of three classes, by the number of deliveries that
// they take of a transport: fewer than 15, fewer than 225, more. The smallest go
// first, in the transport and at each destination, but pass a bigger class over
// no more than four times in a row. So mail for one recipient gets one of the
// next places, though a list of 50,000 may stand in line; and the list gets at
// least one place in six, however much small mail there is. Postfix's manager
// comes to the same by having small mail buy places of a list that has used
// many; it needs an order of jobs for that, and four parameters.
//
// Rates: with Limits.RateDelay a destination has one delivery at a time and
// rests after each; with Limits.TransportDelay the deliveries of a transport
// start at that distance.
//
// No head-of-line blocking: a destination gets a further delivery only while it
// has fewer than there are free ones. One silent site cannot hold every place,
// however low the limits are.
//
// Exponential backoff: a message waits as long as it is old, between MinBackoff
// and MaxBackoff, and up to an eighth longer at random. What waits for nothing
// but a site that was down need not wait for the end of that: each success
// there wakes two such messages, also after a restart. Nothing comes back earlier
// than MinBackoff.
//
// Queue runs: QueueRun tries what an operator selects, in one of Sendmail's
// orders. It decides what becomes active first; of what is active, the line does.
//
// Expiry: after Lifetime the sender gets a notification, with the reason of the
// last attempt. Long before, if asked for, one warning.
//
// Fast flush: FastFlush tries what waits for one of FlushDomains, as ETRN asks for,
// at most once in a minute. The log that finds it is in memory, and takes as much
// again for each message and domain.
//
// Verification: Verify has an agent ask whether mail for an address would be
// taken, and sends none; queue/verify remembers the answers.
//
// Null senders: mail from <> is never returned. It is dropped, with an event, or
// the Postmaster is told; what goes to the Postmaster is never returned at all.
// Notify says what else he hears of. The notices that strangers can bring about
// are bounded in number: 20 of a class in an hour.
//
// # The states of a message
//
// The numbers are used in the comments of this package and of the spools.
//
//  1. Receiving. A Draft is written. A crash leaves nothing that counts.
//  2. Accepted. Spool.Commit has returned: message, envelope and the name that
//     finds them are on disk. From here on the message is delivered, or its
//     sender told, or it stays visible. When there is room it becomes active at
//     once, and "attempt 1, next at T" is part of the same step.
//  3. Active. The number of the attempt and the time of the next one are
//     recorded before anybody is asked, so that a message that crashes the
//     program comes back at that time and not at once. After a restart a message
//     with one started attempt is tried at once.
//  4. Results. Each recipient that is done, or has failed, is marked as soon as
//     that is known, while others go on. Done and failed recipients are never
//     tried again. A failed one whose sender is to be told stays failed until he
//     has been: a crash here leads to the notification after the restart.
//  5. The end of the run. One step of the spool accepts the notification for all
//     recipients that failed, marks them notified, and either removes the
//     message (6) or defers it with its next time (7). If there is no room for
//     the notification, the results alone are recorded, and it is tried at the
//     end of the next run.
//  6. Gone. One that was submitted with a key stays for Retention as a receipt:
//     without pending recipients, in deferred, and never active again.
//  7. Deferred, until its time has come: then 3.
//  8. Held, until somebody releases it: then 3. A message over which an agent
//     panicked three times gets here, and after a release three times later.
//  9. Corrupt: moved out of the way by the spool, with the reason.
//
// A message may be delivered twice if the program is killed between the answer
// of a remote server (or the file in the Maildir) and state 4.
//
// # Use
//
//  1. Open a spool.
//  2. Fill a Manager: Spool, Router, Agents.
//  3. Call Serve in a goroutine of its own, and give the Manager to whatever
//     receives mail: smtpserver.Intake, a Maildrop.
//  4. Call Shutdown, and then close the spool.
//
// A program's own mail goes in by Submit: once for each key, at the time that
// the envelope says, with Cancel and Result for later. Programs that run without
// the manager leave mail by Drop.
//
// # Caveats
//
// The manager is alone with its spool: tools change messages through Hold,
// Release, Remove, Expire, Requeue, Retry, Flush and QueueRun; queue/control offers
// them on a socket. What is known of destinations, which of them are dead and how
// many deliveries they may have, is forgotten at a restart, and so are the Results
// of submissions.
//
// A submission with a key or with Results waits until the spool has been read
// after a start. Each key is in memory until Retention after the end of its
// message, with some 200 bytes.
package queue

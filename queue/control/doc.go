// Package control lets an operator look at a queue and change it: through a unix
// socket of the program that serves it, or in a spool that nobody serves.
// examples/mqueue is a tool made of it.
//
// Local does what there is to do, on a queue.Manager or, by way of AtRest, on a
// spool without one. Server offers it on a socket, and Client has the same
// methods at the other end. WriteMailq, Shape and Selection are for tools.
//
// # Who may do what
//
// The kernel says which user is at the other end of the socket (SO_PEERCRED), so
// that it can be open for all (mode 0666). Root, and the user that the server
// runs as, may do everything. Of the others, Server.MayList, MayFlush and
// MaySubmit say who may list the queue, have it tried at once, and leave mail
// there: everybody, unless a table is given, as by Postfix's
// authorized_mailq_users, authorized_flush_users and authorized_submit_users.
// Nothing else is for them.
//
// What one user does keeps nobody else from being served: connections and
// listings are counted for each, requests are bounded, and who does not read is
// cut off. A listing holds no lock: what is delivered while it goes on may still
// be in it, and what comes in may not be.
//
// # Protocol
//
// It is HTTP/1.1 on the unix socket, so that anything can speak it:
//
//	curl --unix-socket control.sock -d '{"sender":"@example.org"}' http://mta/v1/list
//
// Each request is a POST with JSON in it:
//
//	/v1/list              Query         messages that are meant, see Message
//	/v1/do/OPERATION      ids, reason   hold, release, delete, expire, requeue or flush
//	                                    messages, at most 4096 at a time
//	/v1/flush             site, run     try at once what waits, for a domain or for all, or
//	                                    what a Run means, and answer how many; who may not
//	                                    list may not ask for a run
//	/v1/show              id            a line with the Details, and the message behind it
//	/v1/check             Query         verify all checksums
//	/v1/damaged                         what was put aside, see Remains
//	/v1/verify            address       what would become of mail, see Verification
//	/v1/submit            a submission in the format of queue.Maildrop, in place of JSON
//
// The answer is rows of JSON objects, one a line: {"message":{...}} of a listing,
// {"id":"..."} for what was done, {"id":"...","error":{"kind":"...","text":"..."}}
// for what was not, and {"end":true} as the last one. Without that one, the answer
// was cut off. A request that fails as a whole has another status than 200, and
// one line with the error. Its kind is "not found", "held", "busy", "denied",
// "usage", "temporary", "refused", "unsupported", "corrupt" or "failed".
//
// # Caveats
//
// Without SO_PEERCRED, that is elsewhere than on Linux, the server serves nobody.
package control

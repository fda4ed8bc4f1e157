// Package verify remembers which addresses take mail: the cache of Postfix's
// verify(8), for reject_unverified_sender and reject_unverified_recipient.
//
// # Strategies
//
// Answers come from the cache. What is not in it is found out by a Prober
// (queue.Manager.Verify), while who asks waits for a few seconds; then the answer
// is "in progress", and the client comes again.
//
// One probe for an address at a time, however many ask, and no more than
// Concurrency in all: a hostile client cannot have us ask the world.
//
// Old answers are given at once, and refreshed meanwhile: a good one after 7
// days, a bad one after 3 hours. A refresh that fails does not make an address
// bad that was good: that takes until the old answer has expired.
//
// # Use
//
//  1. Fill a Cache: Prober, and a Store that outlives the process if there is one.
//  2. Give it to restrictions.RejectUnverifiedSender or RejectUnverifiedRecipient.
//  3. Call Close before the Prober is shut down.
//
// # Caveats
//
// Some sites take whoever asks for their users for a spammer. Ask for those
// senders only that are often forged (an access table), and for recipients only
// where they are ours and behind another server.
//
// An answer that was only temporary, a greylisting site's say, is kept like a bad one.
package verify

// Package memspool is a queue.Spool in memory: the reference that says in the
// fewest lines what a spool does, for tests of a queue and for programs that
// may lose mail when they end.
//
// # Use
//
//  1. new(Spool), or &Spool{}, is ready.
//  2. Give it to the queue's manager in place of a filespool.
//
// # Caveats
//
// Nothing outlives the process. Messages are kept in memory whole, without a
// bound.
package memspool

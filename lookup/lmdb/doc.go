// Package lmdb reads the files of Postfix's "lmdb" tables, as postmap(1) writes
// them, without the C library.
//
// # Strategies
//
// A writer of LMDB writes into the file that is in use: pages that no longer belong
// to the newest tree are used again. Readers that are in the lock file's table
// keep their pages; Postfix has no such file, and locks the whole database
// instead. So a file is read into memory as a whole, under that lock, and the
// number of the newest transaction is read before and after: while that has not
// changed, at most one transaction was at work, and one never touches the pages of
// the tree that was the newest when it began. What has changed is read again.
// A lookup then walks that copy from the root to a leaf.
//
// Every page number, offset and length is checked where it is used, and no tree is
// followed further down than it can be deep: a damaged file gives errors that
// wrap ErrFormat and nothing worse.
//
// All lists a file in the order of its keys. Pages that are met twice, keys in
// disorder, and more or fewer entries than the file says it has are damage.
//
// # Use
//
//  1. Open the file by its whole name: "/etc/postfix/access.lmdb". Postfix calls it
//     "lmdb:/etc/postfix/access", without the ".lmdb".
//  2. Whoever has lost the text of a table has it back from All.
//  3. For new tables prefer text, or package cdb.
//
// # Caveats
//
// A file takes its size in memory, at most lookup.MaxFile. A database that is
// written all the time, such as Postfix's own caches, cannot be read while that
// is so: its last version stays in force, and Status says so.
//
// Read are files of 64-bit little-endian machines, data version 1 (LMDB 0.9), with
// the main database sorted as bytes. Nothing is written.
package lmdb

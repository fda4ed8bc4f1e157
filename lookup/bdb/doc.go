// Package bdb reads the Berkeley DB files that Postfix's "hash" and "btree" tables
// are, as postmap(1) and postalias(1) write them, so that an /etc/postfix that is
// there keeps working.
//
// # Strategies
//
// postmap writes into the file that is in use. A file is therefore read into
// memory as a whole, under the lock that postmap respects, and again when it has
// changed. A lookup walks the pages of that copy: a bucket's chain of pages, or
// from the root to a leaf.
//
// Read are hash files of versions 8 to 10 and btree files of versions 8 to 10, in
// either byte order, with overflow pages and with keys and values that have pages of
// their own. Every page number, offset and length is checked where it is used, and
// no chain is followed further than the file has pages: a damaged file gives
// errors that wrap ErrFormat and nothing worse.
//
// All lists a file: the buckets with their chains, or the leaves of the tree from
// left to right, that is, in the order of the keys. That a key is in the bucket of
// another or behind a greater one, where no lookup would find it, is damage, and so
// is a page that is met twice.
//
// # Use
//
//  1. Open the file by its whole name: "/etc/postfix/access.db". Postfix calls it
//     "hash:/etc/postfix/access", without the ".db".
//  2. Whoever has lost the text of a table has it back from All.
//  3. For new tables prefer text, or package cdb.
//
// # Caveats
//
// A file takes its size in memory, at most lookup.MaxFile.
//
// Nothing is written. Files with checksums, encryption, partitions, compression,
// several databases or duplicate keys are of no use to Postfix, and are
// refused; of duplicates in a btree the first is found.
package bdb

// Package cdb reads and writes constant databases: big tables of fixed keys in one
// file that is never changed, only replaced. It is the form in which a table of
// millions of keys costs no memory of its own and no time to load.
//
// # Strategies
//
// A Table maps its file into memory: it is open in less than a millisecond whatever
// its size, and what the system keeps of it in memory is shared and can be taken
// back. A look-up reads two places of the file.
//
// A Writer makes a new file beside the old one, syncs it, and renames it, so that
// whoever opens the file finds the old or the new version of it, also after a crash.
//
// Nothing in a file is trusted: a position that leads out of it is an error. Should
// a file be cut short while it is in use, which renaming never does, look-ups fail
// and the program goes on.
//
// # Use
//
//  1. Create a Writer, Put the keys with their values, Commit.
//  2. Open a Table and give it to whoever asks for a lookup.LookupTable. When the
//     file is replaced, the next look-ups find the new one within a second.
//  3. Close it when nobody uses it any more.
//
// # The format
//
// That of D. J. Bernstein's cdb, which Postfix's "cdb:" tables have: a head of 256
// pairs of a position and a length, the records, the 256 hash tables. Numbers are 4
// bytes, little endian, so that no file is larger than 4 GiB. Keys are written as
// lookup.Fold folds them, without a NUL byte behind them; files in which keys and
// values end with one are read too.
//
// # Caveats
//
// Where there is no mmap(2) the file is read into memory.
package cdb

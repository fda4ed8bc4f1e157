// Package crashfs is a file system in memory that forgets what was not synced:
// the test bench of everything that promises to keep mail.
//
// # How it forgets
//
//   - The bytes of a file are durable after File.Sync, a name in a directory
//     after SyncDir of that directory. Directories know nothing of each other:
//     a Move between two of them can leave both names, or none.
//   - At a crash, what was not synced is lost. With a seed, some of it survives
//     by chance: single writes, torn writes, single names, in any combination.
//   - A sync that fails drops what it should have written, as Linux does: the
//     bytes can still be read, and no later sync will write them.
//
// # Use
//
//  1. New makes an empty file system; it is an FS.
//  2. Inject says what happens at the n-th operation from now: an ErrCrash, an
//     error, a short write. Operations are what changes something or syncs.
//  3. After a crash every call fails with ErrCrashed. Restart returns the file
//     system as the machine finds it when it comes up again.
//
// It is also where the interface FS is declared, which the real file system
// of queue/filespool satisfies too.
//
// # Caveats
//
// It has no links but hard ones, no permissions, no times, and directories are
// never removed.
package crashfs
